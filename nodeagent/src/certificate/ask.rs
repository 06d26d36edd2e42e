//! Asks the cluster for a certificate: a new key, a request, and the wait for its answer.

use std::time::Duration;

use anyhow::{Context, bail};
use k8s_openapi::{ByteString, api::certificates::v1::CertificateSigningRequest};
use kube::{
    Api,
    api::PostParams,
    runtime::wait::{Condition, await_condition},
};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

use super::Pair;

/// How long the answer to one request is waited for; as upstream.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Who signs it.
    pub signer: &'static str,
    /// The user that it names.
    pub user: String,
    /// The group.
    pub group: &'static str,
    /// Names and addresses.
    pub hosts: Vec<String>,
    /// What it may be used for.
    pub usages: &'static [&'static str],
}

impl Wish {
    /// A request of a new key, as PEM, and that key.
    fn request(&self) -> anyhow::Result<(String, KeyPair)> {
        let mut params = CertificateParams::new(self.hosts.clone())?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, self.group);
        params.distinguished_name.push(DnType::CommonName, self.user.as_str());
        let key = KeyPair::generate()?;
        let request = params.serialize_request(&key)?.pem()?;
        Ok((request, key))
    }
}

/// Asks for a certificate and waits until it is given.
///
/// # Errors
/// The API server refuses the request, it is denied or fails, or nobody answers in time.
pub async fn ask(client: &kube::Client, wish: &Wish) -> anyhow::Result<Pair> {
    let (request, key) = wish.request()?;
    let mut object = CertificateSigningRequest::default();
    object.metadata.generate_name = Some("csr-".into());
    object.spec.signer_name = wish.signer.into();
    object.spec.request = ByteString(request.into_bytes());
    object.spec.usages = Some(wish.usages.iter().map(|usage| (*usage).to_owned()).collect());
    let api: Api<CertificateSigningRequest> = Api::all(client.clone());
    let made = api.create(&PostParams::default(), &object).await.context("the request was not taken")?;
    let name = made.metadata.name.unwrap_or_default();
    let waiting = tokio::time::timeout(PATIENCE, await_condition(api, &name, is_decided()));
    let decided = waiting.await.with_context(|| format!("nobody has decided about the request {name}"))?;
    let decided = decided.with_context(|| format!("the request {name} cannot be followed"))?;
    let Some(status) = decided.and_then(|request| request.status) else {
        bail!("the request {name} is gone");
    };
    if let Some(certificate) = status.certificate.filter(|pem| !pem.0.is_empty()) {
        let certificate = String::from_utf8(certificate.0).context("the certificate is not text")?;
        return Ok(Pair { certificate, key: key.serialize_pem() });
    }
    let why = status.conditions.into_iter().flatten().find(|one| one.type_ != "Approved");
    let why =
        why.map(|one| format!("{}: {}", one.type_, one.message.unwrap_or_default())).unwrap_or_default();
    bail!("the request {name} was refused: {why}")
}

fn is_decided() -> impl Condition<CertificateSigningRequest> {
    |request: Option<&CertificateSigningRequest>| {
        let status = request.and_then(|request| request.status.as_ref());
        request.is_none()
            || status.is_some_and(|status| {
                status.certificate.as_ref().is_some_and(|pem| !pem.0.is_empty())
                    || status
                        .conditions
                        .iter()
                        .flatten()
                        .any(|one| matches!(one.type_.as_str(), "Denied" | "Failed"))
            })
    }
}

#[cfg(test)]
mod tests {
    use skiff_api::certificate::CertificateRequest;

    use super::super::{client_wish, serving_wish};

    #[test]
    fn what_is_asked_for_is_what_signers_take() {
        let read =
            |wish: &super::Wish| CertificateRequest::from_pem(wish.request().unwrap().0.as_bytes()).unwrap();
        let wish = client_wish("a");
        assert_eq!(read(&wish).check_kubelet_client(wish.usages), Ok(()));
        let wish = serving_wish("a", [10, 0, 0, 1].into());
        assert_eq!(read(&wish).check_kubelet_serving(wish.usages), Ok(()));
    }
}
