//! From a client certificate to a user.
//!
//! TLS lets a client show any certificate of which it holds the key ([`crate::security::tls`]); whether it is of one of the CAs is judged
//! here, once a connection, so that a stranger is refused with an answer and not with a broken connection, as upstream does.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use sha2::{Digest, Sha256};
use x509_parser::der_parser::oid;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

use super::authenticate::{Authenticated, with_authenticated};
use super::{Invalid, User};

/// The extra key under which upstream tells which credential was used.
pub const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// The CAs whose certificates say who a client is, and those of proxies in front.
pub struct ClientAuthorities {
    clients: Arc<dyn ClientCertVerifier>,
    proxies: Option<Arc<dyn ClientCertVerifier>>,
}

impl ClientAuthorities {
    /// From PEM; no proxy is believed if `proxies_pem` is empty.
    ///
    /// # Errors
    /// There is no certificate in it, or one cannot be read.
    pub fn new(clients_pem: &str, proxies_pem: &str) -> anyhow::Result<Self> {
        let proxies = if proxies_pem.is_empty() { None } else { Some(verifier(proxies_pem)?) };
        Ok(Self { clients: verifier(clients_pem)?, proxies })
    }

    /// The subjects of the CAs, by which clients choose what to show.
    pub fn subjects(&self) -> Vec<rustls::DistinguishedName> {
        let proxies = self.proxies.iter().flat_map(|proxies| proxies.root_hint_subjects());
        self.clients.root_hint_subjects().iter().chain(proxies).cloned().collect()
    }

    /// What a chain, the client's own certificate first, says about it.
    pub fn judge(&self, chain: &[CertificateDer<'_>]) -> Shown {
        let Some((own, intermediates)) = chain.split_first() else { return Shown::default() };
        let verify = |verifier: &Arc<dyn ClientCertVerifier>| {
            verifier
                .verify_client_cert(own, intermediates, UnixTime::now())
                .map_err(|error| Invalid(format!("verifying certificate failed: {error}")))
        };
        let user = verify(&self.clients)
            .and_then(|_| user(own))
            .map(|user| user.map(|user| Arc::new(Authenticated::new(with_authenticated(user), &[]))));
        let proxy = match &self.proxies {
            Some(proxies) => verify(proxies).map(|_| {
                let name = facts(own).map(|facts| facts.name).unwrap_or_default();
                Some(name)
            }),
            None => Ok(None),
        };
        let not_after_s = X509Certificate::from_der(own)
            .map_or(i64::MIN, |(_, certificate)| certificate.validity().not_after.timestamp());
        Shown { user, proxy, not_after_s }
    }
}

fn verifier(pem: &str) -> anyhow::Result<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?)
}

/// What a connection's certificate says, judged once for all its requests.
#[derive(Debug)]
pub struct Shown {
    user: Result<Option<Arc<Authenticated>>, Invalid>,
    proxy: Result<Option<String>, Invalid>,
    not_after_s: i64,
}

impl Default for Shown {
    fn default() -> Self {
        Self { user: Ok(None), proxy: Ok(None), not_after_s: i64::MIN }
    }
}

impl Shown {
    /// Who it names now; nothing if it names nobody. A connection may outlive its certificate, which is worth nothing from then on.
    ///
    /// # Errors
    /// It is of another CA, not in its time, or cannot be read.
    pub fn user(&self, now_s: i64) -> Result<Option<Arc<Authenticated>>, Invalid> {
        self.in_time(now_s, &self.user).cloned()
    }

    /// The proxy that it names, if it is one's; its name may be empty.
    ///
    /// # Errors
    /// It is of another CA, not in its time, or cannot be read.
    pub fn proxy(&self, now_s: i64) -> Result<Option<&str>, Invalid> {
        self.in_time(now_s, &self.proxy).map(Option::as_deref)
    }

