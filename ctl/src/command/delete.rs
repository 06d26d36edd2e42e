//! `ctl delete`: delete objects and wait until they are gone.

use std::collections::HashSet;

use http::Method;
use serde_json::{Map, Value, json};

use crate::age;
use crate::cli::{DryRun, DryRunArgs};
use crate::error::{Error, Result};
use crate::output::Output;
use crate::rest::Call;
use crate::select::{self, Item, Selection};
use crate::session::Session;
use crate::term;
use crate::watch;

/// Flags of `delete`.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// What to delete
    #[command(flatten)]
    pub selection: Selection,
    /// Only show or check
    #[command(flatten)]
    pub dry_run: DryRunArgs,
    /// Seconds that a pod may take to end; -1 for its own setting
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    pub grace_period: i64,
    /// Do not wait for the node to confirm (with --grace-period=0)
    #[arg(long)]
    pub force: bool,
    /// As --grace-period=1
    #[arg(long)]
    pub now: bool,
    /// What happens to dependents: background, foreground or orphan
    #[arg(long, default_value = "background", default_missing_value = "background", num_args = 0..=1, require_equals = true)]
    pub cascade: String,
    /// Wait until the objects are gone
    #[arg(long, default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set)]
    pub wait: bool,
    /// How long to wait; 0s for ever
    #[arg(long, default_value = "0s")]
    pub timeout: String,
    /// No error if an object does not exist
    #[arg(long)]
    pub ignore_not_found: bool,
    /// name: print TYPE/NAME only
    #[arg(long, short = 'o')]
    pub output: Option<Output>,
}

/// The body of the request.
pub fn options(grace_period: i64, cascade: &str) -> Result<Value> {
    let policy = match cascade {
        "background" | "true" => "Background",
        "foreground" => "Foreground",
        "orphan" | "false" => "Orphan",
        other => {
            return Err(Error::usage(format!(
                "invalid cascade value ({other}). Must be \"background\", \"foreground\", or \"orphan\""
            )));
        }
    };
    let mut options = Map::new();
    options.insert("apiVersion".to_owned(), json!("v1"));
    options.insert("kind".to_owned(), json!("DeleteOptions"));
    options.insert("propagationPolicy".to_owned(), json!(policy));
    if grace_period >= 0 {
        options.insert("gracePeriodSeconds".to_owned(), json!(grace_period));
    }
    Ok(Value::Object(options))
}

/// Does it.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    let grace = if args.now { 1 } else { args.grace_period };
    if args.now && args.grace_period >= 0 {
        return Err(Error::usage("--now and --grace-period cannot be specified together"));
    }
    // As kubectl: zero seconds without force would leave containers running that nobody knows of.
    let grace = match (grace, args.force) {
        (0, false) => 1,
        (-1, true) => 0,
        (grace, _) => grace,
    };
    let force = args.force && grace == 0;
    if force {
        term::warn(
            "Immediate deletion does not wait for confirmation that the running resource has been terminated. The resource may continue to run on the cluster indefinitely.",
        );
    }
    let body = options(grace, &args.cascade)?;
    let items = args.selection.items(session).await?;
    let nothing = items.is_empty();
    let ignore = args.ignore_not_found || args.selection.all || args.selection.selector.is_some();
    let rest = session.rest().await?;
    let (mut deleted, mut failed, mut seen) = (Vec::new(), false, HashSet::new());
    for item in items {
        let done = match item {
            Ok(item) if !seen.insert(item.path()) => continue,
            Ok(item) => delete(&args, rest, &item, &body, force).await.map(|()| deleted.push(item)),
            Err(error) => Err(error),
        };
        match done {
            Ok(()) => {}
            Err(error) if error.is_not_found() && ignore => {}
            Err(error) => {
                crate::report(&error);
                failed = true;
            }
        }
    }
    if nothing && args.selection.files.files.is_empty() {
        term::out("No resources found");
    }
    if args.wait && args.dry_run.dry_run == DryRun::None && !force {
        let limit = age::parse(&args.timeout).map_err(Error::Usage)?.filter(|limit| !limit.is_zero());
        for item in &deleted {
            let uid = item.object["metadata"]["uid"].as_str().unwrap_or_default();
            match watch::gone(session, &item.kind, &item.namespace, &item.name, uid, limit).await {
                Ok(()) => {}
                // Not being allowed to watch does not undo the deletion; the namespace itself may be gone, too.
                Err(error) if matches!(error.code(), Some(403..=405)) => {}
                Err(error) => {
                    crate::report(&error);
                    failed = true;
                }
            }
        }
    }
    if failed { Err(Error::Exit(1)) } else { Ok(()) }
}

async fn delete(args: &Args, rest: &crate::rest::Rest, item: &Item, body: &Value, force: bool) -> Result<()> {
    let dry_run = args.dry_run.dry_run;
    if dry_run != DryRun::Client {
        let call = Call::new(Method::DELETE, item.path()).maybe("dryRun", dry_run.query()).json(body);
        rest.call(call).await?;
    }
    if args.output == Some(Output::Name) {
        term::out(item.title());
        return Ok(());
    }
    let verb = if force { "force deleted" } else { "deleted" };
    term::out(format!("{} \"{}\" {verb}{}", item.kind.qualified(), item.name, dry_run.suffix()));
    Ok(())
}

/// Deletes one object in the background manner, for other commands (`run --rm`).
pub async fn quietly(session: &Session, item: &select::Item) -> Result<()> {
    let call = Call::new(Method::DELETE, item.path()).json(&options(-1, "background")?);
    session.rest().await?.call(call).await?;
    term::out(format!("{} \"{}\" deleted", item.kind.qualified(), item.name));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_say_how() {
        assert_eq!(options(-1, "background").expect("valid")["propagationPolicy"], "Background");
        let foreground = options(0, "foreground").expect("valid");
        assert_eq!(
            (&foreground["gracePeriodSeconds"], &foreground["propagationPolicy"]),
            (&json!(0), &json!("Foreground"))
        );
        assert!(options(0, "x").is_err());
    }
}
