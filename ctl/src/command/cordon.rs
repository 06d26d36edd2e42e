//! `ctl cordon`: no new pods for a node.

use http::Method;
use serde_json::json;

use crate::cli::{DryRun, DryRunArgs};
use crate::error::{Error, Result};
use crate::rest::Call;
use crate::select::{Item, Selection, each};
use crate::session::Session;
use crate::term;

/// Flags of `cordon` and `uncordon`.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Names of nodes
    pub nodes: Vec<String>,
    /// Nodes with these labels
    #[arg(long, short = 'l')]
    pub selector: Option<String>,
    /// Only show or check
    #[command(flatten)]
    pub dry_run: DryRunArgs,
}

/// Does it.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    mark(&args, session, true).await
}

/// The nodes meant.
pub async fn nodes(
    session: &Session,
    names: &[String],
    selector: Option<&String>,
) -> Result<Vec<Result<Item>>> {
    if names.is_empty() && selector.is_none() {
        return Err(Error::usage("name a node, or use --selector"));
    }
    let bare = names
        .iter()
        .map(|name| name.strip_prefix("node/").or(name.strip_prefix("nodes/")).unwrap_or(name).to_owned());
    let selection = Selection {
        args: std::iter::once("nodes".to_owned()).chain(bare).collect(),
        selector: selector.cloned(),
        ..Selection::default()
    };
    selection.items(session).await
}

/// Sets or clears `spec.unschedulable`.
pub async fn mark(args: &Args, session: &Session, unschedulable: bool) -> Result<()> {
    let items = nodes(session, &args.nodes, args.selector.as_ref()).await?;
    each(items, |item| async move { one(session, &item, unschedulable, args.dry_run.dry_run).await }).await
}

/// Marks one node and says so.
pub async fn one(session: &Session, node: &Item, unschedulable: bool, dry_run: DryRun) -> Result<()> {
    let word = if unschedulable { "cordoned" } else { "uncordoned" };
    if (node.object["spec"]["unschedulable"] == true) == unschedulable {
        term::out(format!("{} already {word}{}", node.title(), dry_run.suffix()));
        return Ok(());
    }
    if dry_run != DryRun::Client {
        let value = if unschedulable { json!(true) } else { json!(null) };
        let call = Call::new(Method::PATCH, node.path())
            .query("fieldManager", "kubectl-cordon")
            .maybe("dryRun", dry_run.query())
            .body("application/merge-patch+json", &json!({"spec": {"unschedulable": value}}));
        session.rest().await?.call(call).await?;
    }
    term::out(format!("{} {word}{}", node.title(), dry_run.suffix()));
    Ok(())
}