    fn in_time<'a, T>(
        &self,
        now_s: i64,
        found: &'a Result<Option<T>, Invalid>,
    ) -> Result<&'a Option<T>, Invalid> {
        match found {
            Ok(Some(_)) if now_s > self.not_after_s => {
                Err(Invalid("the client certificate has expired".into()))
            }
            Ok(found) => Ok(found),
            Err(why) => Err(why.clone()),
        }
    }
}

/// The user that a DER certificate names: its common name, with its organisations as groups and the attribute
/// 1.3.6.1.4.1.57683.2 as uid; nothing if it has no common name.
///
/// # Errors
/// The certificate cannot be read, or its uid is not one text.
pub fn user(der: &[u8]) -> Result<Option<User>, Invalid> {
    let (_, certificate) = X509Certificate::from_der(der)
        .map_err(|error| Invalid(format!("the client certificate cannot be read: {error}")))?;
    let subject = certificate.subject();
    // Of several common names Go takes the last.
    let name = subject.iter_common_name().last().and_then(|name| name.as_str().ok()).unwrap_or_default();
    if name.is_empty() {
        return Ok(None);
    }
    let groups = subject.iter_organization().filter_map(|group| group.as_str().ok()).map(str::to_owned);
    let mut uids = Vec::new();
    for attribute in subject.iter_by_oid(&oid!(1.3.6.1.4.1.57683.2)) {
        let uid = attribute.as_str().map_err(|_| Invalid("unable to parse UID into a string".into()))?;
        uids.push(uid.to_owned());
    }
    let uid = match uids.as_slice() {
        [] => String::new(),
        [uid] if uid.is_empty() => return Err(Invalid("UID cannot be an empty string".into())),
        [uid] => uid.clone(),
        several => {
            return Err(Invalid(format!("expected 1 UID, but found multiple: [{}]", several.join(" "))));
        }
    };
    let print: String = Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut user = User { name: name.to_owned(), uid, groups: groups.collect(), ..User::default() };
    user.extra.insert(CREDENTIAL_ID.into(), vec![format!("X509SHA256={print}")]);
    Ok(Some(user))
}

/// What decides whether a certificate can go on being used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The common name.
    pub name: String,
    /// The organisations.
    pub groups: Vec<String>,
    /// Names and addresses that it is valid for.
    pub hosts: BTreeSet<String>,
    /// Seconds since 1970 after which it is void.
    pub not_after_s: i64,
    /// The id of its key.
    pub key_id: Vec<u8>,
    /// The id of the key that signed it.
    pub issuer_key_id: Vec<u8>,
    /// The public key (SubjectPublicKeyInfo, DER).
    pub public_key: Vec<u8>,
}

/// The facts of a DER certificate.
///
/// # Errors
/// It cannot be read.
pub fn facts(der: &[u8]) -> Result<Facts, Invalid> {
    let (_, certificate) = X509Certificate::from_der(der)
        .map_err(|error| Invalid(format!("the certificate cannot be read: {error}")))?;
    let text = |values: Vec<&str>| values.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let subject = certificate.subject();
    let mut facts = Facts {
        name: text(subject.iter_common_name().filter_map(|name| name.as_str().ok()).collect())
            .pop()
            .unwrap_or_default(),
        groups: text(subject.iter_organization().filter_map(|name| name.as_str().ok()).collect()),
        not_after_s: certificate.validity().not_after.timestamp(),
        public_key: certificate.public_key().raw.to_vec(),
        ..Facts::default()
    };
    for extension in certificate.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => {
                facts.hosts.extend(names.general_names.iter().filter_map(host));
            }
            ParsedExtension::SubjectKeyIdentifier(id) => facts.key_id = id.0.to_vec(),
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                facts.issuer_key_id = id.key_identifier.as_ref().map(|id| id.0.to_vec()).unwrap_or_default();
            }
            _ => {}
        }
    }
    Ok(facts)
}

