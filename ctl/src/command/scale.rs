//! `ctl scale`: through the scale subresource.

use http::Method;
use serde_json::json;

use crate::age;
use crate::cli::{DryRun, DryRunArgs};
use crate::error::{Error, Result};
use crate::rest::Call;
use crate::select::{Item, Selection, each};
use crate::session::Session;
use crate::term;
use crate::watch::{self, Verdict};

/// Flags of `scale`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to scale
    #[command(flatten)]
    pub selection: Selection,
    /// How many
    #[arg(long, required = true)]
    pub replicas: u32,
    /// Only if there are so many now
    #[arg(long)]
    pub current_replicas: Option<u64>,
    /// Only at this revision of the object
    #[arg(long)]
    pub resource_version: Option<String>,
    /// Wait for it, so long
    #[arg(long, default_value = "0s")]
    pub timeout: String,
    /// Only show or check
    #[command(flatten)]
    pub dry_run: DryRunArgs,
}

/// Does it.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    let items = args.selection.items(session).await?;
    each(items, |item| one(&args, session, item)).await
}

async fn one(args: &Args, session: &Session, item: Item) -> Result<()> {
    if !item.kind.subresources.is_empty() && !item.kind.subresources.iter().any(|sub| sub == "scale") {
        return Err(Error::usage(format!(
            "cannot scale {}: the server could not find the requested resource",
            item.title()
        )));
    }
    let now = item.object["spec"]["replicas"].as_u64();
    if let (Some(wanted), Some(now)) = (args.current_replicas, now)
        && wanted != now
    {
        return Err(Error::usage(format!("Expected replicas to be {wanted}, was {now}")));
    }
    if args.dry_run.dry_run != DryRun::Client {
        let mut patch = json!({"spec": {"replicas": args.replicas}});
        if let Some(version) = &args.resource_version {
            patch["metadata"]["resourceVersion"] = json!(version);
        }
        let call = Call::new(Method::PATCH, format!("{}/scale", item.path()))
            .query("fieldManager", "kubectl-scale")
            .maybe("dryRun", args.dry_run.dry_run.query())
            .body("application/merge-patch+json", &patch);
        session.rest().await?.call(call).await?;
    }
    term::out(format!("{} scaled{}", item.title(), args.dry_run.dry_run.suffix()));
    let limit = age::parse(&args.timeout).map_err(Error::Usage)?;
    if limit.is_some_and(|limit| limit.is_zero()) || args.dry_run.dry_run != DryRun::None {
        return Ok(());
    }
    watch::until(session, &item.kind, &item.namespace, &item.name, limit, |object| {
        let reached = object.is_some_and(|object| {
            let replicas = object["status"]["replicas"].as_u64().unwrap_or(0);
            replicas == u64::from(args.replicas)
                && object["status"]["observedGeneration"] == object["metadata"]["generation"]
        });
        Ok(if reached { Verdict::Done(()) } else { Verdict::Wait })
    })
    .await
}
