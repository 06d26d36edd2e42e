//! Certificate requests (PKCS #10) and certificates, as far as the API must understand them.
//!
//! Behaviour as upstream's `pkg/apis/certificates/helpers.go`. Nothing is signed here.

use std::net::IpAddr;

use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

/// Signs clients of the API server.
pub const KUBE_APISERVER_CLIENT: &str = "kubernetes.io/kube-apiserver-client";
/// Signs what node agents show to the API server.
pub const KUBE_APISERVER_CLIENT_KUBELET: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Signs what node agents serve with.
pub const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
/// Signs anything; it cannot be asked for by new requests.
pub const LEGACY_UNKNOWN: &str = "kubernetes.io/legacy-unknown";

/// Node agents' group, the only one their certificates carry.
const NODES: &str = "system:nodes";
const NODE_PREFIX: &str = "system:node:";

/// Names that a certificate is for, besides its subject.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlternativeNames {
    /// Host names.
    pub dns: Vec<String>,
    /// Addresses.
    pub ip: Vec<IpAddr>,
    /// Mail addresses.
    pub email: Vec<String>,
    /// URIs.
    pub uri: Vec<String>,
}

/// What a certificate request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRequest {
    /// The subject's common name: a user.
    pub common_name: String,
    /// The subject's organisations: groups.
    pub organizations: Vec<String>,
    /// The subject alternative names.
    pub names: AlternativeNames,
    /// The subject, in DER.
    pub subject_der: Vec<u8>,
    /// The public key with its algorithm (SubjectPublicKeyInfo), in DER.
    pub public_key_der: Vec<u8>,
}

impl CertificateRequest {
    /// Reads the first PEM block of `text`.
    ///
    /// # Errors
    /// Why it is no request.
    pub fn from_pem(text: &[u8]) -> Result<Self, String> {
        with_request(text, |request| {
            let info = &request.certification_request_info;
            let (common_name, organizations) = subject(&info.subject);
            let mut names = AlternativeNames::default();
            for extension in request.requested_extensions().into_iter().flatten() {
                match extension {
                    ParsedExtension::SubjectAlternativeName(given) => names.read(&given.general_names)?,
                    ParsedExtension::ParseError { error } => return Err(error.to_string()),
                    _ => {}
                }
            }
            Ok(Self {
                common_name,
                organizations,
                names,
                subject_der: info.subject.as_raw().to_vec(),
                public_key_der: info.subject_pki.raw.to_vec(),
            })
        })
    }

    /// Whether this may become a node agent's client certificate.
    ///
    /// # Errors
    /// Why not, in upstream's words.
    pub fn check_kubelet_client(&self, usages: &[&str]) -> Result<(), String> {
        self.check_organization()?;
        let names = &self.names;
        for (given, sort) in [
            (!names.dns.is_empty(), "DNS"),
            (!names.email.is_empty(), "Email"),
            (!names.ip.is_empty(), "IP"),
            (!names.uri.is_empty(), "URI"),
        ] {
            if given {
                return Err(not_allowed(sort));
            }
        }
        self.check_node()?;
        check_usages(usages, "client auth")
    }

    /// Whether this may become what a node agent serves with.
    ///
    /// # Errors
    /// Why not, in upstream's words.
    pub fn check_kubelet_serving(&self, usages: &[&str]) -> Result<(), String> {
        self.check_organization()?;
        if self.names.dns.is_empty() && self.names.ip.is_empty() {
            return Err("DNS or IP subjectAltName is required".into());
        }
        for (given, sort) in [(!self.names.email.is_empty(), "Email"), (!self.names.uri.is_empty(), "URI")] {
            if given {
                return Err(not_allowed(sort));
            }
        }
        check_usages(usages, "server auth")?;
        self.check_node()
    }

    fn check_organization(&self) -> Result<(), String> {
        if self.organizations == [NODES] {
            Ok(())
        } else {
            Err("subject organization is not system:nodes".into())
        }
    }

    fn check_node(&self) -> Result<(), String> {
        if self.common_name.starts_with(NODE_PREFIX) {
            return Ok(());
        }
        Err("subject common name does not begin with system:node:".into())
    }
}

/// Whether a request is one, and is signed by the key that it is for.
///
/// # Errors
/// Why not.
pub fn check_request(text: &[u8]) -> Result<(), String> {
    CertificateRequest::from_pem(text)?;
    with_request(text, |request| request.verify_signature().map_err(|_| "x509: invalid signature".to_owned()))
}

