//! A whole cluster in one process.

use std::future::Future;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::runtime::wait::{Condition, await_condition};
use skiff_apiserver::security::User;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::pki::Pki;
use crate::{cli, cluster_info, in_process, server};

/// How long the components have to end.
const GOODBYE: Duration = Duration::from_secs(10);
/// How long a component waits after it failed.
const AGAIN: Duration = Duration::from_secs(2);

/// The names of the nodes on this machine: the host's, or the host's with a number.
pub fn node_names(count: u16) -> anyhow::Result<Vec<String>> {
    let host = server::host_name()?;
    Ok(match count {
        0 | 1 => (0..count).map(|_| host.clone()).collect(),
        _ => (1..=count).map(|number| format!("{host}-{number}")).collect(),
    })
}

/// Runs everything until `shutdown`; says `ready` when the API and the nodes are.
pub async fn run(up: cli::Up, shutdown: CancellationToken) -> anyhow::Result<()> {
    let dir = &up.server.data_dir;
    let _lock = server::lock(dir)?;
    let nodes = node_names(up.nodes)?;
    remember(dir, &nodes, up.runtime)?;
    let addresses = server::addresses(&up.server);
    // What is taken is said before anything is made.
    server::probe(up.server.listen, server::API_SERVER, server::LISTEN).await?;
    for at in 0..nodes.len() {
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, agent_port(&up, at)?));
        server::probe(address, "the node agent", "--agent-port PORT").await?;
    }
    let pki = Pki::open(&dir.join("pki"), &addresses, &nodes)?;
    let running = server::start(&up.server, &pki, &shutdown).await?;
    pki.write_kubeconfigs(dir, &running.url, &nodes)?;

    let client = |name: &str, groups: &[&str]| {
        let mut groups = groups.to_vec();
        groups.push("system:authenticated");
        in_process::client(&running.app, User::new(name, &groups))
    };
    let admin = client("kubernetes-admin", &["system:masters"]);
    add_dns(&admin).await?;
    cluster_info::publish(&admin, &running.public_url, pki.ca_pem()).await?;

    let mut tasks = JoinSet::new();
    let scheduler = client("system:kube-scheduler", &[]);
    start(&mut tasks, "scheduler", &shutdown, move |stop| {
        let config = skiff_scheduler::Config { leader_elect: false, ..Default::default() };
        skiff_scheduler::run(config, scheduler.clone(), stop)
    });
    let controllers = client("system:kube-controller-manager", &[]);
    let controller_config = skiff_controller::Config {
        root_ca_pem: pki.ca_pem().to_owned(),
        signer: Some(pki.signer(up.signing.cluster_signing_duration)),
        service_account_key: Some(skiff_controller::SigningKey::new(pki.service_account_key_pem())),
        leader_elect: false,
        ..up.lifecycle.config()
    };
    start(&mut tasks, "controllers", &shutdown, move |stop| {
        skiff_controller::run(controller_config.clone(), controllers.clone(), stop)
    });
    for (at, name) in nodes.iter().enumerate() {
        let config = agent_config(&up, &pki, name, at)?;
        let user = format!("system:node:{name}");
        let agent = client(&user, &["system:nodes"]);
        start(&mut tasks, "node agent", &shutdown, move |stop| {
            skiff_nodeagent::run(config.clone(), agent.clone(), stop)
        });
    }
    if up.runtime == cli::Runtime::Docker && nix::unistd::geteuid().is_root() {
        let proxy = client("system:kube-proxy", &[]);
        let names = nodes.clone();
        start(&mut tasks, "proxy", &shutdown, move |stop| {
            let config = skiff_proxy::Config { node_names: names.clone(), ..Default::default() };
            skiff_proxy::run(config, proxy.clone(), stop)
        });
    }

    tokio::select! {
        () = shutdown.cancelled() => {}
        result = nodes_ready(&admin, &nodes) => {
            result?;
            // One line, for scripts to wait for.
            let mut out = std::io::stdout();
            writeln!(out, "ready {}", running.url)?;
            out.flush()?;
            shutdown.cancelled().await;
        }
    }
    let ended = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(GOODBYE, ended).await.is_err() {
        tracing::warn!("some components did not end in time");
    }
    Ok(())
}

