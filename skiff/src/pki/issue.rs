//! The CA, and what it signs.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use skiff_apiserver::security::certificate::{Facts, facts};

use super::files;

const DAY: Duration = Duration::from_secs(24 * 3600);
const CA_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
const LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
/// A certificate with less than this left is remade at start.
const RENEW_BEFORE: Duration = Duration::from_secs(90 * 24 * 3600);

/// The cluster's CA.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    key_id: Vec<u8>,
}

/// Whom a certificate is for.
pub(super) struct Request<'a> {
    /// The user name.
    pub(super) name: &'a str,
    /// The group.
    pub(super) group: Option<&'a str>,
    /// What it may be used for.
    pub(super) purpose: Purpose,
}

/// What a certificate may be used for.
pub(super) enum Purpose {
    /// To show to the API server or to a node agent.
    Client,
    /// To serve under these names and addresses.
    Server(BTreeSet<String>),
}

impl Authority {
    /// Loads the CA of that name from `dir`, or makes it if neither of its files is there.
    ///
    /// One that is there and cannot be used is an error: with a new CA every credential in the cluster would be void.
    pub(super) fn open(dir: &Path, name: &str) -> anyhow::Result<Self> {
        let (certificate_path, key_path) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
        let (certificate_pem, key_pem) = match (files::read(&certificate_path)?, files::read(&key_path)?) {
            (Some(certificate), Some(key)) => (certificate, key),
            (None, None) => {
                let (certificate, key) = make_ca()?;
                files::write(&key_path, &key)?;
                files::write(&certificate_path, &certificate)?;
                (certificate, key)
            }
            // The key is written first: a crash in between leaves a key that has signed nothing.
            (None, Some(key)) => {
                let certificate = sign_ca(&readable_key(&key_path, &key)?)?;
                files::write(&certificate_path, &certificate)?;
                (certificate, key)
            }
            (Some(_), None) => bail!(
                "{} is missing, while {} is there. Bring it back, or move the directory away to start with a new CA.",
                key_path.display(),
                certificate_path.display()
            ),
        };
        let pair = readable_key(&key_path, &key_pem)?;
        let bad = || format!("{} is not a CA certificate that can be read", certificate_path.display());
        let der = CertificateDer::from_pem_slice(certificate_pem.as_bytes()).with_context(bad)?;
        let facts = facts(&der).with_context(bad)?;
        if facts.public_key != rcgen::PublicKeyData::subject_public_key_info(&pair) {
            bail!("{} and {} do not belong together", certificate_path.display(), key_path.display());
        }
        if facts.not_after_s <= seconds(SystemTime::now()) {
            bail!(
                "the CA in {} has expired. Move the directory away to start with a new one.",
                certificate_path.display()
            );
        }
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, pair).with_context(bad)?;
        Ok(Self { issuer, certificate_pem, key_id: facts.key_id })
    }

    /// The CA's certificate.
    pub(super) fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Its key.
    pub(super) fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// The certificate and key in `dir/FILE.crt` and `dir/FILE.key`, remade if they do not serve `request` any more.
    pub(super) fn pair(
        &self,
        dir: &Path,
        file: &str,
        request: &Request<'_>,
    ) -> anyhow::Result<(String, String)> {
        let (certificate_path, key_path) = (dir.join(format!("{file}.crt")), dir.join(format!("{file}.key")));
        if let (Some(certificate), Some(key)) = (files::read(&certificate_path)?, files::read(&key_path)?)
            && self.serves(&certificate, &key, request)
        {
            return Ok((certificate, key));
        }
        self.issue((&certificate_path, &key_path), request)
    }

    fn issue(
        &self,
        (certificate_path, key_path): (&Path, &Path),
        request: &Request<'_>,
    ) -> anyhow::Result<(String, String)> {
        let pair = KeyPair::generate()?;
        let certificate = params(request)?.signed_by(&pair, &self.issuer)?.pem();
        let key = pair.serialize_pem();
        // A crash in between leaves two that do not belong together, which `serves` notices.
        files::write(key_path, &key)?;
        files::write(certificate_path, &certificate)?;
        Ok((certificate, key))
    }

    /// The certificate and key in `dir/FILE.crt` and `dir/FILE.key` as they were, and made anew.
    pub(super) fn renew(&self, dir: &Path, file: &str) -> anyhow::Result<[(String, String); 2]> {
        let (certificate_path, key_path) = (dir.join(format!("{file}.crt")), dir.join(format!("{file}.key")));
        let missing = |path: &Path| format!("{} is missing", path.display());
        let certificate = files::read(&certificate_path)?.with_context(|| missing(&certificate_path))?;
        let key = files::read(&key_path)?.with_context(|| missing(&key_path))?;
        let bad = || format!("{} is not a certificate that can be read", certificate_path.display());
        let der = CertificateDer::from_pem_slice(certificate.as_bytes()).with_context(bad)?;
        let facts = facts(&der).with_context(bad)?;
        let purpose = if facts.hosts.is_empty() { Purpose::Client } else { Purpose::Server(facts.hosts) };
        let request = Request { name: &facts.name, group: facts.groups.first().map(String::as_str), purpose };
        let new = self.issue((&certificate_path, &key_path), &request)?;
        Ok([(certificate, key), new])
    }

    fn serves(&self, certificate: &str, key: &str, request: &Request<'_>) -> bool {
        let Ok(der) = CertificateDer::from_pem_slice(certificate.as_bytes()) else { return false };
        let (Ok(Facts { name, groups, hosts, not_after_s, issuer_key_id, public_key, .. }), Ok(pair)) =
            (facts(&der), KeyPair::from_pem(key))
        else {
            return false;
        };
        let hosts_fit = match &request.purpose {
            Purpose::Client => true,
            // More hosts than needed do no harm; an address that comes back needs no new certificate.
            Purpose::Server(wanted) => wanted.is_subset(&hosts),
        };
        hosts_fit
            && name == request.name
            && groups == request.group.map(str::to_owned).into_iter().collect::<Vec<_>>()
            && issuer_key_id == self.key_id
            && public_key == rcgen::PublicKeyData::subject_public_key_info(&pair)
            && not_after_s > seconds(SystemTime::now() + RENEW_BEFORE)
    }
}

