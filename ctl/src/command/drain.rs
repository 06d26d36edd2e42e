//! `ctl drain`: cordon a node and evict its pods.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::cordon;
use crate::age;
use crate::cli::{DryRun, DryRunArgs};
use crate::error::{Error, Result};
use crate::rest::Call;
use crate::select::{self, Item, each};
use crate::session::Session;
use crate::term;
use crate::watch;

/// Flags of `drain`.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Names of nodes
    pub nodes: Vec<String>,
    /// Nodes with these labels
    #[arg(long, short = 'l')]
    pub selector: Option<String>,
    /// Leave pods of DaemonSets
    #[arg(long)]
    pub ignore_daemonsets: bool,
    /// Pods whose emptyDir data is lost go too
    #[arg(long)]
    pub delete_emptydir_data: bool,
    /// Pods that nothing will replace go too
    #[arg(long)]
    pub force: bool,
    /// Seconds that a pod may take to end; -1 for its own setting
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    pub grace_period: i64,
    /// How long at most; 0s for ever
    #[arg(long, default_value = "0s")]
    pub timeout: String,
    /// Only pods with these labels
    #[arg(long)]
    pub pod_selector: Option<String>,
    /// Delete instead of evicting: disruption budgets are not asked
    #[arg(long)]
    pub disable_eviction: bool,
    /// Only show or check
    #[command(flatten)]
    pub dry_run: DryRunArgs,
}

