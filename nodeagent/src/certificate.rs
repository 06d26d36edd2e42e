//! The node's own certificates: what it shows to the API server and what it serves with, asked for by
//! CertificateSigningRequests and renewed before they end, while everything goes on.
//!
//! Behaviour: upstream's `client-go/util/certificate`, with the names of its files.

mod ask;
mod files;
mod renewal;

use std::{net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use jiff::Timestamp;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;
use skiff_api::certificate::{KUBE_APISERVER_CLIENT_KUBELET, KUBELET_SERVING};
use skiff_runtime::client::Swap;
use tokio_util::sync::CancellationToken;

use crate::tls::Serving;
pub use ask::ask;
pub use files::{Pair, Store};
pub use renewal::renewal_s;

/// The group of node agents.
const NODES: &str = "system:nodes";
/// The longest time between two looks at the clock: it may be set, or the machine may sleep.
const LOOK: Duration = Duration::from_secs(600);
/// How long after a failed renewal the next is tried; it doubles up to the second.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_MOST: Duration = Duration::from_secs(300);

/// Where the API is, and how it is known.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Such as `https://10.0.0.1:6443`.
    pub server: String,
    /// The CA, as PEM; none trusts whoever answers.
    pub ca_pem: Option<String>,
}

/// What is shown to the API server.
#[derive(Clone, Copy)]
pub enum Shown<'a> {
    /// Nothing.
    Nothing,
    /// A bearer token.
    Token(&'a str),
    /// A certificate.
    Pair(&'a Pair),
}

impl Cluster {
    /// A client of it.
    ///
    /// # Errors
    /// What is shown cannot be read.
    pub async fn client(&self, shown: Shown<'_>) -> anyhow::Result<kube::Client> {
        let encode = |pem: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pem);
        let cluster = match &self.ca_pem {
            Some(ca) => json!({ "server": self.server, "certificate-authority-data": encode(ca) }),
            None => json!({ "server": self.server, "insecure-skip-tls-verify": true }),
        };
        let user = match shown {
            Shown::Nothing => json!({}),
            Shown::Token(token) => json!({ "token": token }),
            Shown::Pair(pair) => json!({
                "client-certificate-data": encode(&pair.certificate), "client-key-data": encode(&pair.key),
            }),
        };
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{ "name": "c", "cluster": cluster }],
            "users": [{ "name": "u", "user": user }],
            "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
        });
        // JSON is YAML. Its text holds a secret, so an error must not quote it.
        let config = Kubeconfig::from_yaml(&config.to_string())
            .map_err(|_| anyhow::anyhow!("the node's credentials cannot be read"))?;
        let mut config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default())
            .await
            .context("the node's credentials cannot be used")?;
        let agent = concat!("kubelet/", env!("CARGO_PKG_VERSION"));
        config.headers.push((http::header::USER_AGENT, http::HeaderValue::from_static(agent)));
        Ok(kube::Client::try_from(config)?)
    }
}

/// What an agent needs to renew its certificates by itself.
#[derive(Clone)]
pub struct Rotation {
    /// Where they are kept.
    pub store: Store,
    /// Where the API is.
    pub cluster: Cluster,
    /// Takes the client over to a new certificate.
    pub swap: Swap,
}

impl std::fmt::Debug for Rotation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rotation").field("cluster", &self.cluster.server).finish_non_exhaustive()
    }
}

/// What a node asks for as a client.
pub fn client_wish(node: &str) -> ask::Wish {
    ask::Wish {
        signer: KUBE_APISERVER_CLIENT_KUBELET,
        user: format!("system:node:{node}"),
        group: NODES,
        hosts: Vec::new(),
        usages: &["digital signature", "client auth"],
    }
}

fn serving_wish(node: &str, ip: IpAddr) -> ask::Wish {
    ask::Wish {
        signer: KUBELET_SERVING,
        hosts: vec![node.to_owned(), ip.to_string()],
        usages: &["digital signature", "server auth"],
        ..client_wish(node)
    }
}

/// Waits until `second` of the epoch.
async fn until(second: i64, shutdown: &CancellationToken) -> bool {
    loop {
        let left = second - Timestamp::now().as_second();
        let Ok(left @ 1..) = u64::try_from(left) else { return true };
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(left).min(LOOK)) => {}
            () = shutdown.cancelled() => return false,
        }
    }
}