fn with_request<T>(
    text: &[u8],
    read: impl FnOnce(&X509CertificationRequest<'_>) -> Result<T, String>,
) -> Result<T, String> {
    let block = blocks(text).next().and_then(Result::ok).filter(|block| block.label == "CERTIFICATE REQUEST");
    let block = block.ok_or("PEM block type must be CERTIFICATE REQUEST")?;
    match X509CertificationRequest::from_der(&block.contents) {
        Ok(([], request)) => read(&request),
        Ok(_) => Err("asn1: syntax error: trailing data".into()),
        Err(error) => Err(format!("asn1: structure error: {error}")),
    }
}

/// Whether a signer's answer is what `status.certificate` may hold; nothing is fine.
///
/// # Errors
/// Why not, in upstream's words.
pub fn check_issued(text: &[u8]) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    let mut count = 0;
    for block in blocks(text).map_while(Result::ok) {
        if block.label != "CERTIFICATE" {
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found {:?}", block.label));
        }
        X509Certificate::from_der(&block.contents)
            .map_err(|error| format!("x509: malformed certificate: {error}"))?;
        count += 1;
    }
    if count == 0 { Err("must contain at least one CERTIFICATE PEM block".into()) } else { Ok(()) }
}

/// When the first certificate in `text` begins and ends, in seconds of the epoch.
pub fn validity_s(text: &[u8]) -> Option<(i64, i64)> {
    let block = blocks(text).next()?.ok()?;
    let (_, certificate) = X509Certificate::from_der(&block.contents).ok()?;
    let validity = certificate.validity();
    Some((validity.not_before.timestamp(), validity.not_after.timestamp()))
}

/// The PEM blocks in a text.
pub fn blocks(text: &[u8]) -> impl Iterator<Item = Result<Pem, String>> + '_ {
    Pem::iter_from_buffer(text).map(|block| block.map_err(|error| error.to_string()))
}

fn subject(name: &X509Name<'_>) -> (String, Vec<String>) {
    let common_name = name.iter_common_name().filter_map(|part| part.as_str().ok()).last();
    let organizations = name.iter_organization().filter_map(|part| part.as_str().ok()).map(str::to_owned);
    (common_name.unwrap_or_default().to_owned(), organizations.collect())
}

