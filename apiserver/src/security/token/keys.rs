//! Keys that verify signatures, and the form in which they are published (JSON Web Keys).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo, X509Certificate};
use x509_parser::public_key::PublicKey;

use crate::security::Invalid;

/// A public key.
pub struct VerifyingKey {
    /// What tokens name it by.
    pub id: String,
    /// The algorithms that it may be used with.
    pub algorithms: Vec<Algorithm>,
    /// As it is published.
    pub jwk: Value,
    pub(crate) decoding: DecodingKey,
}

impl VerifyingKey {
    /// From a SubjectPublicKeyInfo (DER): RSA, P-256 or P-384. Its id is upstream's, the hash of the whole.
    ///
    /// # Errors
    /// It is no such key.
    pub fn of_spki(der: &[u8]) -> Result<Self, Invalid> {
        let bad = |why: &str| Invalid(format!("a public key is not usable: {why}"));
        let (_, info) = SubjectPublicKeyInfo::from_der(der).map_err(|error| bad(&error.to_string()))?;
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = match info.parsed().map_err(|error| bad(&error.to_string()))? {
            PublicKey::RSA(key) => {
                let unsigned = |bytes: &[u8]| {
                    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
                    part(&bytes[zeros..])
                };
                json!({"kty": "RSA", "alg": "RS256", "n": unsigned(key.modulus), "e": unsigned(key.exponent)})
            }
            PublicKey::EC(point) => {
                let data = point.data();
                let (curve, algorithm) = match data.len() {
                    65 => ("P-256", "ES256"),
                    97 => ("P-384", "ES384"),
                    _ => return Err(bad("of the curves only P-256 and P-384 are known")),
                };
                // An uncompressed point is 0x04, x, y.
                let (x, y) = data[1..].split_at(data.len() / 2);
                json!({"kty": "EC", "crv": curve, "alg": algorithm, "x": part(x), "y": part(y)})
            }
            _ => return Err(bad("it must be RSA or ECDSA")),
        };
        jwk["kid"] = part(&Sha256::digest(der)).into();
        jwk["use"] = "sig".into();
        Self::of_jwk(&jwk)
    }

    /// From a JSON Web Key.
    ///
    /// # Errors
    /// It is not one that verifies signatures.
    pub fn of_jwk(jwk: &Value) -> Result<Self, Invalid> {
        let bad = |error: &dyn std::fmt::Display| Invalid(format!("a key is not usable: {error}"));
        let parsed: Jwk = serde_json::from_value(jwk.clone()).map_err(|error| bad(&error))?;
        let decoding = DecodingKey::from_jwk(&parsed).map_err(|error| bad(&error))?;
        let algorithms = match (jwk["kty"].as_str(), jwk["crv"].as_str()) {
            (Some("RSA"), _) => vec![
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ],
            (Some("EC"), Some("P-256")) => vec![Algorithm::ES256],
            (Some("EC"), Some("P-384")) => vec![Algorithm::ES384],
            _ => return Err(bad(&"it is neither RSA nor on P-256 or P-384")),
        };
        Ok(Self {
            id: jwk["kid"].as_str().unwrap_or_default().into(),
            algorithms,
            jwk: jwk.clone(),
            decoding,
        })
    }

    /// All keys in PEM: public keys, certificates, private keys (of which the public half is taken).
    ///
    /// # Errors
    /// One cannot be read, or there is none.
    pub fn all_of_pem(pem: &str) -> Result<Vec<Self>, Invalid> {
        let mut keys = Vec::new();
        for key in SubjectPublicKeyInfoDer::pem_slice_iter(pem.as_bytes()) {
            let der = key.map_err(|error| Invalid(error.to_string()))?;
            keys.push(Self::of_spki(&der)?);
        }
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let der = certificate.map_err(|error| Invalid(error.to_string()))?;
            let (_, certificate) =
                X509Certificate::from_der(&der).map_err(|error| Invalid(error.to_string()))?;
            keys.push(Self::of_spki(certificate.public_key().raw)?);
        }
        if pem.contains("PRIVATE KEY-----") {
            let pair = rcgen::KeyPair::from_pem(pem).map_err(|error| Invalid(error.to_string()))?;
            keys.push(Self::of_spki(&rcgen::PublicKeyData::subject_public_key_info(&pair))?);
        }
        if keys.is_empty() {
            return Err(Invalid("data does not contain any valid RSA or ECDSA public keys".into()));
        }
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_however_it_is_written() {
        let pair = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::default().self_signed(&pair).unwrap();
        let ids: Vec<String> = [pair.serialize_pem(), pair.public_key_pem(), certificate.pem()]
            .iter()
            .map(|pem| VerifyingKey::all_of_pem(pem).unwrap().remove(0).id)
            .collect();
        assert!(ids.iter().all(|id| id == &ids[0] && id.len() == 43), "{ids:?}");
        assert!(VerifyingKey::all_of_pem("nothing").is_err());
    }

    #[test]
    fn keys_are_published_as_upstream_publishes_them() {
        let table = [
            (&rcgen::PKCS_ECDSA_P256_SHA256, "P-256", "ES256"),
            (&rcgen::PKCS_ECDSA_P384_SHA384, "P-384", "ES384"),
        ];
        for (sort, curve, algorithm) in table {
            let pair = rcgen::KeyPair::generate_for(sort).unwrap();
            let key = VerifyingKey::all_of_pem(&pair.public_key_pem()).unwrap().remove(0);
            assert_eq!((&key.jwk["crv"], &key.jwk["alg"]), (&json!(curve), &json!(algorithm)));
            assert_eq!(key.jwk["use"], "sig");
        }
    }
}
