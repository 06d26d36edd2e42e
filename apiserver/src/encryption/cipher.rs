//! The ciphers, each with upstream's layout of bytes (`apiserver/pkg/storage/value/encrypt`).

use aws_lc_rs::aead::{self, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::cipher::{self, DecryptionContext, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::{hkdf, rand};
use crypto_secretbox::aead::{Aead, KeyInit};
use crypto_secretbox::{Key, XSalsa20Poly1305};

/// Bytes of an AES block, and of the padding at most.
const BLOCK: usize = 16;
/// Bytes of a secretbox nonce and tag.
const BOX_NONCE: usize = 24;
const BOX_TAG: usize = 16;
/// Bytes from which the key of one value is derived, of a seed, and of a derived key.
const INFO: usize = 32;
/// Bytes of a seed.
pub const SEED: usize = 32;

const TOO_SHORT: &str = "the stored data was shorter than the required size";

/// A cipher with its key.
pub enum Cipher {
    /// nonce, ciphertext, tag; the key in the store is authenticated with it.
    AesGcm(LessSafeKey),
    /// initialisation vector, ciphertext. Nothing is authenticated.
    AesCbc(Vec<u8>),
    /// nonce, tag, ciphertext: NaCl's box.
    Secretbox(Box<XSalsa20Poly1305>),
    /// info, then as AES-GCM under a key of its own, made of a seed and the info.
    Derived(Vec<u8>),
}

impl Cipher {
    /// AES-GCM with a key of 16, 24 or 32 bytes.
    pub fn aes_gcm(key: &[u8]) -> Option<Self> {
        let algorithm = match key.len() {
            16 => &aead::AES_128_GCM,
            24 => &aead::AES_192_GCM,
            32 => &aead::AES_256_GCM,
            _ => return None,
        };
        Some(Self::AesGcm(LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?)))
    }

    /// AES-CBC with a key of 16, 24 or 32 bytes.
    pub fn aes_cbc(key: &[u8]) -> Option<Self> {
        cbc_key(key).map(|_| Self::AesCbc(key.to_vec()))
    }

    /// XSalsa20 and Poly1305, with a key of 32 bytes.
    pub fn secretbox(key: &[u8]) -> Option<Self> {
        let key = <[u8; 32]>::try_from(key).ok()?;
        Some(Self::Secretbox(Box::new(XSalsa20Poly1305::new(&Key::from(key)))))
    }

    /// AES-GCM under keys derived from a seed (HKDF-SHA256, expand only).
    pub fn derived(seed: &[u8]) -> Option<Self> {
        (seed.len() >= SEED).then(|| Self::Derived(seed.to_vec()))
    }

    /// The bytes to store. `place` is the key in the store.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn seal(&self, plain: &[u8], place: &[u8]) -> Result<Vec<u8>, String> {
        let failed = |_| "the value could not be encrypted".to_owned();
        match self {
            Self::AesGcm(key) => {
                let nonce: [u8; NONCE_LEN] = random()?;
                let mut out = nonce.to_vec();
                let mut sealed = plain.to_vec();
                key.seal_in_place_append_tag(
                    Nonce::assume_unique_for_key(nonce),
                    Aad::from(place),
                    &mut sealed,
                )
                .map_err(failed)?;
                out.append(&mut sealed);
                Ok(out)
            }
            Self::AesCbc(key) => {
                let iv: [u8; BLOCK] = random()?;
                let key = cbc_key(key).ok_or("the key has a wrong length")?;
                let key = cipher::EncryptingKey::cbc(key).map_err(failed)?;
                let padding = BLOCK - plain.len() % BLOCK;
                let mut body = plain.to_vec();
                body.resize(plain.len() + padding, u8::try_from(padding).expect("at most 16"));
                let context = EncryptionContext::Iv128(FixedLength::from(iv));
                key.less_safe_encrypt(&mut body, context).map_err(failed)?;
                Ok([&iv[..], &body].concat())
            }
            Self::Secretbox(key) => {
                let nonce: [u8; BOX_NONCE] = random()?;
                let sealed = key.encrypt(&nonce.into(), plain);
                let sealed = sealed.map_err(|_| "the value could not be encrypted".to_owned())?;
                Ok([&nonce[..], &sealed].concat())
            }
            Self::Derived(seed) => {
                let info: [u8; INFO] = random()?;
                let sealed = derive(seed, &info)?.seal(plain, place)?;
                Ok([&info[..], &sealed].concat())
            }
        }
    }

    /// What was sealed, for the same place.
    ///
    /// # Errors
    /// Another key, another place (where that is authenticated), or damage; in upstream's words.
    pub fn open(&self, stored: &[u8], place: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Self::AesGcm(key) => {
                let (nonce, sealed) = stored.split_at_checked(NONCE_LEN).ok_or(TOO_SHORT)?;
                let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| TOO_SHORT)?;
                let mut sealed = sealed.to_vec();
                let plain = key.open_in_place(nonce, Aad::from(place), &mut sealed);
                plain
                    .map(|plain| plain.to_vec())
                    .map_err(|_| "cipher: message authentication failed".to_owned())
            }
            Self::AesCbc(key) => open_cbc(key, stored),
            Self::Secretbox(key) => {
                if stored.len() < BOX_NONCE + BOX_TAG {
                    return Err(TOO_SHORT.into());
                }
                let (nonce, sealed) = stored.split_at(BOX_NONCE);
                let nonce = <[u8; BOX_NONCE]>::try_from(nonce).map_err(|_| TOO_SHORT)?;
                // Upstream's own words for it.
                key.decrypt(&nonce.into(), sealed)
                    .map_err(|_| "output array was not large enough for encryption".to_owned())
            }
            Self::Derived(seed) => {
                let (info, sealed) = stored.split_at_checked(INFO).ok_or(TOO_SHORT)?;
                derive(seed, info)?.open(sealed, place)
            }
        }
    }
}

