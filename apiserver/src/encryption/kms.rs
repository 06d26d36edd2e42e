//! KMS v2: the key that seals keys is another process', reached over a unix socket by gRPC.
//!
//! A seed is made here and sealed there; each value gets a key of its own from it, and carries the sealed seed along. So
//! one call at start suffices for all writes, and reads ask once for each seed. The process is asked for its state
//! regularly: a new key there means a new seed here, and what was written under the old one is stale.
//!
//! Behaviour and bytes: upstream's `envelope/kmsv2`, `k8s.io/kms/apis/v2`.

mod wire;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use prost::Message;
use tokio_util::sync::CancellationToken;

use super::cipher::{Cipher, SEED, random};
use super::provider::Read;
use wire::{Client, DecryptRequest, EncryptRequest, EncryptedObject, StatusRequest};

/// How often a KMS that is well is asked how it is, and one that is not.
const WELL: Duration = Duration::from_secs(60);
const UNWELL: Duration = Duration::from_secs(10);
/// How long writes go on with a KMS that does not answer.
const COAST: Duration = Duration::from_secs(180);
/// Seeds kept; beyond that all are asked for again.
const MOST_SEEDS: usize = 4096;
/// Bytes of an identifier of a key, and of a sealed seed.
const MOST_BYTES: usize = 1024;
/// Bytes of the notes that a KMS may add.
const MOST_NOTES: usize = 32 * 1024;

/// How the seed of a value is used.
const PLAIN_KEY: i32 = 0;
const DERIVED: i32 = 1;

/// A KMS plugin.
pub struct Kms {
    name: String,
    client: Client,
    state: ArcSwapOption<State>,
    /// By the sealed seed and what belongs to it.
    seeds: Mutex<HashMap<Vec<u8>, Arc<Cipher>>>,
    /// Of several that find no state, one asks.
    asking: tokio::sync::Mutex<()>,
}

/// What values are written with.
struct State {
    cipher: Arc<Cipher>,
    /// All of a value but its data.
    frame: EncryptedObject,
    until: Instant,
}

impl Kms {
    /// A plugin that listens on a socket; nothing is asked yet.
    pub fn new(name: &str, socket: &str, timeout: Duration) -> Self {
        let path: PathBuf = Path::new(socket).to_owned();
        Self {
            name: name.to_owned(),
            client: Client::new(path, timeout),
            state: ArcSwapOption::empty(),
            seeds: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        }
    }

