//! Encryption at rest: from flags and the key file to a store that seals.
//!
//! On the embedded store Secrets are sealed from the first start on, with a key in a file of its own, so that a copy of
//! the log alone tells none of them. Whoever gives a configuration decides alone what is written; what was sealed with
//! the key file before can still be read.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use skiff_apiserver::App;
use skiff_apiserver::encryption::{Configuration, Encrypted};
use skiff_storage::embedded::Embedded;
use skiff_storage::{Range, Storage};
use tokio_util::sync::CancellationToken;

use crate::cli::AtRest;
use crate::pki::files;

/// The key file, in the data directory. Like the CA's key it is never overwritten.
pub const KEY_FILE: &str = "encryption.key";
/// What values sealed with it begin with.
const PREFIX: &[u8] = b"k8s:enc:secretbox:v1:skiff:";
/// How often the configuration is compared with its file.
const RELOAD: Duration = Duration::from_secs(1);

/// The configuration that the key file stands for: secretbox, whose nonces are long enough that the key need not be
/// changed however much is written.
fn by_default(key: &str) -> String {
    format!(
        "apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers:
  - secretbox: {{keys: [{{name: skiff, secret: {key}}}]}}
  - identity: {{}}
"
    )
}

fn parse(text: &str) -> anyhow::Result<Configuration> {
    Configuration::parse(text).map_err(anyhow::Error::msg)
}

/// The configuration in a file, which can also read what the key file sealed.
fn of_file(path: &Path, key: Option<&str>) -> anyhow::Result<(String, Configuration)> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let read = parse(&text).with_context(|| format!("{} is not valid", path.display()))?;
    Ok(match key {
        Some(key) => (text, read.also_reading(parse(&by_default(key))?)),
        None => (text, read),
    })
}

/// The embedded store, sealed as the flags say, or by default.
pub async fn embedded(
    store: Arc<Embedded>,
    dir: &Path,
    flags: &AtRest,
    shutdown: &CancellationToken,
) -> anyhow::Result<Arc<dyn Storage>> {
    let path = dir.join(KEY_FILE);
    let key = match files::read(&path)? {
        Some(key) => Some(usable(&path, key.trim())?),
        None if is_sealed(&*store).await? => bail!(
            "{} is missing, and Secrets are encrypted with it. Bring it back; without it they cannot be read.",
            path.display()
        ),
        None => None,
    };
    if flags.encryption_provider_config.is_some() {
        return configured(store, flags, key, shutdown);
    }
    let key = match key {
        Some(key) => key,
        None => {
            let key = STANDARD.encode(random::<32>()?);
            files::write(&path, &format!("{key}\n"))?;
            key
        }
    };
    Ok(Arc::new(Encrypted::new(store, parse(&by_default(&key))?, shutdown.clone())))
}

/// Any store, sealed as the flags say.
pub fn configured(
    store: Arc<dyn Storage>,
    flags: &AtRest,
    key: Option<String>,
    shutdown: &CancellationToken,
) -> anyhow::Result<Arc<dyn Storage>> {
    let Some(path) = &flags.encryption_provider_config else { return Ok(store) };
    let (text, configuration) = of_file(path, key.as_deref())?;
    let store = Encrypted::new(store, configuration, shutdown.clone());
    if flags.encryption_provider_config_automatic_reload {
        let following = follow(store.clone(), path.clone(), key, text);
        tokio::spawn(shutdown.clone().run_until_cancelled_owned(following));
    }
    Ok(Arc::new(store))
}

/// Adopts the file whenever it says something else; one that is not valid changes nothing.
async fn follow(store: Encrypted, path: PathBuf, key: Option<String>, mut known: String) {
    let mut refused = String::new();
    loop {
        tokio::time::sleep(RELOAD).await;
        match of_file(&path, key.as_deref()) {
            Ok((text, _)) if text == known => {}
            Ok((text, configuration)) => {
                store.adopt(configuration);
                tracing::info!(file = %path.display(), "a new encryption configuration counts");
                known = text;
            }
            Err(error) => {
                let error = format!("{error:#}");
                if error != refused {
                    tracing::error!(error, "the old encryption configuration goes on");
                    refused = error;
                }
            }
        }
    }
}

/// Seals what was written before there was a key, and wipes the plain values from the log.
pub async fn seal_old(app: &Arc<App>, store: &Embedded) -> anyhow::Result<()> {
    let count = skiff_apiserver::encryption::renew(app, "", "secrets").await?;
    if count > 0 {
        tracing::info!(count, "Secrets that were kept in plain are encrypted now");
        store.scrub()?;
    }
    Ok(())
}

async fn is_sealed(store: &dyn Storage) -> anyhow::Result<bool> {
    let page = store.list("/registry/secrets/", Range::default()).await?;
    Ok(page.entries.iter().any(|entry| entry.value.starts_with(PREFIX)))
}

fn usable(path: &Path, key: &str) -> anyhow::Result<String> {
    if STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 32) {
        return Ok(key.to_owned());
    }
    bail!("{} does not hold a key. Bring it back; it is never overwritten.", path.display())
}

/// Random bytes for keys and tokens.
pub fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.secure_random.fill(&mut bytes).map_err(|_| anyhow::anyhow!("the system has no random bytes"))?;
    Ok(bytes)
}