/// Asks until there is an answer.
async fn insist(client: &kube::Client, wish: &ask::Wish, shutdown: &CancellationToken) -> Option<Pair> {
    let mut pause = AGAIN;
    loop {
        let asked = tokio::select! {
            asked = ask(client, wish) => asked,
            () = shutdown.cancelled() => return None,
        };
        match asked {
            Ok(pair) => return Some(pair),
            Err(error) => {
                tracing::warn!(
                    signer = wish.signer,
                    error = format!("{error:#}"),
                    "no certificate yet, asking again"
                );
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(AGAIN_MOST),
            () = shutdown.cancelled() => return None,
        }
    }
}

/// Renews the client certificate before it ends, for ever.
pub async fn keep_client(
    rotation: Rotation,
    node: String,
    client: kube::Client,
    shutdown: CancellationToken,
) {
    let wish = client_wish(&node);
    let mut got_s = Timestamp::now().as_second();
    let mut pair = rotation.store.client();
    loop {
        let due =
            pair.as_ref().map_or(0, |pair| renewal_s(pair.validity_s(), got_s, rand::random_range(0.7..0.9)));
        if !until(due, &shutdown).await {
            return;
        }
        let Some(new) = insist(&client, &wish, &shutdown).await else { return };
        if let Err(error) = rotation.store.keep_client(&new) {
            tracing::warn!(
                error = format!("{error:#}"),
                "the new certificate cannot be kept; it counts until a restart"
            );
        }
        match rotation.cluster.client(Shown::Pair(&new)).await {
            Ok(client) => rotation.swap.swap(client),
            Err(error) => tracing::error!(error = format!("{error:#}"), "the new certificate cannot be used"),
        }
        tracing::info!(until = new.ends(), "the client certificate was renewed");
        got_s = Timestamp::now().as_second();
        pair = Some(new);
    }
}

/// Asks for what the node serves with, and renews it before it ends, for ever.
pub async fn keep_serving(
    rotation: Rotation,
    (node, ip): (String, IpAddr),
    client: kube::Client,
    serving: Arc<Serving>,
    shutdown: CancellationToken,
) {
    let wish = serving_wish(&node, ip);
    let mut got_s = Timestamp::now().as_second();
    let kept =
        rotation.store.serving().filter(|pair| pair.is_for(&wish.hosts) && got_s < pair.validity_s().1);
    let mut pair = kept;
    loop {
        if let Some(pair) = &pair {
            match serving.set(&pair.certificate, &pair.key) {
                Ok(()) => {
                    let due = renewal_s(pair.validity_s(), got_s, rand::random_range(0.7..0.9));
                    if !until(due, &shutdown).await {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "what the node serves with cannot be used")
                }
            }
        }
        let Some(new) = insist(&client, &wish, &shutdown).await else { return };
        if let Err(error) = rotation.store.keep_serving(&new) {
            tracing::warn!(error = format!("{error:#}"), "what the node serves with cannot be kept");
        }
        tracing::info!(until = new.ends(), "the serving certificate was renewed");
        got_s = Timestamp::now().as_second();
        pair = Some(new);
    }
}

/// Serves with what two files hold, and with what they hold next.
pub async fn follow_files(
    (certificate, key): (PathBuf, PathBuf),
    client_ca: Option<PathBuf>,
    serving: Arc<Serving>,
    shutdown: CancellationToken,
) {
    /// How often they are compared with what is known.
    const COMPARE: Duration = Duration::from_secs(1);
    let read = || {
        let text = |path: &PathBuf| std::fs::read_to_string(path).ok();
        Some((text(&certificate)?, text(&key)?, client_ca.as_ref().map(text)))
    };
    let mut known = read();
    loop {
        tokio::select! {
            () = tokio::time::sleep(COMPARE) => {}
            () = shutdown.cancelled() => return,
        }
        let found = read();
        if found.is_none() || found == known {
            continue;
        }
        if let Some((certificate, key, ca)) = &found {
            // Files are replaced one after the other: what does not fit together yet does a moment later.
            let ca = ca.clone().flatten();
            match ca.map_or(Ok(()), |ca| serving.trust(&ca)).and_then(|()| serving.set(certificate, key)) {
                Ok(()) => tracing::info!("the node serves with new files"),
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "the new files cannot be served with yet")
                }
            }
        }
        known = found;
    }
}
