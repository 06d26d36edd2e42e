//! Services as nftables rules, and cluster DNS.
//!
//! (services, endpoint slices, node) → [`rules::Rules`], a value → one atomic nftables transaction. Names are answered
//! from the same state. It writes nothing to the API server, and never touches a table, chain or interface of others
//! except for two marked rules in Docker's `DOCKER-USER` chain.
//!
//! - The cost of a packet does not grow with the number of services: dispatch is by verdict map.
//! - The cost of a change is the size of the change: one service is compiled, and its difference is sent.
//! - What is left of the service and pod ranges after translation is refused: it never leaves the machine.
//! - Rules outlive the process: traffic goes on while it is away, and a new one replaces the table whole, at once.
//!
//! IPv4 only. [`run`] needs root, `nft` and `ip`.

pub mod compile;
pub mod config;
pub mod conntrack;
pub mod dns;
pub mod endpoints;
pub mod engine;
pub mod error;
mod health;
pub mod host;
pub mod net;
pub mod nft;
pub mod rules;
pub mod state;
pub mod watch;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};

use anyhow::Context;
use hickory_proto::rr::Name;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, Client};
use skiff_runtime::view::View;
use tokio_util::sync::CancellationToken;

pub use config::Config;

/// Watches, keeps the rules and answers names until shutdown. Rules and interface stay; [`clean`] removes them.
pub async fn run(config: Config, client: Client, shutdown: CancellationToken) -> anyhow::Result<()> {
    let services: View<Service> = View::spawn(Api::all(client.clone()), Default::default(), shutdown.clone());
    let slices: View<EndpointSlice> = View::spawn(Api::all(client), Default::default(), shutdown.clone());
    run_on_views(config, services, slices, shutdown).await
}

/// [`run`] on views that exist already, such as those other components of the process use.
pub async fn run_on_views(
    config: Config,
    services: View<Service>,
    slices: View<EndpointSlice>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let masquerade_pods = host::prepare(&config).await.context("preparing the machine for services")?;
    let state = Arc::new(RwLock::new(state::State::default()));
    let dirty = Arc::new(engine::Dirty::default());
    let dns = config.dns.then_some(config.dns_ip);
    let base = nft::Base {
        cluster: config.cluster_cidr,
        services: config.service_cidr,
        dns,
        node_port_addresses: config.node_port_addresses.clone(),
        masquerade_pods,
        masquerade_all: config.masquerade_all,
    };
    let guarded = base.clone();
    let facts = compile::Facts {
        nodes: config.node_names.iter().cloned().collect(),
        cluster: config.cluster_cidr,
        dns,
    };
    let healthy = Arc::new(AtomicBool::new(false));
    let server = if config.dns { Some(Arc::new(name_server(&config, state.clone())?)) } else { None };
    let names = async {
        if let Some(server) = server {
            server.run(SocketAddr::new(IpAddr::V4(config.dns_ip), 53), shutdown.clone()).await;
        }
    };
    let health = health::run(config.healthz_bind_address, healthy.clone(), shutdown.clone());
    let (synced, is_synced) = tokio::sync::oneshot::channel();
    let watching = watch::run(
        services,
        slices,
        state.clone(),
        dirty.clone(),
        || {
            // Who waits has gone only at shutdown.
            let _ = synced.send(());
        },
        shutdown.clone(),
    );
    let keeping = async {
        // Until everything is known the rules of an earlier run are better than ours.
        if is_synced.await.is_ok() {
            healthy.store(true, Ordering::Relaxed);
            engine::Engine::new(base, facts, state.clone(), dirty.clone()).run(shutdown.clone()).await;
        }
    };
    let guarding = engine::guard(&guarded, &dirty, shutdown.clone());
    tokio::join!(names, health, watching, keeping, guarding);
    Ok(())
}

fn name_server(config: &Config, state: Arc<RwLock<state::State>>) -> anyhow::Result<dns::Server> {
    let mut domain = Name::from_ascii(&config.cluster_domain)
        .with_context(|| format!("cluster domain {:?}", config.cluster_domain))?
        .to_lowercase();
    domain.set_fqdn(true);
    let zone = dns::zone::Zone {
        domain,
        dns: config.dns_ip,
        cluster: config.cluster_cidr,
        services: config.service_cidr,
    };
    let forwarder = dns::forward::Forwarder::new(config.upstream_resolv_conf.clone(), config.dns_ip);
    Ok(dns::Server::new(zone, state, forwarder))
}

/// Removes every rule and interface that [`run`] made. Nothing there is as good.
pub async fn clean() -> anyhow::Result<()> {
    host::clean().await.context("removing the rules for services")
}