/// Random bytes for keys and nonces.
pub fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| "unable to read sufficient random bytes".to_owned())?;
    Ok(bytes)
}

fn cbc_key(key: &[u8]) -> Option<UnboundCipherKey> {
    let algorithm = match key.len() {
        16 => &cipher::AES_128,
        24 => &cipher::AES_192,
        32 => &cipher::AES_256,
        _ => return None,
    };
    UnboundCipherKey::new(algorithm, key).ok()
}

fn open_cbc(key: &[u8], stored: &[u8]) -> Result<Vec<u8>, String> {
    let (iv, body) = stored.split_at_checked(BLOCK).ok_or(TOO_SHORT)?;
    if body.len() % BLOCK != 0 {
        return Err("the stored data is not a multiple of the block size".into());
    }
    let unusable = "invalid PKCS7 data (empty or not padded)";
    let iv = <[u8; BLOCK]>::try_from(iv).map_err(|_| TOO_SHORT)?;
    let key = cipher::DecryptingKey::cbc(cbc_key(key).ok_or("the key has a wrong length")?);
    let mut body = body.to_vec();
    let context = DecryptionContext::Iv128(FixedLength::from(iv));
    key.and_then(|key| key.decrypt(&mut body, context).map(|_| ())).map_err(|_| unusable.to_owned())?;
    let padding = body.last().copied().ok_or(unusable)?;
    let length = body.len().checked_sub(usize::from(padding)).filter(|_| padding > 0).ok_or(unusable)?;
    if body[length..].iter().any(|byte| *byte != padding) {
        return Err("invalid padding on input".into());
    }
    body.truncate(length);
    Ok(body)
}

