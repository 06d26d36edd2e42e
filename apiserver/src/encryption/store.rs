//! A store over a store: values are sealed on the way in and opened on the way out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use skiff_api::builtin;
use skiff_storage::{Entry, Error, Event, Expect, Notice, Op, Page, Range, Result, Revision, Storage, Watch};
use tokio_util::sync::CancellationToken;

use super::provider::{self, Provider};
use super::{Configuration, Unreadable};

/// The store, and how its values are kept.
#[derive(Clone)]
pub struct Encrypted(Arc<Shared>);

struct Shared {
    inner: Arc<dyn Storage>,
    configuration: ArcSwap<Configuration>,
    /// The resource that the keys below a folder are of: group and plural.
    places: HashMap<String, (String, String)>,
    shutdown: CancellationToken,
    /// Ends what was begun for the present configuration.
    stop: Mutex<CancellationToken>,
}

impl Encrypted {
    /// A store whose values are kept as a configuration says, until `shutdown`.
    pub fn new(inner: Arc<dyn Storage>, configuration: Configuration, shutdown: CancellationToken) -> Self {
        let kinds = builtin::registry();
        let stored = kinds.iter().filter(|kind| kind.presents.is_none());
        let places = stored
            .map(|kind| (format!("/{}/", kind.prefix), (kind.group.clone(), kind.plural.clone())))
            .collect();
        let shared = Shared {
            inner,
            configuration: ArcSwap::default(),
            places,
            stop: Mutex::new(shutdown.child_token()),
            shutdown,
        };
        let store = Self(Arc::new(shared));
        store.adopt(configuration);
        store
    }

    /// From now on another configuration counts.
    pub fn adopt(&self, configuration: Configuration) {
        let stop = self.0.shutdown.child_token();
        for kms in configuration.kms() {
            tokio::spawn(kms.clone().keep(stop.clone()));
        }
        self.0.configuration.store(Arc::new(configuration));
        let mut current = self.0.stop.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *current, stop).cancel();
    }
}

impl Shared {
    /// The resource that a key is of: built-in kinds by their folder, others by group and plural, as they stand in the key.
    fn resource<'a>(&'a self, key: &'a str) -> Option<(&'a str, &'a str)> {
        let known = key.match_indices('/').find_map(|(at, _)| self.places.get(&key[..=at]));
        if let Some((group, plural)) = known {
            return Some((group, plural));
        }
        let mut parts = key.strip_prefix("/registry/")?.split('/');
        let (group, plural) = (parts.next()?, parts.next()?);
        (group.contains('.') && parts.next().is_some()).then_some((group, plural))
    }

    fn providers(&self, key: &str) -> Option<Arc<Vec<Arc<Provider>>>> {
        let (group, plural) = self.resource(key)?;
        self.configuration.load().providers(group, plural).cloned()
    }

    /// What a stored value says, and whether it is stale.
    async fn open(&self, key: &str, stored: Bytes) -> std::result::Result<(Bytes, bool), Unreadable> {
        match self.providers(key) {
            None => match provider::check_plain(&stored) {
                Ok(()) => Ok((stored, false)),
                Err(why) => Err(Unreadable(why)),
            },
            Some(providers) => match provider::open(&providers, &stored, key.as_bytes()).await {
                Ok((plain, stale)) => Ok((plain.into(), stale)),
                Err(why) => Err(Unreadable(why)),
            },
        }
    }

    /// The same, with what cannot be opened marked as such.
    async fn shown(&self, key: &str, stored: Bytes) -> Bytes {
        match self.open(key, stored).await {
            Ok((plain, _)) => plain,
            Err(unreadable) => {
                tracing::error!(key, why = unreadable.0, "a stored value cannot be decrypted");
                unreadable.into_value()
            }
        }
    }

    async fn entry(&self, mut entry: Entry) -> Entry {
        entry.value = self.shown(&entry.key, entry.value).await;
        entry
    }

    async fn event(&self, mut event: Event) -> Event {
        if let Some(value) = event.value.take() {
            event.value = Some(self.shown(&event.key, value).await);
        }
        if let Some((value, revision)) = event.previous.take() {
            event.previous = Some((self.shown(&event.key, value).await, revision));
        }
        event
    }
}

#[async_trait]
impl Storage for Encrypted {
    async fn get(&self, key: &str) -> Result<(Option<Entry>, Revision)> {
        let (entry, revision) = self.0.inner.get(key).await?;
        Ok(match entry {
            Some(entry) => (Some(self.0.entry(entry).await), revision),
            None => (None, revision),
        })
    }

    async fn list(&self, prefix: &str, range: Range) -> Result<Page> {
        let mut page = self.0.inner.list(prefix, range).await?;
        for entry in &mut page.entries {
            entry.value = self.0.shown(&entry.key, std::mem::take(&mut entry.value)).await;
        }
        Ok(page)
    }

    async fn write(&self, key: &str, expect: Expect, op: Op) -> Result<Revision> {
        let op = match (op, self.0.providers(key)) {
            (Op::Put { value, ttl_s }, Some(providers)) => {
                let sealed = provider::seal(&providers, &value, key.as_bytes()).await;
                Op::Put { value: sealed.map_err(Error::Transform)?.into(), ttl_s }
            }
            (op, _) => op,
        };
        match self.0.inner.write(key, expect, op).await {
            Err(Error::Mismatch(Some(entry))) => Err(Error::Mismatch(Some(self.0.entry(entry).await))),
            other => other,
        }
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch> {
        let watch = self.0.inner.watch(prefix, after).await?;
        let shared = self.0.clone();
        Ok(Box::pin(watch.then(move |notice| {
            let shared = shared.clone();
            async move {
                let events = match notice? {
                    Notice::Events(events) => events,
                    progress => return Ok(progress),
                };
                let mut opened = Vec::with_capacity(events.len());
                for event in events {
                    opened.push(shared.event(event).await);
                }
                Ok(Notice::Events(opened))
            }
        })))
    }

    async fn revision(&self) -> Result<Revision> {
        self.0.inner.revision().await
    }

    async fn request_progress(&self) -> Result<()> {
        self.0.inner.request_progress().await
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        self.0.inner.compact(revision).await
    }

    async fn is_stale(&self, key: &str) -> Result<bool> {
        if self.0.providers(key).is_none() {
            return Ok(false);
        }
        let (entry, _) = self.0.inner.get(key).await?;
        let Some(entry) = entry else { return Ok(false) };
        Ok(self.0.open(key, entry.value).await.is_ok_and(|(_, stale)| stale))
    }
}
