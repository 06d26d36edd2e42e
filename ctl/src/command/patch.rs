//! `ctl patch`: change fields of an object.

use http::Method;
use serde_json::Value;

use crate::cli::{DryRun, DryRunArgs};
use crate::error::{Error, Result};
use crate::output::Output;
use crate::rest::Call;
use crate::select::{Item, Selection, each};
use crate::session::Session;
use crate::term;

/// Flags of `patch`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to patch
    #[command(flatten)]
    pub selection: Selection,
    /// The patch, JSON or YAML
    #[arg(long, short = 'p', required_unless_present = "patch_file")]
    pub patch: Option<String>,
    /// A file with the patch
    #[arg(long)]
    pub patch_file: Option<std::path::PathBuf>,
    /// json, merge or strategic
    #[arg(long = "type", default_value = "strategic")]
    pub kind: String,
    /// Patch this subresource, as status
    #[arg(long)]
    pub subresource: Option<String>,
    /// Only check
    #[command(flatten)]
    pub dry_run: DryRunArgs,
    /// Print the object instead of a line
    #[arg(long, short = 'o')]
    pub output: Option<Output>,
}

/// Does it.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    let content = match args.kind.as_str() {
        "json" => "application/json-patch+json",
        "merge" => "application/merge-patch+json",
        "strategic" => "application/strategic-merge-patch+json",
        other => {
            return Err(Error::usage(format!(
                "--type must be one of [json merge strategic], not \"{other}\""
            )));
        }
    };
    let text = match (&args.patch, &args.patch_file) {
        (Some(text), _) => text.clone(),
        (None, Some(path)) => {
            std::fs::read_to_string(path).map_err(|source| Error::Io { path: path.clone(), source })?
        }
        (None, None) => String::new(),
    };
    let patch: Value = serde_saphyr::from_str(&text)
        .map_err(|error| Error::usage(format!("unable to parse \"{text}\": {}", error.without_snippet())))?;
    let (args, patch) = (&args, &patch);
    each(args.selection.items(session).await?, |item| async move {
        one(args, session, item, content, patch).await
    })
    .await
}

async fn one(args: &Args, session: &Session, item: Item, content: &'static str, patch: &Value) -> Result<()> {
    if args.dry_run.dry_run == DryRun::Client {
        return Err(Error::usage("patching on the client is not implemented: use --dry-run=server"));
    }
    let path = match &args.subresource {
        Some(subresource) => format!("{}/{subresource}", item.path()),
        None => item.path(),
    };
    let call = Call::new(Method::PATCH, path)
        .query("fieldManager", "kubectl-patch")
        .maybe("dryRun", args.dry_run.dry_run.query())
        .body(content, patch);
    let object = session.rest().await?.call(call).await?;
    match &args.output {
        Some(output) => output.print(&object, &item.kind.qualified()),
        None => {
            let same = object["metadata"]["resourceVersion"] == item.object["metadata"]["resourceVersion"]
                && args.dry_run.dry_run == DryRun::None;
            term::out(format!(
                "{} patched{}{}",
                // A subresource may be of a kind of its own.
                if object["kind"] == "Scale" {
                    format!("scale.autoscaling/{}", item.name)
                } else {
                    item.title()
                },
                if same { " (no change)" } else { "" },
                args.dry_run.dry_run.suffix()
            ));
            Ok(())
        }
    }
}
