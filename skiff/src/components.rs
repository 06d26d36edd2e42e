//! Each component as a process of its own.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use skiff_nodeagent::RuntimeKind;
use tokio_util::sync::CancellationToken;

use crate::pki::Pki;
use crate::{cli, server, up};

/// `skiff apiserver`.
pub async fn apiserver(args: cli::Apiserver, shutdown: CancellationToken) -> anyhow::Result<()> {
    let dir = &args.server.data_dir;
    let _lock = server::lock(dir)?;
    let nodes = &args.credentials_for_nodes;
    let pki = Pki::open(&dir.join("pki"), &server::addresses(&args.server), nodes)?;
    let running = server::start(&args.server, &pki, &shutdown).await?;
    pki.write_kubeconfigs(dir, &running.url, nodes)?;
    let admin = client(&dir.join("kubeconfig")).await?;
    up::add_dns(&admin).await?;
    {
        use std::io::Write;
        writeln!(std::io::stdout(), "ready {}", running.url)?;
    }
    shutdown.cancelled().await;
    Ok(())
}

async fn client(kubeconfig: &Path) -> anyhow::Result<kube::Client> {
    skiff_runtime::client::from_kubeconfig(kubeconfig)
        .await
        .with_context(|| format!("cannot use {}", kubeconfig.display()))
}

fn read(path: Option<&Path>) -> anyhow::Result<Option<String>> {
    path.map(|path| std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display())))
        .transpose()
}

/// `skiff scheduler`.
pub async fn scheduler(args: cli::Component, shutdown: CancellationToken) -> anyhow::Result<()> {
    let client = client(&args.kubeconfig).await?;
    skiff_scheduler::run(skiff_scheduler::Config::default(), client, shutdown).await
}

/// `skiff controller`.
pub async fn controller(args: cli::Controller, shutdown: CancellationToken) -> anyhow::Result<()> {
    let client = client(&args.component.kubeconfig).await?;
    let config = skiff_controller::Config {
        root_ca_pem: read(args.root_ca_file.as_deref())?.unwrap_or_default(),
        node_monitor_period: Duration::from_secs(args.lifecycle.node_monitor_period),
        node_monitor_grace_period: Duration::from_secs(args.lifecycle.node_monitor_grace_period),
        ..Default::default()
    };
    skiff_controller::run(config, client, shutdown).await
}

/// `skiff nodeagent`.
pub async fn nodeagent(args: cli::Nodeagent, shutdown: CancellationToken) -> anyhow::Result<()> {
    let client = client(&args.kubeconfig).await?;
    let name = args.hostname_override.map_or_else(server::host_name, Ok)?;
    let node_ip = args.node_ip.unwrap_or_else(server::host_ip);
    let mut config = skiff_nodeagent::Config::new(name, node_ip, args.data_dir);
    config.listen = args.listen;
    config.runtime = match args.runtime {
        cli::Runtime::Docker => RuntimeKind::Docker { host: None },
        cli::Runtime::Simulated => RuntimeKind::Simulated,
    };
    config.tls_cert_pem = read(args.tls_cert_file.as_deref())?;
    config.tls_key_pem = read(args.tls_private_key_file.as_deref())?;
    config.client_ca_pem = read(args.client_ca_file.as_deref())?;
    if let Some(path) = &args.config {
        anyhow::bail!("{}: not implemented: node agent configuration files", path.display());
    }
    skiff_nodeagent::run(config, client, shutdown).await
}

/// `skiff proxy`.
pub async fn proxy(args: cli::Proxy, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut config = match &args.config {
        Some(path) => {
            let (config, warnings) = skiff_proxy::Config::from_file(path)?;
            warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            config
        }
        None => skiff_proxy::Config::default(),
    };
    if config.node_names.is_empty() {
        config.node_names = if args.hostname_override.is_empty() {
            vec![server::host_name()?]
        } else {
            args.hostname_override
        };
    }
    let kubeconfig = args.kubeconfig.or_else(|| config.kubeconfig.clone());
    let kubeconfig = kubeconfig.context(
        "no way to the API: give --kubeconfig FILE, or clientConnection.kubeconfig in the configuration",
    )?;
    let client = client(&kubeconfig).await?;
    skiff_proxy::run(config, client, shutdown).await
}
