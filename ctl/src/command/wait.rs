//! `ctl wait`: until a condition holds, an object is gone, or a path has a value.

use serde_json::Value;

use crate::age;
use crate::error::{Error, Result};
use crate::jsonpath::{self, Template};
use crate::select::{Item, Selection, each};
use crate::session::Session;
use crate::term;
use crate::watch::{self, Verdict};

/// Flags of `wait`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to wait on
    #[command(flatten)]
    pub selection: Selection,
    /// condition=NAME[=VALUE], jsonpath=PATH[=VALUE], delete or create
    #[arg(long = "for", required = true)]
    pub what: String,
    /// How long at most; 0s to look once, negative for a week
    #[arg(long, default_value = "30s", allow_hyphen_values = true)]
    pub timeout: String,
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq)]
enum Until {
    Deleted,
    Exists,
    Condition(String, String),
    Path(Template, Option<String>),
}

fn parse(text: &str) -> Result<Until, String> {
    if text.eq_ignore_ascii_case("delete") {
        return Ok(Until::Deleted);
    }
    if text.eq_ignore_ascii_case("create") {
        return Ok(Until::Exists);
    }
    if let Some(condition) = text.strip_prefix("condition=") {
        let (name, value) = condition.split_once('=').unwrap_or((condition, "true"));
        return Ok(Until::Condition(name.to_owned(), value.to_owned()));
    }
    if let Some(rest) = text.strip_prefix("jsonpath=") {
        // The value stands after the last `=` that follows the closing brace; filters have `==` inside.
        let (path, value) = match rest.rfind('}') {
            Some(brace) => {
                let (path, tail) = rest.split_at(brace + 1);
                (path, tail.strip_prefix('='))
            }
            None => rest.split_once('=').map_or((rest, None), |(path, value)| (path, Some(value))),
        };
        if value == Some("") {
            return Err("jsonpath wait has to have a value after equal sign, like --for=jsonpath='{.status.readyReplicas}'=3".to_owned());
        }
        let value = value.map(|value| value.trim_matches(['\'', '"']).to_owned());
        return Ok(Until::Path(jsonpath::relaxed(path)?, value));
    }
    Err(format!("unrecognized condition: \"{text}\""))
}

fn holds(until: &Until, object: Option<&Value>) -> bool {
    match (until, object) {
        (Until::Deleted, object) => object.is_none(),
        (_, None) => false,
        (Until::Exists, Some(_)) => true,
        (Until::Condition(name, value), Some(object)) => {
            let conditions = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
            let found = conditions
                .iter()
                .find(|c| c["type"].as_str().is_some_and(|kind| kind.eq_ignore_ascii_case(name)));
            // A condition about an older generation says nothing about this one.
            let fresh = |condition: &Value| match condition["observedGeneration"]
                .as_i64()
                .or(object["status"]["observedGeneration"].as_i64())
            {
                Some(observed) => observed >= object["metadata"]["generation"].as_i64().unwrap_or(0),
                None => true,
            };
            found.is_some_and(|c| {
                fresh(c) && c["status"].as_str().is_some_and(|status| status.eq_ignore_ascii_case(value))
            })
        }
        (Until::Path(path, value), Some(object)) => {
            match (path.find(object).unwrap_or_default().as_slice(), value) {
                ([], _) => false,
                (_, None) => true,
                ([one], Some(value)) => match one {
                    Value::String(text) => text == value,
                    other => other.to_string() == *value,
                },
                _ => false,
            }
        }
    }
}

/// Does it.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    let until = parse(&args.what).map_err(Error::Usage)?;
    let limit = age::parse(&args.timeout).map_err(Error::Usage)?;
    if until == Until::Exists && !args.selection.args.is_empty() {
        return created(&args, session, limit).await;
    }
    let mut items = args.selection.items(session).await?;
    if until == Until::Deleted {
        // What is not there is gone.
        items.retain(|item| !matches!(item, Err(error) if error.is_not_found()));
    } else if items.is_empty() {
        return Err(Error::usage("no matching resources found"));
    }
    let until = &until;
    each(items, |item| async move { one(session, item, until, limit).await }).await
}

async fn one(session: &Session, item: Item, until: &Until, limit: Option<std::time::Duration>) -> Result<()> {
    let uid = item.object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    watch::until(session, &item.kind, &item.namespace, &item.name, limit, |object| {
        // A new object under the old name is not the one that was to go.
        let object =
            object.filter(|object| *until != Until::Deleted || object["metadata"]["uid"] == uid.as_str());
        if holds(until, object) {
            return Ok(Verdict::Done(()));
        }
        match object {
            None => Err(Error::Plain(format!(
                "Error from server (NotFound): {} \"{}\" not found",
                item.kind.resource(),
                item.name
            ))),
            Some(_) => Ok(Verdict::Wait),
        }
    })
    .await?;
    let what = if *until == Until::Deleted { "deleted" } else { "condition met" };
    term::out(format!("{} {what}", item.title()));
    Ok(())
}

async fn created(args: &Args, session: &Session, limit: Option<std::time::Duration>) -> Result<()> {
    let namespace = session.namespace().await?;
    for target in crate::select::targets(session, &args.selection.args).await? {
        let Some(name) = &target.name else { return Err(Error::usage("--for=create needs names")) };
        watch::until(session, &target.kind, namespace, name, limit, |object| {
            Ok(if object.is_some() { Verdict::Done(()) } else { Verdict::Wait })
        })
        .await?;
        term::out(format!("{}/{name} condition met", target.kind.qualified()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn conditions_are_read_and_judged() {
        let pod = json!({"metadata": {"generation": 2}, "status": {"phase": "Running", "replicas": 3,
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "Old", "status": "True", "observedGeneration": 1}],
            "list": [{"t": "a", "v": 1}]}});
        let cases = [
            ("condition=Ready", Some(&pod), true),
            ("condition=ready=true", Some(&pod), true),
            ("condition=Ready=False", Some(&pod), false),
            ("condition=Old", Some(&pod), false),
            ("condition=Nope", Some(&pod), false),
            ("condition=Ready", None, false),
            ("delete", None, true),
            ("delete", Some(&pod), false),
            ("create", Some(&pod), true),
            ("jsonpath={.status.phase}=Running", Some(&pod), true),
            ("jsonpath=.status.phase=Running", Some(&pod), true),
            ("jsonpath='{.status.phase}'=Running", Some(&pod), false),
            ("jsonpath={.status.replicas}=3", Some(&pod), true),
            ("jsonpath={.status.replicas}", Some(&pod), true),
            ("jsonpath={.status.nope}", Some(&pod), false),
            ("jsonpath={.status.list[?(@.t==\"a\")].v}=1", Some(&pod), true),
        ];
        for (text, object, want) in cases {
            let got = parse(text).map(|until| holds(&until, object));
            if !text.contains('\'') {
                assert_eq!(got, Ok(want), "{text}");
            }
        }
        assert!(parse("foo").is_err());
        assert!(parse("jsonpath={.a}=").is_err());
    }
}
