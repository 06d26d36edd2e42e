//! The CA that signs certificate requests: what a certificate says, in DER, under the CA's signature.
//!
//! What is asked for is taken over as it is: the subject (with all of its groups), the key, the names. All else is the
//! signer's to say: usages as approved, no CA, the times. Behaviour: upstream's `authority/policies.go`.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use rcgen::{KeyPair, SigningKey};
use skiff_api::certificate::{AlternativeNames, CertificateRequest, blocks};
use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};
use yasna::models::{GeneralizedTime, ObjectIdentifier, UTCTime};
use yasna::{DERWriter, DERWriterSeq, Tag};

/// Certificates begin this much before they are signed: clocks differ.
const BACKDATE_S: i64 = 300;
/// A certificate that lives shorter than this is given back what backdating took.
const SHORT: Duration = Duration::from_secs(8 * 3600);

/// Where the CA's certificate and key are. Files are read at each signature, so that new ones count at once.
#[derive(Clone)]
enum Source {
    Pem(String, String),
    Files(PathBuf, PathBuf),
}

/// A CA, and for how long it signs at most.
#[derive(Clone)]
pub struct Signer {
    source: Source,
    /// `--cluster-signing-duration`.
    pub(super) longest: Duration,
}

impl fmt::Debug for Signer {
    /// The key is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("longest", &self.longest).finish_non_exhaustive()
    }
}

/// A CA that was read.
struct Authority {
    subject_der: Vec<u8>,
    key_id: Option<Vec<u8>>,
    not_after_s: i64,
    key: KeyPair,
    algorithm: Algorithm,
}

/// How a signature is made: its identifier, and whether that is followed by a null.
struct Algorithm(&'static [u64], bool);

const KEY_USAGES: [(&str, usize); 10] = [
    ("signing", 0),
    ("digital signature", 0),
    ("content commitment", 1),
    ("key encipherment", 2),
    ("data encipherment", 3),
    ("key agreement", 4),
    ("cert sign", 5),
    ("crl sign", 6),
    ("encipher only", 7),
    ("decipher only", 8),
];

/// In the order in which they stand in a certificate.
const EXTENDED_USAGES: [(&str, &[u64]); 13] = [
    ("any", &[2, 5, 29, 37, 0]),
    ("server auth", &[1, 3, 6, 1, 5, 5, 7, 3, 1]),
    ("client auth", &[1, 3, 6, 1, 5, 5, 7, 3, 2]),
    ("code signing", &[1, 3, 6, 1, 5, 5, 7, 3, 3]),
    ("email protection", &[1, 3, 6, 1, 5, 5, 7, 3, 4]),
    ("s/mime", &[1, 3, 6, 1, 5, 5, 7, 3, 4]),
    ("ipsec end system", &[1, 3, 6, 1, 5, 5, 7, 3, 5]),
    ("ipsec tunnel", &[1, 3, 6, 1, 5, 5, 7, 3, 6]),
    ("ipsec user", &[1, 3, 6, 1, 5, 5, 7, 3, 7]),
    ("timestamping", &[1, 3, 6, 1, 5, 5, 7, 3, 8]),
    ("ocsp signing", &[1, 3, 6, 1, 5, 5, 7, 3, 9]),
    ("microsoft sgc", &[1, 3, 6, 1, 4, 1, 311, 10, 3, 3]),
    ("netscape sgc", &[2, 16, 840, 1, 113_730, 4, 1]),
];

const KEY_USAGE: &[u64] = &[2, 5, 29, 15];
const ALTERNATIVE_NAMES: &[u64] = &[2, 5, 29, 17];
const BASIC_CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
const AUTHORITY_KEY: &[u64] = &[2, 5, 29, 35];
const EXTENDED_USAGE: &[u64] = &[2, 5, 29, 37];

impl Signer {
    /// A CA given as PEM: its certificate, its key.
    pub fn from_pem(certificate: impl Into<String>, key: impl Into<String>, longest: Duration) -> Self {
        Self { source: Source::Pem(certificate.into(), key.into()), longest }
    }

    /// A CA in files (`--cluster-signing-cert-file`, `--cluster-signing-key-file`).
    pub fn from_files(certificate: PathBuf, key: PathBuf, longest: Duration) -> Self {
        Self { source: Source::Files(certificate, key), longest }
    }

    /// Whether the CA can be read, so that a wrong one is told at start.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), String> {
        self.authority().map(|_| ())
    }

    fn authority(&self) -> Result<Authority, String> {
        match &self.source {
            Source::Pem(certificate, key) => Authority::read(certificate, key),
            Source::Files(certificate, key) => {
                let read = |path: &PathBuf| {
                    std::fs::read_to_string(path)
                        .map_err(|error| format!("cannot read {}: {error}", path.display()))
                };
                Authority::read(&read(certificate)?, &read(key)?)
                    .map_err(|why| format!("{}: {why}", certificate.display()))
            }
        }
    }

    /// The certificate, as PEM.
    ///
    /// # Errors
    /// The CA cannot be read, or has ended.
    pub(super) fn sign(
        &self,
        asked: &CertificateRequest,
        usages: &[&str],
        life: Duration,
        now_s: i64,
    ) -> Result<String, String> {
        let authority = self.authority()?;
        let (not_before_s, not_after_s) = times(life, now_s, authority.not_after_s)?;
        let serial: [u8; 20] = rand::random();
        let told = yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_tagged(Tag::context(0), |writer| writer.write_i64(2));
                // Positive, and at most 20 bytes.
                let serial: Vec<u8> = [&[(serial[0] & 0x3f) | 0x40], &serial[1..]].concat();
                writer.next().write_bigint_bytes(&serial, true);
                authority.algorithm.write(writer.next());
                writer.next().write_der(&authority.subject_der);
                writer.next().write_sequence(|writer| {
                    time(writer.next(), not_before_s);
                    time(writer.next(), not_after_s);
                });
                writer.next().write_der(&asked.subject_der);
                writer.next().write_der(&asked.public_key_der);
                writer.next().write_tagged(Tag::context(3), |writer| {
                    writer.write_sequence(|writer| extensions(writer, &authority, asked, usages));
                });
            });
        });
        let signature = authority.key.sign(&told).map_err(|error| error.to_string())?;
        let der = yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_der(&told);
                authority.algorithm.write(writer.next());
                writer.next().write_bitvec_bytes(&signature, signature.len() * 8);
            });
        });
        Ok(pem("CERTIFICATE", &der))
    }
}

