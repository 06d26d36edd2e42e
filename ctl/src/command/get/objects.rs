//! `get -o json|yaml|name|jsonpath|custom-columns`: whole objects.

use serde_json::{Value, json};

use super::{Args, call, fetch, sort};
use crate::error::{Error, Result};
use crate::output::{self, Output};
use crate::select::{self, Target};
use crate::session::Session;
use crate::term;

/// Reads all targets and prints them.
pub(super) async fn objects(
    args: &Args,
    session: &Session,
    targets: &[Target],
    namespace: Option<&str>,
) -> Result<()> {
    let Some(output) = &args.output else { return Ok(()) };
    let (mut items, mut failed) = (Vec::new(), false);
    let single = targets.len() == 1 && targets[0].name.is_some();
    for target in targets {
        let answer = match fetch(session, target, call(args, target, namespace)?).await {
            Ok(answer) => answer,
            Err(error) if error.is_not_found() && args.ignore_not_found => continue,
            Err(error) => {
                crate::report(&error);
                failed = true;
                continue;
            }
        };
        let found = match answer {
            Value::Object(mut map) if target.name.is_none() => match map.remove("items") {
                Some(Value::Array(items)) => items,
                _ => Vec::new(),
            },
            object => vec![object],
        };
        for mut object in found {
            select::type_item(&mut object, &target.kind);
            if !args.show_managed_fields
                && let Some(meta) = object["metadata"].as_object_mut()
            {
                meta.remove("managedFields");
            }
            items.push((target.kind.qualified(), object));
        }
    }
    if args.sort_by.is_some() {
        items.sort_by(|left, right| left.0.cmp(&right.0));
        let mut values: Vec<Value> = items.into_iter().map(|(kind, object)| json!([kind, object])).collect();
        sort(args, &mut values, |pair| &pair[1])?;
        items = values
            .into_iter()
            .map(|mut pair| (pair[0].as_str().unwrap_or_default().to_owned(), pair[1].take()))
            .collect();
    }
    show(args, output, items, single)?;
    if failed { Err(Error::Exit(1)) } else { Ok(()) }
}

fn show(args: &Args, output: &Output, items: Vec<(String, Value)>, single: bool) -> Result<()> {
    match (output, single) {
        (Output::Name, _) => items.iter().try_for_each(|(kind, object)| output.print(object, kind)),
        (_, true) => items.iter().try_for_each(|(kind, object)| output.print(object, kind)),
        (Output::Columns(columns), false) => {
            let list = json!({"items": items.into_iter().map(|(_, object)| object).collect::<Vec<_>>()});
            let table = output::custom_columns(columns, &list, !args.no_headers)?;
            if !table.is_empty() {
                term::out(table.render());
            }
            Ok(())
        }
        _ => {
            let objects: Vec<Value> = items.into_iter().map(|(_, object)| object).collect();
            let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": objects});
            output.print(&list, "list")
        }
    }
}
