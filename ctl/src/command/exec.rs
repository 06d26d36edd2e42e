//! `ctl exec`: a command in a container.

use kube::Api;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::remote::{self, Streams};
use crate::select::{Item, Selection};
use crate::session::Session;
use crate::term;

/// Flags of `exec`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// POD, or TYPE/NAME of a workload
    pub target: String,
    /// Which container
    #[arg(long, short = 'c')]
    pub container: Option<String>,
    /// What is connected
    #[command(flatten)]
    pub streams: Streams,
    /// The command, after --
    #[arg(last = true)]
    pub command: Vec<String>,
}

/// Does it.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    if args.command.is_empty() {
        return Err(Error::usage("you must specify at least one command for the container"));
    }
    let pod = pod(session, &args.target).await?;
    let container = container(&pod, args.container.as_deref(), args.streams.quiet)?;
    let streams = args.streams.settled();
    let api: Api<k8s_openapi::api::core::v1::Pod> =
        Api::namespaced(session.rest().await?.client(), &pod.namespace);
    let process = api.exec(&pod.name, args.command, &streams.params(Some(&container))).await?;
    remote::connect(process, streams).await
}

/// A pod by name, or the first running one of a workload.
pub async fn pod(session: &Session, target: &str) -> Result<Item> {
    let args = match target.split_once('/') {
        Some(_) => vec![target.to_owned()],
        None => vec!["pods".to_owned(), target.to_owned()],
    };
    let selection = Selection { args, ..Selection::default() };
    let item =
        selection.items(session).await?.into_iter().next().unwrap_or_else(|| Err(Error::usage("no pod")))?;
    if item.kind.kind == "Pod" {
        return Ok(item);
    }
    let selector = selector(&item)
        .ok_or_else(|| Error::usage(format!("cannot attach to {}: selector is missing", item.title())))?;
    let pods = Selection { args: vec!["pods".to_owned()], selector: Some(selector), ..Selection::default() };
    let mut found: Vec<Item> = pods.items(session).await?.into_iter().collect::<Result<_>>()?;
    found.sort_by_key(|pod| (pod.object["status"]["phase"] != "Running", pod.name.clone()));
    found.into_iter().next().ok_or_else(|| Error::usage(format!("no pods found for {}", item.title())))
}

/// The label selector of a workload or Service, as a query takes it.
pub fn selector(item: &Item) -> Option<String> {
    let spec = &item.object["spec"]["selector"];
    let pairs = if item.kind.kind == "Service" || item.kind.kind == "ReplicationController" {
        spec
    } else {
        &spec["matchLabels"]
    };
    let pairs =
        pairs.as_object()?.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
    let text = pairs.collect::<Vec<_>>().join(",");
    (!text.is_empty()).then_some(text)
}

/// The container meant: the named one, the pod's default, or the first.
pub fn container(pod: &Item, named: Option<&str>, quiet: bool) -> Result<String> {
    let spec = &pod.object["spec"];
    let names = |key: &str| -> Vec<String> {
        let list: &[Value] = spec[key].as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(|container| container["name"].as_str().map(str::to_owned)).collect()
    };
    let (main, init) = (names("containers"), names("initContainers"));
    if let Some(named) = named {
        let known = main.iter().chain(&init).chain(&names("ephemeralContainers")).any(|name| name == named);
        return if known {
            Ok(named.to_owned())
        } else {
            Err(Error::usage(format!("container {named} not found in pod {}", pod.name)))
        };
    }
    if let Some(name) =
        pod.object["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"].as_str()
    {
        return Ok(name.to_owned());
    }
    let first =
        main.first().cloned().ok_or_else(|| Error::usage(format!("pod {} has no containers", pod.name)))?;
    if main.len() > 1 && !quiet {
        let all: Vec<String> =
            main.into_iter().chain(init.into_iter().map(|name| format!("{name} (init)"))).collect();
        term::err(format!("Defaulted container \"{first}\" out of: {}", all.join(", ")));
    }
    Ok(first)
}