fn host(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from))
                .ok()
                .map(|address| address.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    use super::*;
    use crate::security::AUTHENTICATED;

    const UID: DnType = DnType::CustomDnType(Vec::new());

    /// A certificate of `ca` (itself, if there is none) with these parts of its subject.
    fn certificate(parts: &[(DnType, &str)], ca: Option<&Issuer<'_, KeyPair>>) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (sort, value) in parts {
            let sort = if *sort == UID {
                DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 57683, 2])
            } else {
                sort.clone()
            };
            params.distinguished_name.push(sort, *value);
        }
        params.not_after = rcgen::date_time_ymd(2060, 1, 1);
        let key = KeyPair::generate().unwrap();
        match ca {
            Some(ca) => params.signed_by(&key, ca).unwrap().der().clone(),
            None => params.self_signed(&key).unwrap().der().clone(),
        }
    }

    fn authority() -> (Issuer<'static, KeyPair>, String) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        (Issuer::new(params, key), pem)
    }

    #[test]
    fn common_name_is_the_user_and_organisation_the_group() {
        let parts =
            [(DnType::CommonName, "system:node:a"), (DnType::OrganizationName, "system:nodes"), (UID, "u-1")];
        let user = user(&certificate(&parts, None)).unwrap().unwrap();
        assert_eq!(
            (user.name.as_str(), user.uid.as_str(), user.groups),
            ("system:node:a", "u-1", vec!["system:nodes".to_owned()])
        );
        assert!(user.extra[CREDENTIAL_ID][0].starts_with("X509SHA256="));
    }

    #[test]
    fn only_certificates_of_our_ca_count() {
        let ((ours, ours_pem), (others, others_pem)) = (authority(), authority());
        let clients = ClientAuthorities::new(&ours_pem, &others_pem).unwrap();
        let jane = [(DnType::CommonName, "jane")];
        let now_s = jiff::Timestamp::now().as_second();
        let shown = clients.judge(&[certificate(&jane, Some(&ours))]);
        let user = shown.user(now_s).unwrap().unwrap().user.clone();
        assert_eq!((user.name.as_str(), user.groups.as_slice()), ("jane", &[AUTHENTICATED.to_owned()][..]));
        assert!(shown.proxy(now_s).is_err(), "a client is no proxy");
        let shown = clients.judge(&[certificate(&jane, Some(&others))]);
        assert!(shown.user(now_s).is_err(), "a proxy is no client");
        assert_eq!(shown.proxy(now_s).unwrap(), Some("jane"));
        let shown = clients.judge(&[certificate(&jane, None)]);
        assert!(shown.user(now_s).is_err() && shown.proxy(now_s).is_err(), "signed by itself");
        assert!(clients.judge(&[]).user(now_s).unwrap().is_none());
    }

    #[test]
    fn hosts_are_read_as_text() {
        let hosts = ["localhost".to_owned(), "10.96.0.1".into(), "::1".into()];
        let params = CertificateParams::new(hosts.clone()).unwrap();
        let key = KeyPair::generate().unwrap();
        let facts = facts(params.self_signed(&key).unwrap().der()).unwrap();
        assert_eq!(facts.hosts, hosts.into_iter().collect());
        assert_eq!(facts.public_key, rcgen::PublicKeyData::subject_public_key_info(&key));
    }

    #[test]
    fn a_connection_does_not_outlive_its_certificate() {
        let (ours, pem) = authority();
        let clients = ClientAuthorities::new(&pem, "").unwrap();
        let shown = clients.judge(&[certificate(&[(DnType::CommonName, "jane")], Some(&ours))]);
        let end_s = 2_840_140_800;
        assert!(shown.user(end_s).is_ok());
        assert!(shown.user(end_s + 1).is_err());
    }

    #[test]
    fn a_certificate_without_a_name_is_nobody() {
        assert_eq!(user(&certificate(&[(DnType::OrganizationName, "system:masters")], None)), Ok(None));
        assert!(user(&certificate(&[(DnType::CommonName, "a"), (UID, "")], None)).is_err());
        assert!(user(b"rubbish").is_err());
    }
}
