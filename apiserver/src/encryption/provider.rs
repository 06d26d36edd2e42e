//! Providers in their order: the first writes, each reads what bears its prefix, and what not the first reads is stale.
//!
//! Behaviour: upstream's `storage/value/transformer.go`.

use std::sync::Arc;

use super::cipher::Cipher;
use super::kms::Kms;

/// What nothing but encrypted values begin with.
const ENCRYPTED: &[u8] = b"k8s:enc:";

/// One way to keep values.
pub enum Provider {
    /// One cipher with several keys, the first of which writes: its prefix, and the keys by name.
    Keys(&'static str, Vec<(String, Cipher)>),
    /// Keys that another process keeps: its prefix, which holds the name.
    Kms(String, Arc<Kms>),
    /// As it is.
    Identity,
}

/// What was read, and whether it would be written otherwise now.
pub type Read = (Vec<u8>, bool);

impl Provider {
    fn prefix(&self) -> &[u8] {
        match self {
            Self::Keys(prefix, _) => prefix.as_bytes(),
            Self::Kms(prefix, _) => prefix.as_bytes(),
            Self::Identity => b"",
        }
    }

    async fn open(&self, stored: &[u8], place: &[u8]) -> Result<Read, String> {
        match self {
            Self::Keys(sort, keys) => open_with(sort, keys, stored, place),
            Self::Kms(_, kms) => kms.open(stored, place).await,
            Self::Identity if stored.starts_with(ENCRYPTED) => {
                Err("identity transformer tried to read encrypted data".into())
            }
            Self::Identity => Ok((stored.to_vec(), false)),
        }
    }

    async fn seal(&self, plain: &[u8], place: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Self::Keys(_, keys) => {
                let (name, cipher) = keys.first().ok_or("no key to write with")?;
                let sealed = cipher.seal(plain, place)?;
                Ok([name.as_bytes(), b":", &sealed].concat())
            }
            Self::Kms(_, kms) => kms.seal(plain, place).await,
            Self::Identity => Ok(plain.to_vec()),
        }
    }
}

fn open_with(sort: &str, keys: &[(String, Cipher)], stored: &[u8], place: &[u8]) -> Result<Read, String> {
    let mut errors = Vec::new();
    for (at, (name, cipher)) in keys.iter().enumerate() {
        let body = stored.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b":"));
        match body.map(|body| cipher.open(body, place)) {
            Some(Ok(plain)) => return Ok((plain, at != 0)),
            Some(Err(why)) => errors.push(why),
            None => {}
        }
    }
    let family = if sort.contains("secretbox") { "Secretbox" } else { "AES" };
    Err(joined(errors)
        .unwrap_or_else(|| format!("no matching key was found for the provided {family} transformer")))
}

/// Several errors as one, as upstream aggregates them.
fn joined(mut errors: Vec<String>) -> Option<String> {
    match errors.len() {
        0 => None,
        1 => errors.pop(),
        _ => Some(format!("[{}]", errors.join(", "))),
    }
}

/// Reads a stored value by the first provider that can.
///
/// # Errors
/// None can; in upstream's words.
pub async fn open(providers: &[Arc<Provider>], stored: &[u8], place: &[u8]) -> Result<Read, String> {
    let mut errors = Vec::new();
    for (at, provider) in providers.iter().enumerate() {
        let Some(body) = stored.strip_prefix(provider.prefix()) else { continue };
        match provider.open(body, place).await {
            Ok((plain, stale)) => return Ok((plain, stale || at != 0)),
            // Plain values are told by the absence of a prefix, so that is no reason yet.
            Err(_) if provider.prefix().is_empty() => {}
            Err(why) => errors.push(why),
        }
    }
    Err(joined(errors).unwrap_or_else(|| "no matching prefix found".into()))
}

/// The bytes to store, by the first provider.
///
/// # Errors
/// It cannot write now.
pub async fn seal(providers: &[Arc<Provider>], plain: &[u8], place: &[u8]) -> Result<Vec<u8>, String> {
    let first = providers.first().ok_or("no provider to write with")?;
    let sealed = first.seal(plain, place).await?;
    Ok([first.prefix(), &sealed].concat())
}

/// What a resource without a rule has: plain values, and an error for encrypted ones.
///
/// # Errors
/// The value is encrypted.
pub fn check_plain(stored: &[u8]) -> Result<(), String> {
    if stored.starts_with(ENCRYPTED) {
        return Err("identity transformer tried to read encrypted data".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: &[u8] = b"/registry/secrets/a/b";
    const PLAIN: &[u8] = b"{\"kind\":\"Secret\"}";

    fn gcm(keys: &[(&str, u8)]) -> Provider {
        let keys =
            keys.iter().map(|(name, byte)| ((*name).to_owned(), Cipher::aes_gcm(&[*byte; 32]).unwrap()));
        Provider::Keys("k8s:enc:aesgcm:v1:", keys.collect())
    }

    fn boxed() -> Provider {
        let key = Cipher::secretbox(&[7; 32]).unwrap();
        Provider::Keys("k8s:enc:secretbox:v1:", vec![("key1".into(), key)])
    }

    #[tokio::test]
    async fn the_first_writes_and_what_others_read_is_stale() {
        let written = seal(&[Arc::new(gcm(&[("key1", 1)]))], PLAIN, PLACE).await.unwrap();
        assert!(written.starts_with(b"k8s:enc:aesgcm:v1:key1:"));
        let table: [(&str, Vec<Provider>, Result<bool, &str>); 8] = [
            ("as written", vec![gcm(&[("key1", 1)])], Ok(false)),
            ("a second key", vec![gcm(&[("key2", 2), ("key1", 1)])], Ok(true)),
            ("a second provider", vec![boxed(), gcm(&[("key1", 1)])], Ok(true)),
            ("no more encryption", vec![Provider::Identity, gcm(&[("key1", 1)])], Ok(true)),
            (
                "the same name, another key",
                vec![gcm(&[("key1", 2)])],
                Err("cipher: message authentication failed"),
            ),
            ("both of one prefix", vec![gcm(&[("key1", 2)]), gcm(&[("key1", 1)])], Ok(true)),
            (
                "the key is gone",
                vec![gcm(&[("key2", 2)])],
                Err("no matching key was found for the provided AES transformer"),
            ),
            ("the provider is gone", vec![boxed(), Provider::Identity], Err("no matching prefix found")),
        ];
        for (what, providers, expected) in table {
            let providers: Vec<Arc<Provider>> = providers.into_iter().map(Arc::new).collect();
            let read = open(&providers, &written, PLACE).await;
            if let Ok((plain, _)) = &read {
                assert_eq!(plain, PLAIN, "{what}");
            }
            assert_eq!(read.map(|(_, stale)| stale), expected.map_err(str::to_owned), "{what}");
        }
        let plain = open(&[boxed().into(), Provider::Identity.into()], PLAIN, PLACE).await.unwrap();
        assert_eq!(plain, (PLAIN.to_vec(), true), "a plain value is read and is stale");
        assert_eq!(open(&[boxed().into()], PLAIN, PLACE).await, Err("no matching prefix found".into()));
        assert!(check_plain(&written).is_err() && check_plain(PLAIN).is_ok());
    }
}
