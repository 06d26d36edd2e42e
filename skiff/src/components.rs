//! Each component as a process of its own.

use std::path::Path;

use anyhow::Context;
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
    let config = skiff_scheduler::Config { leader_elect: args.leader_elect, ..Default::default() };
    skiff_scheduler::run(config, client, shutdown).await
}

/// `skiff controller`.
pub async fn controller(args: cli::Controller, shutdown: CancellationToken) -> anyhow::Result<()> {
    let client = client(&args.component.kubeconfig).await?;
    let signer =
        args.cluster_signing_cert_file.zip(args.cluster_signing_key_file).map(|(certificate, key)| {
            skiff_controller::Signer::from_files(certificate, key, args.signing.cluster_signing_duration)
        });
    if let Some(signer) = &signer {
        signer.check().map_err(|why| anyhow::anyhow!("--cluster-signing-cert-file: {why}"))?;
    }
    let config = skiff_controller::Config {
        signer,
        root_ca_pem: read(args.root_ca_file.as_deref())?.unwrap_or_default(),
        service_account_key: read(args.service_account_private_key_file.as_deref())?
            .map(skiff_controller::SigningKey::new),
        leader_elect: args.component.leader_elect,
        allocate_node_cidrs: args.allocate_node_cidrs,
        cluster_cidr: args.cluster_cidr,
        node_cidr_mask_size: args.node_cidr_mask_size,
        ..args.lifecycle.config()
    };
    skiff_controller::run(config, client, shutdown).await
}

/// `skiff nodeagent`.
pub async fn nodeagent(args: cli::Nodeagent, shutdown: CancellationToken) -> anyhow::Result<()> {
    let client = client(&args.kubeconfig).await?;
    let name = args.hostname_override.map_or_else(server::host_name, Ok)?;
    let node_ip = args.node_ip.unwrap_or_else(server::host_ip);
    let mut config = skiff_nodeagent::Config::new(name, node_ip, args.data_dir);
    if let Some(path) = &args.config {
        let (read, warnings) = config.with_file(path)?;
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        config = read;
    }
    // Flags win over the file.
    if let Some(address) = args.address {
        config.listen.set_ip(address);
    }
    if let Some(port) = args.port {
        config.listen.set_port(port);
    }
    config.labels.extend(args.node_labels);
    config.runtime = args.runtime.kind();
    let files = config.files.clone();
    config.tls_cert_pem = read(args.tls_cert_file.or(files.tls_cert).as_deref())?;
    config.tls_key_pem = read(args.tls_private_key_file.or(files.tls_key).as_deref())?;
    config.client_ca_pem = read(args.client_ca_file.or(files.client_ca).as_deref())?;
    server::probe(config.listen, "the node agent", "--port PORT").await?;
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
    // Flags win over the file.
    if !args.hostname_override.is_empty() {
        config.node_names = args.hostname_override;
    } else if config.node_names.is_empty() {
        config.node_names = vec![server::host_name()?];
    }
    let kubeconfig = args.kubeconfig.or_else(|| config.kubeconfig.clone());
    let kubeconfig = kubeconfig.context(
        "no way to the API: give --kubeconfig FILE, or clientConnection.kubeconfig in the configuration",
    )?;
    let client = client(&kubeconfig).await?;
    skiff_proxy::run(config, client, shutdown).await
}
