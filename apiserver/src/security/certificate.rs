//! From a client certificate to a user. rustls has verified the chain against the client CA before.

use std::collections::BTreeSet;
use std::net::IpAddr;

use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

use super::{AUTHENTICATED, Invalid, User};

/// The extra key under which upstream tells which credential was used.
pub const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// What a connection's certificate says, read once for all its requests.
#[derive(Debug)]
pub struct Shown {
    user: Result<User, Invalid>,
    not_after_s: i64,
}

impl Shown {
    /// Reads a DER certificate.
    pub fn read(der: &[u8]) -> Self {
        let user = user(der);
        let not_after_s = X509Certificate::from_der(der)
            .map_or(i64::MIN, |(_, certificate)| certificate.validity().not_after.timestamp());
        Self { user, not_after_s }
    }

    /// Who it names now. A connection may outlive its certificate, which is worth nothing from then on.
    ///
    /// # Errors
    /// It cannot be read, names nobody, or has expired.
    pub fn user(&self, now_s: i64) -> Result<User, Invalid> {
        if self.user.is_ok() && now_s > self.not_after_s {
            return Err(Invalid("the client certificate has expired".into()));
        }
        self.user.clone()
    }
}

/// The user that a DER certificate names: its common name, with its organisations as groups.
///
/// # Errors
/// The certificate cannot be read or has no common name.
pub fn user(der: &[u8]) -> Result<User, Invalid> {
    let (_, certificate) = X509Certificate::from_der(der)
        .map_err(|error| Invalid(format!("the client certificate cannot be read: {error}")))?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next().and_then(|name| name.as_str().ok()).unwrap_or_default();
    if name.is_empty() {
        return Err(Invalid("the client certificate has no common name".into()));
    }
    let mut groups: Vec<String> =
        subject.iter_organization().filter_map(|group| group.as_str().ok()).map(str::to_owned).collect();
    groups.push(AUTHENTICATED.into());
    let print: String = Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut user = User { name: name.to_owned(), groups, ..User::default() };
    user.extra.insert(CREDENTIAL_ID.into(), vec![format!("X509SHA256={print}")]);
    Ok(user)
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
    use super::*;

    fn certificate(name: &str, groups: &[&str]) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if !name.is_empty() {
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
        }
        for group in groups {
            params.distinguished_name.push(rcgen::DnType::OrganizationName, *group);
        }
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn common_name_is_the_user_and_organisation_the_group() {
        let user = user(&certificate("system:node:a", &["system:nodes"])).unwrap();
        assert_eq!(
            (user.name.as_str(), user.groups),
            ("system:node:a", vec!["system:nodes".to_owned(), AUTHENTICATED.to_owned()])
        );
        assert!(user.extra[CREDENTIAL_ID][0].starts_with("X509SHA256="));
    }

    #[test]
    fn hosts_are_read_as_text() {
        let hosts = ["localhost".to_owned(), "10.96.0.1".into(), "::1".into()];
        let params = rcgen::CertificateParams::new(hosts.clone()).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let facts = facts(params.self_signed(&key).unwrap().der()).unwrap();
        assert_eq!(facts.hosts, hosts.into_iter().collect());
        assert_eq!(facts.public_key, rcgen::PublicKeyData::subject_public_key_info(&key));
    }

    #[test]
    fn a_connection_does_not_outlive_its_certificate() {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, "jane");
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let der = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let shown = Shown::read(der.der());
        let end_s = 1_893_456_000;
        assert!(shown.user(end_s).is_ok());
        assert!(shown.user(end_s + 1).is_err());
    }

    #[test]
    fn a_certificate_without_a_name_is_nobody() {
        assert!(user(&certificate("", &["system:masters"])).is_err());
        assert!(user(b"rubbish").is_err());
    }
}
