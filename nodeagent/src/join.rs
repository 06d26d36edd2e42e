//! Joining a cluster with a bootstrap token, as kubeadm does.
//!
//! Where the cluster is and what its CA is stands in a ConfigMap that anyone may read, and so anyone could forge: it is
//! believed if the token has signed it, and if its CA is the one that was told beforehand. Only then is the token
//! itself shown to anyone, and with it a first certificate asked for.

use std::{path::Path, time::Duration};

use anyhow::{Context, bail};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::Value;
use skiff_api::{
    bootstrap_token::{CLUSTER_INFO, KUBECONFIG, SIGNATURE_PREFIX, Token, pin},
    certificate::blocks,
};
use skiff_runtime::client::swapping;

use crate::certificate::{Cluster, Pair, Rotation, Shown, Store, ask, client_wish};

/// How long a signature is waited for that a new token has not given yet.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(500);

/// What a node is told to join by.
#[derive(Clone, Debug)]
pub struct Invitation {
    /// `ADDRESS:PORT` of an API server.
    pub address: String,
    /// The token.
    pub token: Token,
    /// What the CA is known by (`sha256:…`); one of them must fit.
    pub pins: Vec<String>,
}

/// A client that renews its certificate by itself, and with what.
pub struct Joined {
    /// The client.
    pub client: kube::Client,
    /// How it goes on.
    pub rotation: Rotation,
}

/// Joins, unless this node has joined before: then that is used.
///
/// # Errors
/// The cluster cannot be reached or is not the one that was meant, or does not take the token.
pub async fn join(node: &str, data_dir: &Path, invitation: Option<&Invitation>) -> anyhow::Result<Joined> {
    let store = Store::of(data_dir);
    if let Some((server, ca)) = store.cluster()
        && let Some(pair) = store.client().filter(|pair| is_good(pair, node))
    {
        return settled(store, Cluster { server, ca_pem: Some(ca) }, &pair).await;
    }
    let invitation = invitation.with_context(|| {
        format!(
            "this node has no certificate in {}: give --kubeconfig FILE, or --join ADDR:PORT --token T --ca-cert-hash sha256:…",
            data_dir.display()
        )
    })?;
    let ca = discover(invitation).await?;
    let cluster = Cluster { server: format!("https://{}", invitation.address), ca_pem: Some(ca.clone()) };
    let bearer = invitation.token.bearer();
    let pair = ask(&cluster.client(Shown::Token(&bearer)).await?, &client_wish(node)).await;
    let pair = pair.map_err(|error| match refused(&error) {
        true => anyhow::anyhow!(
            "the API server does not take the token {}: it has ended, was taken back, or is not for this",
            invitation.token.id
        ),
        false => error.context("no certificate for this node"),
    })?;
    store.keep_cluster(&cluster.server, &ca)?;
    store.keep_client(&pair)?;
    tracing::info!(until = pair.ends(), "joined the cluster at {}", cluster.server);
    settled(store, cluster, &pair).await
}

fn is_good(pair: &Pair, node: &str) -> bool {
    pair.user().as_deref() == Some(&format!("system:node:{node}"))
        && Timestamp::now().as_second() < pair.validity_s().1
}

async fn settled(store: Store, cluster: Cluster, pair: &Pair) -> anyhow::Result<Joined> {
    let (client, swap) = swapping(cluster.client(Shown::Pair(pair)).await?);
    Ok(Joined { client, rotation: Rotation { store, cluster, swap } })
}

fn refused(error: &anyhow::Error) -> bool {
    let api = error.chain().find_map(|cause| cause.downcast_ref::<kube::Error>());
    matches!(api, Some(kube::Error::Api(status)) if status.code == 401 || status.code == 403)
}

/// The cluster's CA, as PEM, believed.
async fn discover(invitation: &Invitation) -> anyhow::Result<String> {
    let server = format!("https://{}", invitation.address);
    let stranger = Cluster { server: server.clone(), ca_pem: None };
    let client = stranger.client(Shown::Nothing).await?;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let told = loop {
        let info = cluster_info(&client).await.with_context(|| format!("cannot ask {server} where it is"))?;
        match believe(&info, invitation) {
            Ok(told) => break told,
            // A new token signs a moment after it was made.
            Err(Doubt::Unsigned) if tokio::time::Instant::now() < deadline => tokio::time::sleep(LOOK).await,
            Err(doubt) => bail!("{}", doubt.words(&invitation.token.id)),
        }
    };
    // Whoever answered may have passed on what is true: the one who is spoken to must hold that CA's certificate.
    let known = Cluster { server: server.clone(), ca_pem: Some(told.ca_pem.clone()) };
    let again = cluster_info(&known.client(Shown::Nothing).await?).await;
    let again = again.with_context(|| format!("{server} has no certificate of the cluster's CA"))?;
    if again.get(KUBECONFIG) != Some(&told.kubeconfig) {
        bail!("{server} tells something else each time; it is not trusted");
    }
    Ok(told.ca_pem)
}

