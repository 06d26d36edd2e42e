//! Each component as a process of its own.

use std::path::Path;

use anyhow::Context;
use skiff_api::bootstrap_token::Token;
use skiff_nodeagent::config::CertificateFiles;
use skiff_nodeagent::join;
use tokio_util::sync::CancellationToken;

use crate::pki::Pki;
use crate::{cli, cluster_info, server, up};

/// `skiff apiserver`.
pub async fn apiserver(args: cli::Apiserver, shutdown: CancellationToken) -> anyhow::Result<()> {
    let dir = &args.server.data_dir;
    let _lock = server::lock(dir)?;
    let nodes = &args.credentials_for_nodes;
    let pki = Pki::open(&dir.join("pki"), &server::addresses(&args.server), nodes)?;
    let running = server::start(&args.server, &pki, &shutdown).await?;
    pki.write_kubeconfigs(dir, &running.url, nodes)?;
    let admin = client(&dir.join("kubeconfig"), &shutdown).await?;
    up::add_dns(&admin).await?;
    cluster_info::publish(&admin, &running.public_url, pki.ca_pem()).await?;
    {
        use std::io::Write;
        writeln!(std::io::stdout(), "ready {}", running.url)?;
    }
    shutdown.cancelled().await;
    Ok(())
}

/// A client as a kubeconfig says; new credentials in it count without a restart.
async fn client(kubeconfig: &Path, shutdown: &CancellationToken) -> anyhow::Result<kube::Client> {
    skiff_runtime::client::following(kubeconfig, shutdown.clone())
        .await
        .with_context(|| format!("cannot use {}", kubeconfig.display()))
}

fn read(path: Option<&Path>) -> anyhow::Result<Option<String>> {
    path.map(|path| std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display())))
        .transpose()
}

/// `skiff scheduler`.
pub async fn scheduler(args: cli::Component, shutdown: CancellationToken) -> anyhow::Result<()> {
    let client = client(&args.kubeconfig, &shutdown).await?;
    let config = skiff_scheduler::Config { leader_elect: args.leader_elect, ..Default::default() };
    skiff_scheduler::run(config, client, shutdown).await
}

/// `skiff controller`.
pub async fn controller(args: cli::Controller, shutdown: CancellationToken) -> anyhow::Result<()> {
    let client = client(&args.component.kubeconfig, &shutdown).await?;
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

/// What `--join` and the words beside it say.
fn invitation(args: &cli::Nodeagent) -> anyhow::Result<Option<join::Invitation>> {
    let Some(address) = &args.join else { return Ok(None) };
    let token = args.token.as_deref().and_then(Token::parse);
    let token = token.context("--token: write it as abcdef.0123456789abcdef")?;
    if let Some(bad) = args.ca_cert_hash.iter().find(|hash| !hash.starts_with("sha256:")) {
        anyhow::bail!("--ca-cert-hash {bad}: only sha256:… is known");
    }
    let address = address.trim_start_matches("https://").trim_end_matches('/').to_owned();
    Ok(Some(join::Invitation { address, token, pins: args.ca_cert_hash.clone() }))
}

/// `skiff nodeagent`.
pub async fn nodeagent(args: cli::Nodeagent, shutdown: CancellationToken) -> anyhow::Result<()> {
    let invitation = invitation(&args)?;
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
    config.files = CertificateFiles {
        tls_cert: args.tls_cert_file.or(files.tls_cert),
        tls_key: args.tls_private_key_file.or(files.tls_key),
        client_ca: args.client_ca_file.or(files.client_ca),
    };
    config.tls_cert_pem = read(config.files.tls_cert.as_deref())?;
    config.tls_key_pem = read(config.files.tls_key.as_deref())?;
    config.client_ca_pem = read(config.files.client_ca.as_deref())?;
    server::probe(config.listen, "the node agent", "--port PORT").await?;
    let client = match &args.kubeconfig {
        Some(kubeconfig) => client(kubeconfig, &shutdown).await?,
        None => {
            let joining = join::join(&config.node_name, &config.data_dir, invitation.as_ref());
            let joined = tokio::select! {
                joined = joining => joined?,
                () = shutdown.cancelled() => return Ok(()),
            };
            config.client_ca_pem = config.client_ca_pem.or_else(|| joined.rotation.cluster.ca_pem.clone());
            config.rotation = Some(joined.rotation);
            joined.client
        }
    };
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
    let client = client(&kubeconfig, &shutdown).await?;
    skiff_proxy::run(config, client, shutdown).await
}