impl AlternativeNames {
    fn read(&mut self, names: &[GeneralName<'_>]) -> Result<(), String> {
        for name in names {
            match name {
                GeneralName::DNSName(name) => self.dns.push((*name).to_owned()),
                GeneralName::RFC822Name(name) => self.email.push((*name).to_owned()),
                GeneralName::URI(name) => self.uri.push((*name).to_owned()),
                GeneralName::IPAddress(octets) => self.ip.push(address(octets)?),
                // As upstream: other sorts are not carried over.
                _ => {}
            }
        }
        Ok(())
    }
}

fn address(octets: &[u8]) -> Result<IpAddr, String> {
    if let Ok(v4) = <[u8; 4]>::try_from(octets) {
        return Ok(v4.into());
    }
    let v6 = <[u8; 16]>::try_from(octets);
    v6.map(IpAddr::from).map_err(|_| format!("x509: cannot parse IP address of length {}", octets.len()))
}

fn not_allowed(sort: &str) -> String {
    format!("{sort} subjectAltNames are not allowed")
}

fn check_usages(usages: &[&str], purpose: &str) -> Result<(), String> {
    let has = |usage: &str| usages.contains(&usage);
    let known = usages.iter().all(|usage| ["digital signature", "key encipherment", purpose].contains(usage));
    if known && has("digital signature") && has(purpose) {
        return Ok(());
    }
    // A sorted set, as Go prints it.
    let mut wanted = ["digital signature", "key encipherment", purpose];
    wanted.sort_unstable();
    Err(format!("usages did not match [{}]", wanted.join(" ")))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    type Checked<'a> = Result<(), &'a str>;

    /// A request for these subjects and hosts.
    fn request(name: &str, groups: &[&str], hosts: &[&str]) -> String {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        for group in groups {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        let key = KeyPair::generate().unwrap();
        params.serialize_request(&key).unwrap().pem().unwrap()
    }

    #[test]
    fn a_request_tells_its_subject_and_names() {
        let text = request("jane", &["dev"], &["a.example", "10.0.0.1", "::1"]);
        let read = CertificateRequest::from_pem(text.as_bytes()).unwrap();
        assert_eq!((read.common_name.as_str(), &read.organizations[..]), ("jane", &["dev".to_owned()][..]));
        assert_eq!(read.names.dns, ["a.example"]);
        assert_eq!(read.names.ip, ["10.0.0.1".parse::<IpAddr>().unwrap(), "::1".parse().unwrap()]);
        assert_eq!(check_request(text.as_bytes()), Ok(()));
    }

    #[test]
    fn what_is_no_request_or_not_signed_by_its_key_is_refused() {
        let wrong = "PEM block type must be CERTIFICATE REQUEST";
        for text in ["", "-", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"] {
            assert_eq!(check_request(text.as_bytes()), Err(wrong.to_owned()), "{text}");
        }
        let text = request("jane", &[], &[]);
        let mut der = blocks(text.as_bytes()).next().unwrap().unwrap().contents;
        // The last byte belongs to the signature.
        *der.last_mut().unwrap() ^= 1;
        let body = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &der);
        let text =
            format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n");
        assert!(check_request(text.as_bytes()).unwrap_err().contains("signature"));
    }

    #[test]
    fn node_agents_requests_are_told_from_others() {
        let client = ["digital signature", "client auth"];
        let serving = ["digital signature", "key encipherment", "server auth"];
        let node = "system:node:a";
        type Row<'a> = (&'a str, &'a [&'a str], &'a [&'a str], &'a [&'a str], Checked<'a>, Checked<'a>);
        let table: [Row<'_>; 8] = [
            (node, &[NODES], &[], &client, Ok(()), Err("DNS or IP subjectAltName is required")),
            (node, &[NODES], &["a"], &serving, Err("DNS subjectAltNames are not allowed"), Ok(())),
            (node, &[NODES], &["10.0.0.1"], &serving, Err("IP subjectAltNames are not allowed"), Ok(())),
            (
                "jane",
                &[NODES],
                &[],
                &client,
                Err("subject common name does not begin with system:node:"),
                Err("DNS or IP subjectAltName is required"),
            ),
            (
                node,
                &["dev"],
                &[],
                &client,
                Err("subject organization is not system:nodes"),
                Err("subject organization is not system:nodes"),
            ),
            (
                node,
                &[],
                &[],
                &client,
                Err("subject organization is not system:nodes"),
                Err("subject organization is not system:nodes"),
            ),
            (
                node,
                &[NODES],
                &[],
                &["client auth"],
                Err("usages did not match [client auth digital signature key encipherment]"),
                Err("DNS or IP subjectAltName is required"),
            ),
            (
                node,
                &[NODES],
                &["a"],
                &["digital signature", "server auth", "client auth"],
                Err("DNS subjectAltNames are not allowed"),
                Err("usages did not match [digital signature key encipherment server auth]"),
            ),
        ];
        for (name, groups, hosts, usages, as_client, as_server) in table {
            let text = request(name, groups, hosts);
            let read = CertificateRequest::from_pem(text.as_bytes()).unwrap();
            let owned = |expected: Result<(), &str>| expected.map_err(str::to_owned);
            assert_eq!(read.check_kubelet_client(usages), owned(as_client), "{name} {groups:?} {hosts:?}");
            assert_eq!(read.check_kubelet_serving(usages), owned(as_server), "{name} {groups:?} {hosts:?}");
        }
    }

    #[test]
    fn mail_and_uri_are_not_for_node_agents() {
        for (name, expected) in [
            (SanType::Rfc822Name("a@b.c".try_into().unwrap()), "Email subjectAltNames are not allowed"),
            (SanType::URI("spiffe://a".try_into().unwrap()), "URI subjectAltNames are not allowed"),
        ] {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, "system:node:a");
            params.distinguished_name.push(DnType::OrganizationName, NODES);
            params.subject_alt_names = vec![name, SanType::DnsName("a".try_into().unwrap())];
            let key = KeyPair::generate().unwrap();
            let text = params.serialize_request(&key).unwrap().pem().unwrap();
            let read = CertificateRequest::from_pem(text.as_bytes()).unwrap();
            let usages = ["digital signature", "server auth"];
            assert_eq!(read.check_kubelet_serving(&usages), Err(expected.to_owned()));
        }
    }
}