async fn cluster_info(client: &kube::Client) -> anyhow::Result<std::collections::BTreeMap<String, String>> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-public");
    Ok(api.get(CLUSTER_INFO).await?.data.unwrap_or_default())
}

/// What was told, and is believed.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    kubeconfig: String,
    ca_pem: String,
}

/// Why something is not believed.
#[derive(Debug, PartialEq, Eq)]
enum Doubt {
    Unsigned,
    Forged,
    Unreadable,
    OtherCa(Vec<String>),
}

impl Doubt {
    fn words(&self, token: &str) -> String {
        match self {
            Self::Unsigned => format!(
                "could not find a JWS signature in the cluster-info ConfigMap for token ID {token:?}: it has ended, was \
                 taken back, or is of another cluster"
            ),
            Self::Forged => format!(
                "failed to verify JWS signature of received cluster info object, can't trust this API Server (token ID {token:?})"
            ),
            Self::Unreadable => "the cluster-info ConfigMap names no CA".into(),
            Self::OtherCa(found) => format!(
                "cluster CA found in cluster-info ConfigMap is invalid: none of the public keys {found:?} are pinned"
            ),
        }
    }
}

fn believe(
    info: &std::collections::BTreeMap<String, String>,
    invitation: &Invitation,
) -> Result<Told, Doubt> {
    let token = &invitation.token;
    let kubeconfig = info.get(KUBECONFIG).ok_or(Doubt::Unreadable)?;
    let signature = info.get(&format!("{SIGNATURE_PREFIX}{}", token.id)).ok_or(Doubt::Unsigned)?;
    if *signature != token.sign(kubeconfig) {
        return Err(Doubt::Forged);
    }
    let parsed: Value = serde_saphyr::from_str(kubeconfig).map_err(|_| Doubt::Unreadable)?;
    let ca = parsed["clusters"][0]["cluster"]["certificate-authority-data"].as_str();
    let ca =
        ca.and_then(|text| base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).ok());
    let ca_pem = ca.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or(Doubt::Unreadable)?;
    let found: Vec<String> =
        blocks(ca_pem.as_bytes()).filter_map(Result::ok).filter_map(|block| pin(&block.contents)).collect();
    let pinned = |found: &String| invitation.pins.iter().any(|pin| pin.eq_ignore_ascii_case(found));
    if found.is_empty() || !found.iter().all(pinned) {
        return Err(Doubt::OtherCa(found));
    }
    Ok(Told { kubeconfig: kubeconfig.clone(), ca_pem })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base64::Engine;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;

    #[test]
    fn a_cluster_is_believed_if_the_token_signed_it_and_its_ca_is_the_one() {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let kubeconfig = format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: ''\n  cluster:\n    server: https://x\n    certificate-authority-data: {}\n",
            base64::engine::general_purpose::STANDARD.encode(ca.pem())
        );
        let token = Token::parse("abcdef.0123456789abcdef").unwrap();
        let other = Token::parse("abcdef.fedcba9876543210").unwrap();
        let pinned = pin(ca.der()).unwrap();
        let info = |signer: &Token, text: &str| {
            BTreeMap::from([
                (KUBECONFIG.to_owned(), text.to_owned()),
                (format!("{SIGNATURE_PREFIX}{}", signer.id), signer.sign(text)),
            ])
        };
        let invitation = Invitation {
            address: "x:1".into(),
            token: token.clone(),
            pins: vec!["sha256:00".into(), pinned],
        };
        let told = believe(&info(&token, &kubeconfig), &invitation).unwrap();
        assert_eq!(told.ca_pem, ca.pem());
        assert_eq!(believe(&info(&other, &kubeconfig), &invitation), Err(Doubt::Forged), "another's secret");
        let mut changed = info(&token, &kubeconfig);
        changed.insert(KUBECONFIG.into(), kubeconfig.replace("https://x", "https://y"));
        assert_eq!(believe(&changed, &invitation), Err(Doubt::Forged), "changed on its way");
        let mut unsigned = info(&token, &kubeconfig);
        unsigned.remove("jws-kubeconfig-abcdef");
        assert_eq!(believe(&unsigned, &invitation), Err(Doubt::Unsigned));
        let strict = Invitation { pins: vec!["sha256:00".into()], ..invitation };
        assert!(matches!(believe(&info(&token, &kubeconfig), &strict), Err(Doubt::OtherCa(_))));
        assert_eq!(believe(&info(&token, "a: b"), &strict), Err(Doubt::Unreadable));
    }
}
