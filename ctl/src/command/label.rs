//! `ctl label`, and what it shares with `ctl annotate`.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Map, Value, json};

use crate::cli::{DryRun, DryRunArgs};
use crate::error::{Error, Result};
use crate::output::Output;
use crate::rest::Call;
use crate::select::{Item, Selection, each};
use crate::session::Session;
use crate::table;
use crate::term;

/// Flags of `label` and `annotate`.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// The objects, and after their names KEY=VALUE… KEY-…
    #[command(flatten)]
    pub selection: Selection,
    /// Replace values that are there
    #[arg(long)]
    pub overwrite: bool,
    /// Show what is there instead of changing it
    #[arg(long)]
    pub list: bool,
    /// Only at this revision of the object
    #[arg(long)]
    pub resource_version: Option<String>,
    /// Only show or check
    #[command(flatten)]
    pub dry_run: DryRunArgs,
    /// Print the object instead of a line
    #[arg(long, short = 'o')]
    pub output: Option<Output>,
}

/// Which of an object's two mappings.
#[derive(Debug, Clone, Copy)]
pub struct Which {
    /// `labels`
    pub field: &'static str,
    /// `labeled`
    pub done: &'static str,
}

/// Does it.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    change(args, session, Which { field: "labels", done: "labeled" }).await
}

/// `a=b` sets, `a-` removes.
type Changes = BTreeMap<String, Option<String>>;

/// Arguments as (objects, changes).
fn parse(args: &[String]) -> Result<(Vec<String>, Changes)> {
    let (mut objects, mut changes) = (Vec::new(), Changes::new());
    for (index, arg) in args.iter().enumerate() {
        let change = match arg.split_once('=') {
            Some((key, value)) if !key.is_empty() => Some((key, Some(value.to_owned()))),
            // Names of objects cannot end so.
            None => arg.strip_suffix('-').filter(|key| index > 0 && !key.is_empty()).map(|key| (key, None)),
            _ => None,
        };
        match change {
            Some((key, value)) => {
                let before = changes.insert(key.to_owned(), value.clone());
                if before.is_some_and(|before| before.is_none() != value.is_none()) {
                    return Err(Error::usage(format!(
                        "can not both modify and remove \"{key}\" in the same command"
                    )));
                }
            }
            None if changes.is_empty() => objects.push(arg.clone()),
            None => {
                return Err(Error::usage(format!("all resources must be specified before changes: {arg}")));
            }
        }
    }
    Ok((objects, changes))
}

/// The merge patch, and what to say: nothing to do, done, or removed.
fn plan(
    args: &Args,
    item: &Item,
    changes: &Changes,
    which: Which,
) -> Result<(Map<String, Value>, &'static str)> {
    let now = &item.object["metadata"][which.field];
    let mut patch = Map::new();
    let mut removed = false;
    for (key, value) in changes {
        let before = now[key].as_str();
        match value {
            Some(value) if before == Some(value) => {}
            Some(_) if before.is_some() && !args.overwrite => {
                let before = before.unwrap_or_default();
                return Err(Error::usage(if which.field == "labels" {
                    format!("'{key}' already has a value ({before}), and --overwrite is false")
                } else {
                    format!(
                        "--overwrite is false but found the following declared annotation(s): '{key}' already has a value ({before})"
                    )
                }));
            }
            Some(value) => {
                patch.insert(key.clone(), json!(value));
            }
            None if before.is_some() => {
                removed = true;
                patch.insert(key.clone(), Value::Null);
            }
            None => term::err(format!("{} \"{key}\" not found.", which.field.trim_end_matches('s'))),
        }
    }
    let all_removed = removed && changes.values().all(Option::is_none);
    let said = match (patch.is_empty(), which.field) {
        (true, "labels") => "not labeled",
        (false, "labels") if all_removed => "unlabeled",
        _ => which.done,
    };
    Ok((patch, said))
}

/// Changes labels or annotations.
pub async fn change(args: Args, session: &Session, which: Which) -> Result<()> {
    let (objects, changes) = parse(&args.selection.args)?;
    if changes.is_empty() && !args.list {
        return Err(Error::usage(format!(
            "at least one {} update is required",
            which.field.trim_end_matches('s')
        )));
    }
    let selection = Selection { args: objects, ..args.selection.clone() };
    let (args, changes) = (&args, &changes);
    each(
        selection.items(session).await?,
        |item| async move { one(args, session, item, changes, which).await },
    )
    .await
}

async fn one(args: &Args, session: &Session, item: Item, changes: &Changes, which: Which) -> Result<()> {
    if args.list {
        let listed = table::pairs(&item.object["metadata"][which.field]);
        listed.split(',').filter(|pair| *pair != "<none>").for_each(term::out);
        return Ok(());
    }
    let (patch, said) = plan(args, &item, changes, which)?;
    let dry_run = args.dry_run.dry_run;
    let mut object = item.object.clone();
    if !patch.is_empty() && dry_run != DryRun::Client {
        let mut body = json!({"metadata": {which.field: patch}});
        if let Some(version) = &args.resource_version {
            body["metadata"]["resourceVersion"] = json!(version);
        }
        let manager = if which.field == "labels" { "kubectl-label" } else { "kubectl-annotate" };
        let call = Call::new(Method::PATCH, item.path())
            .query("fieldManager", manager)
            .maybe("dryRun", dry_run.query())
            .body("application/merge-patch+json", &body);
        object = session.rest().await?.call(call).await?;
    }
    match &args.output {
        None => term::out(format!("{} {said}{}", item.title(), dry_run.suffix())),
        Some(output) => output.print(&object, &item.kind.qualified())?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::Kind;

    const LABELS: Which = Which { field: "labels", done: "labeled" };

    fn parse_all(args: &[&str]) -> Result<(Vec<String>, Changes)> {
        parse(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn objects_come_before_changes() {
        let (objects, changes) = parse_all(&["pods", "web", "a=b", "c-", "d="]).expect("valid");
        assert_eq!(objects, ["pods", "web"]);
        assert_eq!(
            changes,
            Changes::from([
                ("a".into(), Some("b".into())),
                ("c".into(), None),
                ("d".into(), Some(String::new()))
            ])
        );
        assert!(parse_all(&["pod", "x", "a=b", "y"]).is_err());
        assert!(parse_all(&["pod", "x", "a=b", "a-"]).is_err());
    }

    #[test]
    fn a_plan_protects_what_is_there() {
        let item = Item {
            kind: Kind::default(),
            namespace: String::new(),
            name: "x".into(),
            object: json!({"metadata": {"labels": {"a": "1"}}}),
        };
        let of = |changes: &[&str], overwrite: bool| {
            let all: Vec<&str> = ["pod", "x"].iter().chain(changes).copied().collect();
            let (_, changes) = parse_all(&all).expect("valid");
            plan(&Args { overwrite, ..Args::default() }, &item, &changes, LABELS)
                .map(|(patch, said)| (Value::Object(patch), said))
                .map_err(|error| error.to_string())
        };
        assert_eq!(of(&["a=1"], false), Ok((json!({}), "not labeled")));
        assert_eq!(
            of(&["a=2"], false),
            Err("error: 'a' already has a value (1), and --overwrite is false".into())
        );
        assert_eq!(of(&["a=2"], true), Ok((json!({"a": "2"}), "labeled")));
        assert_eq!(of(&["a-"], false), Ok((json!({"a": null}), "unlabeled")));
        assert_eq!(of(&["b=2"], false), Ok((json!({"b": "2"}), "labeled")));
    }
}
