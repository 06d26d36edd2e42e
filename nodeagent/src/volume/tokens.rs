//! Service-account tokens, asked for through TokenRequest and renewed in time.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::{Pod, ServiceAccount},
};
use kube::{Api, Client, api::PostParams};

use crate::error::{Error, Result};

/// The tokens of one pod, with the time at which each is to be renewed.
#[derive(Default)]
pub struct Tokens {
    held: BTreeMap<(String, String), (String, Timestamp)>,
}

impl Tokens {
    /// All tokens that the pod's volumes name, fetching what is absent or due. Also tells when the next is due.
    pub async fn get(
        &mut self,
        client: &Client,
        pod: &Pod,
        now: Timestamp,
    ) -> Result<(BTreeMap<(String, String), String>, Option<Timestamp>)> {
        let mut wanted = Vec::new();
        for volume in pod.spec.iter().flat_map(|s| s.volumes.iter().flatten()) {
            for source in volume.projected.iter().flat_map(|p| p.sources.iter().flatten()) {
                wanted.extend(source.service_account_token.iter().map(|t| (volume.name.clone(), t.clone())));
            }
        }
        for (volume, token) in wanted {
            let key = (volume, token.path.clone());
            if self.held.get(&key).is_some_and(|(_, due)| *due > now) {
                continue;
            }
            let fresh =
                request(client, pod, token.audience.as_deref(), token.expiration_seconds.unwrap_or(3600))
                    .await;
            match fresh {
                Ok((text, expires)) => {
                    // Renewed after 80 % of its life, as upstream.
                    let life = expires.duration_since(now);
                    let due = now.checked_add(life * 4 / 5).unwrap_or(expires);
                    self.held.insert(key, (text, due));
                }
                // A token that is still good serves until the API answers again.
                Err(error) if self.held.contains_key(&key) => {
                    tracing::warn!(%error, "token not renewed");
                    if let Some((_, due)) = self.held.get_mut(&key) {
                        *due = now.checked_add(SignedDuration::from_secs(30)).unwrap_or(now);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        let due = self.held.values().map(|(_, due)| *due).min();
        Ok((self.held.iter().map(|(key, (text, _))| (key.clone(), text.clone())).collect(), due))
    }
}

async fn request(
    client: &Client,
    pod: &Pod,
    audience: Option<&str>,
    seconds: i64,
) -> Result<(String, Timestamp)> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let account = pod.spec.as_ref().and_then(|s| s.service_account_name.as_deref()).filter(|n| !n.is_empty());
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: audience.filter(|a| !a.is_empty()).map(|a| vec![a.to_owned()]),
            expiration_seconds: Some(seconds),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Pod".into()),
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
            }),
        }),
        ..TokenRequest::default()
    };
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let made =
        api.create_token_request(account.unwrap_or("default"), &PostParams::default(), &request).await?;
    let status = made.status.ok_or_else(|| Error::Reference("the API answered without a token".into()))?;
    let lacking = || Error::Reference("the API answered without a token".into());
    let token = status.token.ok_or_else(lacking)?;
    Ok((token, status.expiration_timestamp.ok_or_else(lacking)?.0))
}
