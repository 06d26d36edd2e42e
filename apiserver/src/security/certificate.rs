//! From a client certificate to a user. rustls has verified the chain against the client CA before.

use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{AUTHENTICATED, Invalid, User};

/// The extra key under which upstream tells which credential was used.
pub const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// The user that a DER certificate names: its common name, with its organisations as groups.
///
/// # Errors
/// The certificate cannot be read or has no common name.
pub fn user(der: &[u8]) -> Result<User, Invalid> {
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|error| Invalid(format!("the client certificate cannot be read: {error}")))?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next().and_then(|name| name.as_str().ok()).unwrap_or_default();
    if name.is_empty() {
        return Err(Invalid("the client certificate has no common name".into()));
    }
    let mut groups: Vec<String> = subject.iter_organization().filter_map(|group| group.as_str().ok()).map(str::to_owned).collect();
    groups.push(AUTHENTICATED.into());
    let print: String = Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut user = User { name: name.to_owned(), groups, ..User::default() };
    user.extra.insert(CREDENTIAL_ID.into(), vec![format!("X509SHA256={print}")]);
    Ok(user)
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
        assert_eq!((user.name.as_str(), user.groups), ("system:node:a", vec!["system:nodes".to_owned(), AUTHENTICATED.to_owned()]));
        assert!(user.extra[CREDENTIAL_ID][0].starts_with("X509SHA256="));
    }

    #[test]
    fn a_certificate_without_a_name_is_nobody() {
        assert!(user(&certificate("", &["system:masters"])).is_err());
        assert!(user(b"rubbish").is_err());
    }
}
