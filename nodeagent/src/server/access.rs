//! Who may ask the node: the API server, and administrators.

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

const API_SERVER: &str = "kube-apiserver-kubelet-client";
const ADMINISTRATORS: &str = "system:masters";

/// What a client may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everything.
    Granted,
    /// It is known, and may not.
    Denied,
    /// It showed no certificate.
    Unknown,
}

/// Judges a client by the certificate that TLS has verified.
pub fn trusted(certificates: Option<&[CertificateDer<'_>]>) -> Access {
    let Some(first) = certificates.and_then(<[_]>::first) else { return Access::Unknown };
    let Ok((_, certificate)) = X509Certificate::from_der(first) else { return Access::Denied };
    let subject = certificate.subject();
    let named = subject.iter_common_name().any(|n| n.as_str() == Ok(API_SERVER));
    let grouped = subject.iter_organization().any(|n| n.as_str() == Ok(ADMINISTRATORS));
    if named || grouped { Access::Granted } else { Access::Denied }
}
