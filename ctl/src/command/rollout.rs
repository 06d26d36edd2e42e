//! `ctl rollout`: status, history, undo, restart, pause and resume.

use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};

use crate::age;
use crate::describe::{self, Page};
use crate::error::{Error, Result};
use crate::rest::Call;
use crate::rollout::{self, Progress, REVISION};
use crate::select::{self, Item, Selection, each};
use crate::session::Session;
use crate::term;
use crate::watch::{self, Verdict};

/// Flags of `rollout`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    pub what: What,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Follow a rollout until it is complete
    Status {
        /// Of what
        #[command(flatten)]
        selection: Selection,
        /// Follow it
        #[arg(long, short = 'w', default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set)]
        watch: bool,
        /// How long at most; 0s for ever
        #[arg(long, default_value = "0s")]
        timeout: String,
    },
    /// Show earlier revisions
    History {
        /// Of what
        #[command(flatten)]
        selection: Selection,
        /// Show this one in detail
        #[arg(long, default_value_t = 0)]
        revision: u64,
    },
    /// Return to an earlier revision
    Undo {
        /// Of what
        #[command(flatten)]
        selection: Selection,
        /// Which; the one before by default
        #[arg(long, default_value_t = 0)]
        to_revision: u64,
    },
    /// Replace all pods
    Restart {
        /// Of what
        #[command(flatten)]
        selection: Selection,
    },
    /// Hold changes back
    Pause {
        /// Of what
        #[command(flatten)]
        selection: Selection,
    },
    /// Let changes go on
    Resume {
        /// Of what
        #[command(flatten)]
        selection: Selection,
    },
}

/// Does it.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    match args.what {
        What::Status { selection, watch, timeout } => {
            let limit = age::parse(&timeout).map_err(Error::Usage)?.filter(|limit| !limit.is_zero());
            each(selection.items(session).await?, |item| status(session, item, watch, limit)).await
        }
        What::History { selection, revision } => {
            each(selection.items(session).await?, |item| history(session, item, revision)).await
        }
        What::Undo { selection, to_revision } => {
            each(selection.items(session).await?, |item| undo(session, item, to_revision)).await
        }
        What::Restart { selection } => {
            each(selection.items(session).await?, |item| restart(session, item)).await
        }
        What::Pause { selection } => {
            each(selection.items(session).await?, |item| pause(session, item, true)).await
        }
        What::Resume { selection } => {
            each(selection.items(session).await?, |item| pause(session, item, false)).await
        }
    }
}

async fn status(
    session: &Session,
    item: Item,
    follow: bool,
    limit: Option<std::time::Duration>,
) -> Result<()> {
    let mut said = String::new();
    watch::until(session, &item.kind, &item.namespace, &item.name, limit, |object| {
        let Some(object) = object else { return Err(Error::usage("object has been deleted")) };
        let mut object = object.clone();
        select::type_item(&mut object, &item.kind);
        let (text, verdict) = match rollout::progress(&object) {
            Progress::Failed(text) => return Err(Error::usage(text)),
            Progress::Done(text) => (text, Verdict::Done(())),
            Progress::Waiting(text) => (text, if follow { Verdict::Wait } else { Verdict::Done(()) }),
        };
        if text != said {
            term::out(&text);
            said = text;
        }
        Ok(verdict)
    })
    .await
}

async fn sets(session: &Session, item: &Item) -> Result<Vec<Value>> {
    if item.kind.kind != "Deployment" {
        return Err(Error::usage(format!("history of a {} is not implemented", item.kind.qualified())));
    }
    let kind = session.kind("replicasets.apps").await?;
    let mut list = select::list(session, Call::get(kind.path(Some(&item.namespace)))).await?;
    Ok(match list["items"].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    })
}

async fn history(session: &Session, item: Item, wanted: u64) -> Result<()> {
    let sets = sets(session, &item).await?;
    let own = rollout::history(&item.object, &sets);
    if wanted > 0 {
        let set = rollout::undo_to(&own, wanted)
            .map_err(|_| Error::usage("unable to find the specified revision"))?;
        let template = describe::template(&set["spec"]["template"]);
        term::out(format!("{} with revision #{wanted}\n{template}", item.title()));
        return Ok(());
    }
    let mut table = Page::default();
    table.cells(0, ["REVISION", "CHANGE-CAUSE"].map(str::to_owned));
    for set in own {
        let cause = set["metadata"]["annotations"]["kubernetes.io/change-cause"].as_str().unwrap_or("<none>");
        table.cells(0, [rollout::revision(set).to_string(), cause.to_owned()]);
    }
    term::out(format!("{} \n{}", item.title(), table.render()));
    Ok(())
}

async fn undo(session: &Session, item: Item, to: u64) -> Result<()> {
    let sets = sets(session, &item).await?;
    if item.object["spec"]["paused"] == true {
        return Err(Error::usage(format!(
            "you cannot rollback a paused deployment; resume it first with 'ctl rollout resume {}' and try again",
            item.title()
        )));
    }
    let own = rollout::history(&item.object, &sets);
    let set = rollout::undo_to(&own, to).map_err(Error::Usage)?;
    if to > 0 && item.object["metadata"]["annotations"][REVISION] == set["metadata"]["annotations"][REVISION]
    {
        term::out(format!(
            "{} skipped rollback (current template already matches revision {to})",
            item.title()
        ));
        return Ok(());
    }
    patch(session, &item, "application/json-patch+json", &rollout::undo_patch(set)).await?;
    term::out(format!("{} rolled back", item.title()));
    Ok(())
}

async fn patch(session: &Session, item: &Item, content: &'static str, patch: &Value) -> Result<Value> {
    let call =
        Call::new(Method::PATCH, item.path()).query("fieldManager", "kubectl-rollout").body(content, patch);
    session.rest().await?.call(call).await
}

async fn restart(session: &Session, item: Item) -> Result<()> {
    if !item.object["spec"]["template"].is_object() {
        return Err(Error::usage(format!("{} restarting is not supported", item.kind.resource())));
    }
    if item.object["spec"]["paused"] == true {
        return Err(Error::usage(format!(
            "{} \"{}\" can't restart paused deployment (run rollout resume first)",
            item.kind.resource(),
            item.name
        )));
    }
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let change = json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": now}}}}});
    patch(session, &item, "application/merge-patch+json", &change).await?;
    term::out(format!("{} restarted", item.title()));
    Ok(())
}

async fn pause(session: &Session, item: Item, paused: bool) -> Result<()> {
    if item.kind.kind != "Deployment" {
        return Err(Error::usage(format!(
            "{} {} is not supported",
            item.kind.resource(),
            if paused { "pausing" } else { "resuming" }
        )));
    }
    let verb = if paused { "paused" } else { "resumed" };
    if (item.object["spec"]["paused"] == true) == paused {
        return Err(Error::usage(format!(
            "{} {} {}",
            item.title(),
            if paused { "is already" } else { "is not" },
            "paused"
        )));
    }
    patch(session, &item, "application/merge-patch+json", &json!({"spec": {"paused": paused}})).await?;
    term::out(format!("{} {verb}", item.title()));
    Ok(())
}