    /// Asks regularly, until `stop`.
    pub async fn keep(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let pause = match self.probe().await {
                Ok(()) => WELL,
                Err(why) => {
                    tracing::warn!(provider = self.name, why, "a KMS is not well");
                    UNWELL
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Asks how it is; takes a new seed if its key is another now.
    ///
    /// # Errors
    /// It does not answer, or is not well.
    pub async fn probe(&self) -> Result<(), String> {
        let until = Instant::now() + COAST;
        let unwell = |why: String| format!("kmsv2 Provider {} is not healthy, error: {why}", self.name);
        let status = self.client.status(StatusRequest {}).await.map_err(unwell)?;
        if status.healthz != "ok" {
            return Err(unwell(format!("got unexpected healthz status: {}", status.healthz)));
        }
        if !matches!(status.version.as_str(), "v2" | "v2beta1") {
            return Err(unwell(format!("expected KMSv2 API version v2, got {}", status.version)));
        }
        check_key_id(&status.key_id).map_err(unwell)?;
        if let Some(state) = self.state.load_full()
            && state.frame.key_id == status.key_id
        {
            let State { cipher, frame, .. } = &*state;
            let (cipher, frame) = (cipher.clone(), frame.clone());
            self.state.store(Some(Arc::new(State { cipher, frame, until })));
            return Ok(());
        }
        let (cipher, frame) = self.new_seed().await.map_err(unwell)?;
        if frame.key_id != status.key_id {
            return Err(unwell("its status names another key than its answer".into()));
        }
        self.remember(seed_key(&frame), cipher.clone());
        self.state.store(Some(Arc::new(State { cipher, frame, until })));
        Ok(())
    }

    async fn new_seed(&self) -> Result<(Arc<Cipher>, EncryptedObject), String> {
        let seed: [u8; SEED] = random()?;
        let request = EncryptRequest { plaintext: seed.to_vec(), uid: uuid::Uuid::new_v4().to_string() };
        let answer = self.client.encrypt(request).await;
        let answer = answer.map_err(|why| format!("failed to encrypt DEK, error: {why}"))?;
        let frame = EncryptedObject {
            encrypted_data: Vec::new(),
            key_id: answer.key_id,
            encrypted_dek_source: answer.ciphertext,
            annotations: answer.annotations,
            encrypted_dek_source_type: DERIVED,
        };
        check(&frame)?;
        let cipher = Cipher::derived(&seed).ok_or("the seed is too short")?;
        Ok((Arc::new(cipher), frame))
    }

    async fn current(&self) -> Result<Arc<State>, String> {
        if let Some(state) = self.state.load_full() {
            return Ok(state);
        }
        let _one = self.asking.lock().await;
        if let Some(state) = self.state.load_full() {
            return Ok(state);
        }
        self.probe().await?;
        self.state.load_full().ok_or_else(|| "the KMS gave no key".to_owned())
    }

    /// The bytes to store, without the prefix.
    ///
    /// # Errors
    /// The KMS has not answered for too long, or never.
    pub async fn seal(&self, plain: &[u8], place: &[u8]) -> Result<Vec<u8>, String> {
        let state = self.current().await?;
        if Instant::now() > state.until {
            return Err(format!(
                "the key of KMS provider {} has expired: the KMS does not answer",
                self.name
            ));
        }
        let mut object = state.frame.clone();
        object.encrypted_data = state.cipher.seal(plain, place)?;
        Ok(object.encode_to_vec())
    }

    /// What was sealed, and whether it would be sealed under another key now.
    ///
    /// # Errors
    /// As [`Cipher::open`]; or the KMS does not open its seed.
    pub async fn open(&self, stored: &[u8], place: &[u8]) -> Result<Read, String> {
        let object = EncryptedObject::decode(stored).map_err(|error| error.to_string())?;
        if object.encrypted_data.is_empty() {
            return Err("encrypted data is empty".into());
        }
        check(&object)?;
        let state = self.current().await?;
        let key = seed_key(&object);
        let known = self.seeds().get(&key).cloned();
        let cipher = match known {
            Some(cipher) => cipher,
            None => {
                let request = DecryptRequest {
                    ciphertext: object.encrypted_dek_source.clone(),
                    uid: uuid::Uuid::new_v4().to_string(),
                    key_id: object.key_id.clone(),
                    annotations: object.annotations.clone(),
                };
                let answer = self.client.decrypt(request).await;
                let plain = answer.map_err(|why| format!("failed to decrypt DEK, error: {why}"))?.plaintext;
                let made = match object.encrypted_dek_source_type {
                    PLAIN_KEY => Cipher::aes_gcm(&plain),
                    _ => Cipher::derived(&plain),
                };
                let cipher = Arc::new(made.ok_or("the KMS gave a key of a wrong length")?);
                self.remember(key, cipher.clone());
                cipher
            }
        };
        let plain = cipher.open(&object.encrypted_data, place)?;
        let stale = object.key_id != state.frame.key_id || object.encrypted_dek_source_type != DERIVED;
        Ok((plain, stale))
    }

    fn seeds(&self) -> std::sync::MutexGuard<'_, HashMap<Vec<u8>, Arc<Cipher>>> {
        self.seeds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, key: Vec<u8>, cipher: Arc<Cipher>) {
        let mut seeds = self.seeds();
        if seeds.len() >= MOST_SEEDS {
            seeds.clear();
        }
        seeds.insert(key, cipher);
    }
}

/// What tells one seed from another: all that the KMS opens it by.
fn seed_key(object: &EncryptedObject) -> Vec<u8> {
    let mut of_seed = object.clone();
    of_seed.encrypted_data.clear();
    let notes: std::collections::BTreeMap<_, _> =
        std::mem::take(&mut of_seed.annotations).into_iter().collect();
    let mut key = of_seed.encode_to_vec();
    for (name, value) in notes {
        for part in [name.as_bytes(), &value] {
            key.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            key.extend(part);
        }
    }
    key
}

fn check(object: &EncryptedObject) -> Result<(), String> {
    if !matches!(object.encrypted_dek_source_type, PLAIN_KEY | DERIVED) {
        return Err(format!("unknown encryptedDEKSourceType: {}", object.encrypted_dek_source_type));
    }
    let source = object.encrypted_dek_source.len();
    if source == 0 || source > MOST_BYTES {
        return Err(format!(
            "failed to validate encrypted DEK source: encrypted DEK source is {source} bytes, of at most {MOST_BYTES}"
        ));
    }
    check_key_id(&object.key_id)?;
    let size: usize = object.annotations.iter().map(|(name, value)| name.len() + value.len()).sum();
    if size > MOST_NOTES {
        return Err(format!(
            "failed to validate annotations: total size of annotations is {size}, which exceeds the max size of {MOST_NOTES}"
        ));
    }
    Ok(())
}

fn check_key_id(id: &str) -> Result<(), String> {
    match id.len() {
        0 => Err("keyID is empty".into()),
        length if length > MOST_BYTES => {
            Err(format!("keyID is {length} bytes, which exceeds the max size of {MOST_BYTES}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