fn derive(seed: &[u8], info: &[u8]) -> Result<Cipher, String> {
    let mut key = [0; 32];
    let failed = |_| "failed to derive key from KDF".to_owned();
    let info = [info];
    let derived = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, seed);
    let derived = derived.expand(&info, hkdf::HKDF_SHA256).map_err(failed)?;
    derived.fill(&mut key).map_err(failed)?;
    Cipher::aes_gcm(&key).ok_or_else(|| "failed to derive key from KDF".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ciphers() -> Vec<(&'static str, Cipher)> {
        vec![
            ("aesgcm 16", Cipher::aes_gcm(&[1; 16]).unwrap()),
            ("aesgcm 24", Cipher::aes_gcm(&[1; 24]).unwrap()),
            ("aesgcm 32", Cipher::aes_gcm(&[1; 32]).unwrap()),
            ("aescbc 16", Cipher::aes_cbc(&[1; 16]).unwrap()),
            ("aescbc 24", Cipher::aes_cbc(&[1; 24]).unwrap()),
            ("aescbc 32", Cipher::aes_cbc(&[1; 32]).unwrap()),
            ("secretbox", Cipher::secretbox(&[1; 32]).unwrap()),
            ("derived", Cipher::derived(&[1; 32]).unwrap()),
        ]
    }

    #[test]
    fn what_is_sealed_is_opened_and_shows_nothing() {
        for (name, cipher) in ciphers() {
            for length in [0, 1, 15, 16, 17, 4096] {
                let plain: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
                let sealed = cipher.seal(&plain, b"/registry/secrets/a/b").unwrap();
                assert_eq!(cipher.open(&sealed, b"/registry/secrets/a/b").unwrap(), plain, "{name} {length}");
                assert!(length < 15 || !sealed.windows(length).any(|part| part == plain), "{name} {length}");
                let again = cipher.seal(&plain, b"/registry/secrets/a/b").unwrap();
                assert_ne!(sealed, again, "{name}: a value looks different each time");
            }
        }
    }

    #[test]
    fn values_of_another_place_and_damaged_ones_are_refused() {
        for (name, cipher) in ciphers() {
            let mut sealed = cipher.seal(b"{\"a\":1}", b"/a").unwrap();
            let authenticated = !name.starts_with("aescbc");
            if !name.starts_with("aescbc") && name != "secretbox" {
                assert!(cipher.open(&sealed, b"/b").is_err(), "{name}: moved");
            }
            *sealed.last_mut().unwrap() ^= 1;
            if authenticated {
                assert!(cipher.open(&sealed, b"/a").is_err(), "{name}: damaged");
            }
            assert!(cipher.open(&sealed[..3], b"/a").is_err(), "{name}: cut off");
        }
    }

    /// What Go's own packages make of the same keys and nonces, laid out as Kubernetes does; and NaCl's vector.
    #[test]
    fn kubernetes_bytes_are_read() {
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
        };
        let table = [
            (
                Cipher::aes_gcm(&[1; 32]),
                "0202020202020202020202027cf4a2202433e3c7f19fd9ab2ec2b690df245e7490db4f36ec352c9c644b3bd921",
            ),
            (
                Cipher::aes_cbc(&[1; 32]),
                "030303030303030303030303030303035d8f6f8460b3e20f6d80f224f7996f49e0c2ed2739ad194614577a4d23391b11",
            ),
            (
                Cipher::derived(&[4; 32]),
                concat!(
                    "050505050505050505050505050505050505050505050505050505050505050506060606060606060606060688d4",
                    "a803b661db3636e0e3183cd38164e0abc720ca5b4ea271c0e10d63b2adc3ba",
                ),
            ),
        ];
        for (cipher, stored) in table {
            let plain = cipher.unwrap().open(&hex(stored), b"/registry/secrets/a/b").unwrap();
            assert_eq!(plain, br#"{"kind":"Secret"}"#);
        }
        let key = hex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389");
        let stored = hex(concat!(
            "69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37",
            "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186ac0",
            "dfc17c98dce87b4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae9022",
            "4368517acfeabd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74e355a5",
        ));
        let plain = Cipher::secretbox(&key).unwrap().open(&stored, b"").unwrap();
        assert_eq!(plain[..8], hex("be075fc53c81f2d5"));
    }
}
