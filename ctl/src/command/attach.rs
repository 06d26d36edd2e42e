//! `ctl attach`: to a container's main process.

use kube::Api;

use super::exec;
use crate::error::Result;
use crate::remote::{self, Streams};
use crate::session::Session;
use crate::term;

/// Flags of `attach`.
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
}

/// Does it.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    let pod = exec::pod(session, &args.target).await?;
    let container = exec::container(&pod, args.container.as_deref(), args.streams.quiet)?;
    let streams = args.streams;
    if args.streams.stdin && args.streams.tty && !args.streams.quiet {
        term::err("If you don't see a command prompt, try pressing enter.");
    }
    attach(session, &pod.namespace, &pod.name, &container, streams).await
}

/// Attaches to a container of a pod until it ends.
pub async fn attach(
    session: &Session,
    namespace: &str,
    pod: &str,
    container: &str,
    streams: Streams,
) -> Result<()> {
    let streams = streams.settled();
    let api: Api<k8s_openapi::api::core::v1::Pod> =
        Api::namespaced(session.rest().await?.client(), namespace);
    let process = api.attach(pod, &streams.params(Some(container))).await?;
    remote::connect(process, streams).await
}