/// A private key that is made once and never replaced.
pub(super) fn precious_key(path: &Path) -> anyhow::Result<String> {
    if let Some(pem) = files::read(path)? {
        readable_key(path, &pem)?;
        return Ok(pem);
    }
    let pem = KeyPair::generate()?.serialize_pem();
    files::write(path, &pem)?;
    Ok(pem)
}

fn readable_key(path: &Path, pem: &str) -> anyhow::Result<KeyPair> {
    KeyPair::from_pem(pem).with_context(|| {
        format!(
            "{} is not a private key that can be read. Bring it back; it is never overwritten.",
            path.display()
        )
    })
}

fn make_ca() -> anyhow::Result<(String, String)> {
    let pair = KeyPair::generate()?;
    Ok((sign_ca(&pair)?, pair.serialize_pem()))
}

fn sign_ca(pair: &KeyPair) -> anyhow::Result<String> {
    let mut params = base("kubernetes", None, CA_LIFE);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params.self_signed(pair)?.pem())
}

fn params(request: &Request<'_>) -> anyhow::Result<CertificateParams> {
    let mut params = base(request.name, request.group, LIFE);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    match &request.purpose {
        Purpose::Client => params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
        Purpose::Server(hosts) => {
            let hosts: Vec<String> = hosts.iter().cloned().collect();
            params.subject_alt_names = CertificateParams::new(hosts)?.subject_alt_names;
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        }
    }
    Ok(params)
}

fn base(name: &str, group: Option<&str>, life: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if let Some(group) = group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params.distinguished_name.push(DnType::CommonName, name);
    let now = SystemTime::now();
    // A machine whose clock is somewhat behind must not refuse it.
    params.not_before = (now - DAY).into();
    params.not_after = (now + life).into();
    params
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
