//! Jobs and CronJobs.

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::rest::Call;
use crate::session::Session;

/// A Job from flags.
#[derive(Debug, clap::Args)]
pub struct JobArgs {
    /// Its name
    pub name: String,
    /// The image
    #[arg(long, required_unless_present = "from", conflicts_with = "from")]
    pub image: Option<String>,
    /// Made from cronjob/NAME, at once
    #[arg(long)]
    pub from: Option<String>,
    /// The command
    #[arg(last = true)]
    pub command: Vec<String>,
}

/// A CronJob from flags.
#[derive(Debug, clap::Args)]
pub struct CronJobArgs {
    /// Its name
    pub name: String,
    /// The image
    #[arg(long)]
    pub image: String,
    /// When, as in cron: minute, hour, day, month, weekday
    #[arg(long)]
    pub schedule: String,
    /// OnFailure or Never
    #[arg(long, default_value = "OnFailure")]
    pub restart: String,
    /// The command
    #[arg(last = true)]
    pub command: Vec<String>,
}

fn template(name: &str, image: &str, command: &[String], restart: &str) -> Value {
    let mut container = json!({"name": name, "image": image});
    if !command.is_empty() {
        container["command"] = json!(command);
    }
    json!({"spec": {"containers": [container], "restartPolicy": restart}})
}

/// The Job.
pub(super) async fn job(args: &JobArgs, session: &Session) -> Result<Value> {
    let meta = json!({"name": args.name});
    let Some(from) = &args.from else {
        let template =
            template(&args.name, args.image.as_deref().unwrap_or_default(), &args.command, "Never");
        return Ok(
            json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": {"template": template}}),
        );
    };
    let name = from
        .split_once('/')
        .filter(|(kind, _)| ["cronjob", "cronjobs", "cj", "cronjob.batch"].contains(kind))
        .map(|(_, name)| name)
        .ok_or_else(|| Error::usage(format!("from must be an existing cronjob: {from}")))?;
    let kind = session.kind("cronjobs.batch").await?;
    let source =
        session.rest().await?.call(Call::get(kind.object_path(session.namespace().await?, name))).await?;
    let made = &source["spec"]["jobTemplate"];
    let mut meta = made["metadata"].clone();
    meta["name"] = json!(args.name);
    meta["annotations"]["cronjob.kubernetes.io/instantiate"] = json!("manual");
    meta["ownerReferences"] = json!([{
        "apiVersion": "batch/v1", "kind": "CronJob", "controller": true,
        "name": source["metadata"]["name"], "uid": source["metadata"]["uid"],
    }]);
    Ok(json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": made["spec"]}))
}

/// The CronJob.
pub(super) fn cron_job(args: &CronJobArgs) -> Value {
    let template = template(&args.name, &args.image, &args.command, &args.restart);
    json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": args.name},
        "spec": {"schedule": args.schedule, "jobTemplate": {"metadata": {"name": args.name}, "spec": {"template": template}}},
    })
}