/// When a certificate begins and ends.
fn times(life: Duration, now_s: i64, signer_ends_s: i64) -> Result<(i64, i64), String> {
    let life_s = i64::try_from(life.as_secs()).unwrap_or(i64::MAX / 2);
    let ends_s = if life < SHORT { now_s + life_s } else { now_s + life_s - BACKDATE_S };
    if now_s >= signer_ends_s {
        return Err("refusing to sign a certificate that expired in the past: the signer has expired".into());
    }
    Ok((now_s - BACKDATE_S, ends_s.min(signer_ends_s)))
}

impl Authority {
    fn read(certificate: &str, key: &str) -> Result<Self, String> {
        let block =
            blocks(certificate.as_bytes()).next().and_then(Result::ok).ok_or("no certificate in it")?;
        let (_, read) = X509Certificate::from_der(&block.contents).map_err(|error| error.to_string())?;
        let key = KeyPair::from_pem(key).map_err(|error| format!("its key cannot be read: {error}"))?;
        if rcgen::PublicKeyData::subject_public_key_info(&key) != read.public_key().raw {
            return Err("the certificate and the key do not belong together".into());
        }
        let key_id = read.iter_extensions().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        });
        Ok(Self {
            subject_der: read.subject().as_raw().to_vec(),
            key_id,
            not_after_s: read.validity().not_after.timestamp(),
            algorithm: Algorithm::of(&key)?,
            key,
        })
    }
}

impl Algorithm {
    fn of(key: &KeyPair) -> Result<Self, String> {
        let known: [(&rcgen::SignatureAlgorithm, Self); 5] = [
            (&rcgen::PKCS_ECDSA_P256_SHA256, Self(&[1, 2, 840, 10045, 4, 3, 2], false)),
            (&rcgen::PKCS_ECDSA_P384_SHA384, Self(&[1, 2, 840, 10045, 4, 3, 3], false)),
            (&rcgen::PKCS_ECDSA_P521_SHA512, Self(&[1, 2, 840, 10045, 4, 3, 4], false)),
            (&rcgen::PKCS_RSA_SHA256, Self(&[1, 2, 840, 113_549, 1, 1, 11], true)),
            (&rcgen::PKCS_ED25519, Self(&[1, 3, 101, 112], false)),
        ];
        let found = known.into_iter().find(|(algorithm, _)| *algorithm == key.algorithm());
        found.map(|(_, own)| own).ok_or_else(|| "its key is of a sort that cannot sign here".to_owned())
    }

