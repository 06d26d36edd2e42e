//! Why a server outside did not answer, in the words of Go's clients.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;

use rustls::CertificateError;

/// Why a call came to nothing.
#[derive(Debug)]
pub enum Failure {
    /// It took too long.
    Timeout,
    /// The connection ended before the answer.
    Closed,
    /// Anything else, worded.
    Other(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "context deadline exceeded",
            Self::Closed => "EOF",
            Self::Other(why) => why,
        })
    }
}

impl Error for Failure {}

impl Failure {
    pub(super) fn of(error: hyper::Error) -> Self {
        if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
            return Self::Closed;
        }
        if error.is_parse() {
            return Self::Other(format!(
                "net/http: HTTP/1.x transport connection broken: malformed HTTP response: {error}"
            ));
        }
        match error.source().and_then(|source| source.downcast_ref::<io::Error>()) {
            Some(error) if is_end(error) => Self::Closed,
            Some(error) => Self::Other(words(error)),
            None => Self::Other(error.to_string()),
        }
    }

    pub(super) fn of_dial(target: SocketAddr, error: &io::Error) -> Self {
        Self::Other(format!("dial tcp {target}: connect: {}", words(error)))
    }

    pub(super) fn of_handshake(error: io::Error) -> Self {
        if is_end(&error) {
            return Self::Closed;
        }
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(why)) => {
                Self::Other(format!("tls: failed to verify certificate: x509: {}", certificate(why)))
            }
            Some(rustls::Error::InvalidMessage(_)) => {
                Self::Other("tls: first record does not look like a TLS handshake".into())
            }
            Some(rustls::Error::AlertReceived(alert)) => Self::Other(format!("remote error: tls: {alert:?}")),
            Some(other) => Self::Other(format!("tls: {other}")),
            None => Self::Other(words(&error)),
        }
    }
}

fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe)
}

fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::ConnectionReset => "connection reset by peer".into(),
        io::ErrorKind::HostUnreachable => "no route to host".into(),
        io::ErrorKind::NetworkUnreachable => "network is unreachable".into(),
        io::ErrorKind::TimedOut => "connection timed out".into(),
        _ => error.to_string(),
    }
}

/// What is wrong with a certificate, as `crypto/x509` says it.
fn certificate(why: &CertificateError) -> String {
    match why {
        // An issuer of the right name with another key is an unknown one.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "certificate signed by unknown authority".into()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let expected = expected.to_str();
            if presented.is_empty() {
                return format!("certificate is not valid for any names, but wanted to match {expected}");
            }
            let names: Vec<String> = presented.iter().map(|name| plain(name)).collect();
            format!("certificate is valid for {}, not {expected}", names.join(", "))
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => "certificate has expired or is not yet valid".into(),
        other => format!("{other:?}"),
    }
}

/// A name without what tells its sort: `DnsName("a.b")` is `a.b`.
fn plain(name: &str) -> String {
    let inner = name.split_once('(').map_or(name, |(_, rest)| rest.trim_end_matches(')'));
    inner.trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::ServerName;

    #[test]
    fn mistakes_of_certificates_are_told_as_go_tells_them() {
        let expected = ServerName::try_from("a.b.svc").unwrap();
        let presented = vec!["DnsName(\"x.y\")".to_owned()];
        let wrong = CertificateError::NotValidForNameContext { expected, presented };
        assert_eq!(certificate(&wrong), "certificate is valid for x.y, not a.b.svc");
        assert_eq!(certificate(&CertificateError::UnknownIssuer), "certificate signed by unknown authority");
    }
}