/// Runs a component for ever: one that fails is started again.
fn start<F, R>(tasks: &mut JoinSet<()>, name: &'static str, shutdown: &CancellationToken, run: F)
where
    F: Fn(CancellationToken) -> R + Send + 'static,
    R: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let shutdown = shutdown.clone();
    tasks.spawn(async move {
        while !shutdown.is_cancelled() {
            if let Err(error) = run(shutdown.clone()).await {
                tracing::error!(error = format!("{error:#}"), "the {name} failed; it is started again");
                tokio::select! {
                    () = tokio::time::sleep(AGAIN) => {}
                    () = shutdown.cancelled() => {}
                }
            }
        }
    });
}

/// The nodes' ports follow each other; 0 leaves each to the kernel.
fn agent_port(up: &cli::Up, at: usize) -> anyhow::Result<u16> {
    let port = u16::try_from(at).ok().and_then(|at| up.agent_port.checked_add(at));
    let port = port.context("there are not so many ports: choose a lower --agent-port or fewer --nodes")?;
    Ok(if up.agent_port == 0 { 0 } else { port })
}

fn agent_config(up: &cli::Up, pki: &Pki, name: &str, at: usize) -> anyhow::Result<skiff_nodeagent::Config> {
    let dir = node_dir(&up.server.data_dir, up.runtime, name);
    let (cert, key) = pki.node_serving(name)?;
    let mut config = skiff_nodeagent::Config::new(name, server::host_ip(), dir);
    config.runtime = up.runtime.kind();
    config.listen.set_port(agent_port(up, at)?);
    config.tls_cert_pem = Some(cert);
    config.tls_key_pem = Some(key);
    config.client_ca_pem = Some(pki.ca_pem().to_owned());
    Ok(config)
}

/// The Service by which pods reach the cluster's DNS; the proxy answers at its address.
pub async fn add_dns(client: &kube::Client) -> anyhow::Result<()> {
    use k8s_openapi::api::core::v1::Service;
    let service: Service = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "kube-dns", "labels": {"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"}},
        "spec": {
            "clusterIP": "10.96.0.10",
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
            ],
        },
    }))?;
    let api: Api<Service> = Api::namespaced(client.clone(), "kube-system");
    match api.create(&kube::api::PostParams::default(), &service).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(error).context("cannot make the Service of the cluster's DNS"),
    }
}

async fn nodes_ready(client: &kube::Client, nodes: &[String]) -> anyhow::Result<()> {
    let api: Api<Node> = Api::all(client.clone());
    for name in nodes {
        // The watch may break off; waiting goes on.
        while let Err(error) = await_condition(api.clone(), name, is_ready()).await {
            tracing::debug!(%error, "waiting for a node");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}

fn is_ready() -> impl Condition<Node> {
    |node: Option<&Node>| {
        let conditions = node.and_then(|node| node.status.as_ref()?.conditions.as_ref());
        conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
    }
}

/// Where a node's files are. For `down` they also tell which nodes have left something in an engine.
fn node_dir(dir: &Path, runtime: cli::Runtime, name: &str) -> PathBuf {
    let folder = match runtime {
        cli::Runtime::Docker => "nodes",
        cli::Runtime::Simulated => "simulated",
    };
    dir.join(folder).join(name)
}

/// Notes for `down` which nodes have run here.
fn remember(dir: &Path, nodes: &[String], runtime: cli::Runtime) -> anyhow::Result<()> {
    for name in nodes {
        let path = node_dir(dir, runtime, name);
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    }
    Ok(())
}