    fn write(&self, writer: DERWriter<'_>) {
        writer.write_sequence(|writer| {
            writer.next().write_oid(&ObjectIdentifier::from_slice(self.0));
            if self.1 {
                writer.next().write_null();
            }
        });
    }
}

/// Until 2049 in two digits, then in four, as certificates have it.
fn time(writer: DERWriter<'_>, second: i64) {
    let at = jiff::Timestamp::from_second(second).unwrap_or_default();
    if (1950..2050).contains(&at.to_zoned(jiff::tz::TimeZone::UTC).year()) {
        let text = at.strftime("%y%m%d%H%M%SZ").to_string();
        writer.write_utctime(&UTCTime::parse(text.as_bytes()).expect("it is written in this form"));
    } else {
        let text = at.strftime("%Y%m%d%H%M%SZ").to_string();
        let parsed = GeneralizedTime::parse(text.as_bytes()).expect("it is written in this form");
        writer.write_generalized_time(&parsed);
    }
}

fn extensions(
    writer: &mut DERWriterSeq<'_>,
    authority: &Authority,
    asked: &CertificateRequest,
    usages: &[&str],
) {
    let bits: Vec<usize> =
        KEY_USAGES.iter().filter(|(name, _)| usages.contains(name)).map(|(_, bit)| *bit).collect();
    if let Some(last) = bits.iter().max() {
        let mut bytes = [0_u8; 2];
        bits.iter().for_each(|bit| bytes[bit / 8] |= 0x80 >> (bit % 8));
        let value = yasna::construct_der(|writer| {
            writer.write_bitvec_bytes(&bytes[..=last / 8], last + 1);
        });
        extension(writer, KEY_USAGE, true, &value);
    }
    let mut extended: Vec<&[u64]> =
        EXTENDED_USAGES.iter().filter(|(name, _)| usages.contains(name)).map(|(_, id)| *id).collect();
    extended.dedup();
    if !extended.is_empty() {
        let value = yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                extended.iter().for_each(|id| writer.next().write_oid(&ObjectIdentifier::from_slice(id)));
            });
        });
        extension(writer, EXTENDED_USAGE, false, &value);
    }
    // No CA, which is the default and so not said.
    extension(writer, BASIC_CONSTRAINTS, true, &yasna::construct_der(|writer| writer.write_sequence(|_| {})));
    if let Some(id) = &authority.key_id {
        let value = yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_tagged_implicit(Tag::context(0), |writer| writer.write_bytes(id));
            });
        });
        extension(writer, AUTHORITY_KEY, false, &value);
    }
    if asked.names != AlternativeNames::default() {
        // An empty sequence is a subject that says nothing: then the names are all there is.
        let alone = asked.subject_der == [0x30, 0x00];
        extension(writer, ALTERNATIVE_NAMES, alone, &alternative_names(&asked.names));
    }
}

fn extension(writer: &mut DERWriterSeq<'_>, id: &[u64], critical: bool, value: &[u8]) {
    writer.next().write_sequence(|writer| {
        writer.next().write_oid(&ObjectIdentifier::from_slice(id));
        if critical {
            writer.next().write_bool(true);
        }
        writer.next().write_bytes(value);
    });
}