/// What draining does with a pod.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Evict,
    /// It goes, and nobody makes it anew.
    Lose,
    Leave(&'static str),
    Refuse(&'static str),
}

/// Pods by what is said of them, in the order of saying.
#[derive(Debug, Default)]
struct Reasons(Vec<(&'static str, Vec<String>)>);

impl Reasons {
    fn add(&mut self, why: &'static str, pod: &Item) {
        let name = format!("{}/{}", pod.namespace, pod.name);
        match self.0.iter_mut().find(|(known, _)| *known == why) {
            Some((_, names)) => names.push(name),
            None => self.0.push((why, vec![name])),
        }
    }

    fn lines(self) -> Vec<String> {
        self.0.into_iter().map(|(why, names)| format!("{why}: {}", names.join(", "))).collect()
    }
}

/// Upstream: `kubectl/pkg/drain/filters.go`, its doubled "cannot delete" included.
fn fate(pod: &Value, args: &Args) -> Fate {
    let meta = &pod["metadata"];
    let done = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if meta["annotations"].get("kubernetes.io/config.mirror").is_some() {
        return Fate::Leave("");
    }
    let owners = meta["ownerReferences"].as_array().map(Vec::as_slice).unwrap_or_default();
    let controller = owners.iter().find(|owner| owner["controller"] == true);
    if controller.is_some_and(|owner| owner["kind"] == "DaemonSet") && !done {
        return if args.ignore_daemonsets {
            Fate::Leave("ignoring DaemonSet-managed Pods")
        } else {
            Fate::Refuse("cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore)")
        };
    }
    if done {
        return Fate::Evict;
    }
    let volumes = pod["spec"]["volumes"].as_array().map(Vec::as_slice).unwrap_or_default();
    if volumes.iter().any(|volume| volume.get("emptyDir").is_some()) && !args.delete_emptydir_data {
        return Fate::Refuse(
            "cannot delete Pods with local storage (use --delete-emptydir-data to override)",
        );
    }
    match controller {
        None if args.force => Fate::Lose,
        None => Fate::Refuse(
            "cannot delete cannot delete Pods that declare no controller (use --force to override)",
        ),
        Some(_) => Fate::Evict,
    }
}

/// Does it.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    let items = cordon::nodes(session, &args.nodes, args.selector.as_ref()).await?;
    let args = &args;
    each(items, |node| async move { drain(args, session, &node).await }).await
}

async fn drain(args: &Args, session: &Session, node: &Item) -> Result<()> {
    cordon::one(session, node, true, args.dry_run.dry_run).await?;
    let kind = session.kind("pods").await?;
    let call = Call::get(kind.path(None))
        .query("fieldSelector", format!("spec.nodeName={}", node.name))
        .maybe("labelSelector", args.pod_selector.clone());
    let mut list = select::list(session, call).await?;
    let pods: Vec<Item> = match list["items"].take() {
        Value::Array(pods) => pods.into_iter().map(|pod| select::item(kind.clone(), pod)).collect(),
        _ => Vec::new(),
    };
    let (mut going, mut refused, mut warned) = (Vec::new(), Reasons::default(), Reasons::default());
    for pod in pods {
        match fate(&pod.object, args) {
            Fate::Evict => going.push(pod),
            Fate::Lose => {
                warned.add("deleting Pods that declare no controller", &pod);
                going.push(pod);
            }
            Fate::Leave("") => {}
            Fate::Leave(why) => warned.add(why, &pod),
            Fate::Refuse(why) => refused.add(why, &pod),
        }
    }
    let refused = refused.lines();
    if !refused.is_empty() {
        let all = refused.join(", ");
        let all = if refused.len() > 1 { format!("[{all}]") } else { all };
        return Err(Error::usage(format!(
            "unable to drain node \"{}\" due to error: {all}, continuing command...\nThere are pending nodes to be drained:\n {}\n{}",
            node.name,
            node.name,
            refused.join("\n")
        )));
    }
    let warned = warned.lines();
    if !warned.is_empty() {
        term::warn(warned.join("; "));
    }
    let limit = age::parse(&args.timeout).map_err(Error::Usage)?.filter(|limit| !limit.is_zero());
    let evictions = futures::future::join_all(going.iter().map(|pod| evict(args, session, pod, limit))).await;
    evictions.into_iter().collect::<Result<Vec<()>>>()?;
    term::out(format!("{} drained{}", node.title(), args.dry_run.dry_run.suffix()));
    Ok(())
}

async fn evict(args: &Args, session: &Session, pod: &Item, limit: Option<Duration>) -> Result<()> {
    if args.dry_run.dry_run == DryRun::Client {
        term::out(format!("evicting pod {}/{} (dry run)", pod.namespace, pod.name));
        return Ok(());
    }
    term::out(format!("evicting pod {}/{}", pod.namespace, pod.name));
    let rest = session.rest().await?;
    let options = super::delete::options(args.grace_period, "background")?;
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": pod.name, "namespace": pod.namespace}, "deleteOptions": options});
    loop {
        let call = if args.disable_eviction {
            Call::new(Method::DELETE, pod.path()).json(&options)
        } else {
            Call::new(Method::POST, format!("{}/eviction", pod.path())).json(&eviction)
        };
        match rest.call(call.maybe("dryRun", args.dry_run.dry_run.query())).await {
            Ok(_) => break,
            Err(error) if error.is_not_found() => return Ok(()),
            // A budget forbids it for now: the server says so with 429, and upstream asks again every five seconds.
            Err(Error::Status { status, .. }) if status.code == 429 => {
                term::err(format!(
                    "error when evicting pods/\"{}\" -n \"{}\" (will retry after 5s): {}",
                    pod.name, pod.namespace, status.message
                ));
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
            Err(error) => {
                return Err(error.while_doing(format!(
                    "error when evicting pods/\"{}\" -n \"{}\"",
                    pod.name, pod.namespace
                )));
            }
        }
    }
    if args.dry_run.dry_run != DryRun::None {
        return Ok(());
    }
    let uid = pod.object["metadata"]["uid"].as_str().unwrap_or_default();
    watch::gone(session, &pod.kind, &pod.namespace, &pod.name, uid, limit).await?;
    term::out(format!("pod/{} evicted", pod.name));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_fate_depends_on_what_would_be_lost() {
        let owned =
            |kind: &str| json!({"metadata": {"ownerReferences": [{"controller": true, "kind": kind}]}});
        let plain = Args::default();
        let all =
            Args { ignore_daemonsets: true, delete_emptydir_data: true, force: true, ..Args::default() };
        let local = json!({"metadata": {"ownerReferences": [{"controller": true, "kind": "ReplicaSet"}]}, "spec": {"volumes": [{"emptyDir": {}}]}});
        assert_eq!(fate(&owned("ReplicaSet"), &plain), Fate::Evict);
        assert!(matches!(fate(&owned("DaemonSet"), &plain), Fate::Refuse(_)));
        assert!(matches!(fate(&owned("DaemonSet"), &all), Fate::Leave(_)));
        assert!(matches!(fate(&json!({}), &plain), Fate::Refuse(_)));
        assert_eq!(fate(&json!({}), &all), Fate::Lose);
        assert!(matches!(fate(&local, &plain), Fate::Refuse(_)));
        assert_eq!(fate(&local, &all), Fate::Evict);
        assert_eq!(fate(&json!({"status": {"phase": "Succeeded"}}), &plain), Fate::Evict);
        assert_eq!(
            fate(&json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": ""}}}), &plain),
            Fate::Leave("")
        );
    }
}
