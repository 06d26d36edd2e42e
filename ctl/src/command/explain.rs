//! `ctl explain`: fields of a kind, from the server's OpenAPI.

use serde_json::Value;

use super::apply;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::term;

/// Flags of `explain`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// TYPE[.FIELD…]
    pub path: String,
}

/// Does it.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    let mut steps = args.path.split('.');
    let typed = steps.next().unwrap_or_default();
    let kind = session.kind(typed).await?;
    let mut schema = apply::schema(session, kind)
        .await
        .ok_or_else(|| Error::usage(format!("the server's OpenAPI has no schema for {}", kind.kind)))?;
    term::out(format!("KIND:       {}\nVERSION:    {}\n", kind.kind, kind.api_version()));
    let mut description = schema.node()["description"].as_str().map(str::to_owned);
    let (mut last, mut allowed) = (None, Value::Null);
    for step in steps {
        let declared = schema
            .property(step)
            .cloned()
            .ok_or_else(|| Error::usage(format!("field \"{step}\" does not exist")))?;
        allowed = declared["enum"].clone();
        last = Some((step.to_owned(), schema.type_name(&declared)));
        let inside = schema.inside(&declared);
        description =
            declared["description"].as_str().or(inside.node()["description"].as_str()).map(str::to_owned);
        schema = inside;
    }
    if let Some((name, kind)) = &last {
        term::out(format!("FIELD: {name} <{kind}>"));
        if let Some(values) = allowed.as_array() {
            term::out("ENUM:");
            values.iter().filter_map(Value::as_str).for_each(|value| term::out(format!("    {value}")));
        }
        term::out("");
    }
    term::out(format!("DESCRIPTION:\n{}", indent(description.as_deref().unwrap_or("<empty>"), 4)));
    let names = schema.names();
    if names.is_empty() {
        return Ok(());
    }
    term::out("\nFIELDS:");
    let required: Vec<&str> =
        schema.node()["required"].as_array().into_iter().flatten().filter_map(|name| name.as_str()).collect();
    for name in names {
        let Some(declared) = schema.property(name) else { continue };
        let mark = if required.contains(&name) { " -required-" } else { "" };
        term::out(format!("  {name}\t<{}>{mark}", schema.type_name(declared)));
        let text = declared["description"].as_str().unwrap_or("<no description>");
        term::out(format!("{}\n", indent(text, 4)));
    }
    Ok(())
}

/// Wraps at 80 columns behind an indentation.
fn indent(text: &str, by: usize) -> String {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && by + line.len() + 1 + word.len() > 80 {
                lines.push(format!("{}{line}", " ".repeat(by)));
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(format!("{}{line}", " ".repeat(by)).trim_end().to_owned());
    }
    lines.join("\n")
}