fn alternative_names(names: &AlternativeNames) -> Vec<u8> {
    yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            for (tag, list) in [(2, &names.dns), (1, &names.email)] {
                for name in list {
                    let tag = Tag::context(tag);
                    writer.next().write_tagged_implicit(tag, |writer| writer.write_ia5_string(name));
                }
            }
            for address in &names.ip {
                let octets = match address {
                    IpAddr::V4(v4) => v4.octets().to_vec(),
                    IpAddr::V6(v6) => v6.octets().to_vec(),
                };
                let tag = Tag::context(7);
                writer.next().write_tagged_implicit(tag, |writer| writer.write_bytes(&octets));
            }
            for uri in &names.uri {
                let tag = Tag::context(6);
                writer.next().write_tagged_implicit(tag, |writer| writer.write_ia5_string(uri));
            }
        });
    })
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> =
        body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("base64 is ASCII")).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyUsagePurpose};

    use super::super::tests::{of, request};
    use super::*;

    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    const NOW_S: i64 = 1_800_000_000;

    fn signer(key: &KeyPair) -> (Signer, String) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "kubernetes");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let pem = params.self_signed(key).unwrap().pem();
        (Signer::from_pem(pem.clone(), key.serialize_pem(), YEAR), pem)
    }

    #[test]
    fn a_certificate_says_what_was_asked_for_under_the_cas_signature() {
        // Of each sort that kubeadm and people make CAs of.
        let keys = [
            KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap(),
            KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap(),
            KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap(),
            KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap(),
        ];
        let mut params = CertificateParams::new(vec!["a.example".into(), "10.0.0.1".into()]).unwrap();
        params.distinguished_name.push(DnType::OrganizationName, "dev");
        params.distinguished_name.push(DnType::CommonName, "jane");
        let usages = ["digital signature", "key encipherment", "client auth", "server auth"];
        let request = of("", &params, &usages);
        let asked = CertificateRequest::from_pem(&request.spec.request.0).unwrap();
        for key in keys {
            let (signer, ca) = signer(&key);
            let text = signer.sign(&asked, &usages, YEAR, NOW_S).unwrap();
            let block = blocks(text.as_bytes()).next().unwrap().unwrap();
            let (rest, made) = X509Certificate::from_der(&block.contents).unwrap();
            assert!(rest.is_empty());
            let ca = blocks(ca.as_bytes()).next().unwrap().unwrap();
            let (_, ca) = X509Certificate::from_der(&ca.contents).unwrap();
            made.verify_signature(Some(ca.public_key())).unwrap();
            assert_eq!(made.issuer().as_raw(), ca.subject().as_raw());
            assert_eq!(made.subject().as_raw(), asked.subject_der);
            assert_eq!(made.public_key().raw, asked.public_key_der);
            assert!(!made.is_ca());
            let names = made.subject_alternative_name().unwrap().unwrap();
            assert_eq!((names.critical, names.value.general_names.len()), (false, 2));
            let usage = made.key_usage().unwrap().unwrap();
            assert!(usage.critical && usage.value.digital_signature() && usage.value.key_encipherment());
            assert_eq!(usage.value.flags, 5);
            let extended = made.extended_key_usage().unwrap().unwrap().value;
            assert!(extended.client_auth && extended.server_auth && !extended.any);
            assert_eq!(made.validity().not_before.timestamp(), NOW_S - 300);
            assert_eq!(made.validity().not_after.timestamp(), NOW_S + 365 * 24 * 3600 - 300);
        }
    }

    #[test]
    fn all_groups_are_kept_however_many() {
        let der = yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                for (id, text) in [(10, "a"), (10, "b"), (3, "jane")] {
                    writer.next().write_set(|writer| {
                        writer.next().write_sequence(|writer| {
                            writer.next().write_oid(&ObjectIdentifier::from_slice(&[2, 5, 4, id]));
                            writer.next().write_utf8_string(text);
                        });
                    });
                }
            });
        });
        let made = request("", "x", &[], &[]);
        let mut asked = CertificateRequest::from_pem(&made.spec.request.0).unwrap();
        asked.subject_der = der;
        let (signer, _) = signer(&KeyPair::generate().unwrap());
        let text = signer.sign(&asked, &["client auth"], YEAR, NOW_S).unwrap();
        let block = blocks(text.as_bytes()).next().unwrap().unwrap();
        let (_, made) = X509Certificate::from_der(&block.contents).unwrap();
        let groups: Vec<&str> = made.subject().iter_organization().filter_map(|o| o.as_str().ok()).collect();
        assert_eq!(groups, ["a", "b"]);
    }

    #[test]
    fn a_certificate_ends_with_its_signer_at_the_latest() {
        let hour = Duration::from_secs(3600);
        let table = [
            (hour, 1_000_000, Ok((9_700, 13_600)), "a short life is not shortened"),
            (10 * hour, 1_000_000, Ok((9_700, 45_700)), "a long one is"),
            (10 * hour, 20_000, Ok((9_700, 20_000)), "the signer ends first"),
            (hour, 10_000, Err(()), "the signer has ended"),
        ];
        for (life, signer_ends, expected, what) in table {
            assert_eq!(times(life, 10_000, signer_ends).map_err(|_| ()), expected, "{what}");
        }
    }

    #[test]
    fn a_key_of_another_ca_is_refused_and_never_shown() {
        let (_, certificate) = signer(&KeyPair::generate().unwrap());
        let other = KeyPair::generate().unwrap().serialize_pem();
        let signer = Signer::from_pem(certificate, other.clone(), YEAR);
        assert_eq!(signer.check(), Err("the certificate and the key do not belong together".into()));
        let line = other.lines().nth(1).unwrap();
        assert!(!format!("{signer:?}").contains(line));
    }
}
