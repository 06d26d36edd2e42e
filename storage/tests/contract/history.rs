//! What happened to a store as one client saw it, and whether a watch tells the same.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use skiff_storage::{Entry, Error, Event, Expect, Notice, Op, Revision, Storage, Watch};

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn put(value: impl Into<Bytes>) -> Op {
    Op::Put { value: value.into(), ttl_s: None }
}

/// Writes whatever was there before.
pub async fn set(store: &dyn Storage, key: &str, value: &str) -> Revision {
    store.write(key, Expect::Any, put(value.to_owned())).await.unwrap()
}

/// All changes, in order.
#[derive(Debug, Clone, Default)]
pub struct History(pub Vec<Event>);

impl History {
    /// The entries below a prefix after a revision, in order of keys.
    pub fn at(&self, prefix: &str, revision: Revision) -> Vec<Entry> {
        let mut state: BTreeMap<&str, Entry> = BTreeMap::new();
        for event in self.0.iter().take_while(|event| event.revision <= revision) {
            match &event.value {
                Some(value) => {
                    let entry =
                        Entry { key: event.key.clone(), value: value.clone(), revision: event.revision };
                    state.insert(&event.key, entry);
                }
                None => drop(state.remove(event.key.as_str())),
            }
        }
        state.into_values().filter(|entry| entry.key.starts_with(prefix)).collect()
    }

    /// The changes below a prefix after a revision.
    pub fn after(&self, prefix: &str, revision: Revision) -> Vec<Event> {
        let told = |event: &&Event| event.revision > revision && event.key.starts_with(prefix);
        self.0.iter().filter(told).cloned().collect()
    }

    /// Notes a write that was acknowledged.
    pub fn note(&mut self, key: &str, value: Option<Bytes>, revision: Revision) {
        let previous = self.at(key, revision).into_iter().find(|entry| entry.key == key);
        let previous = previous.map(|entry| (entry.value, entry.revision));
        self.0.push(Event { key: key.to_owned(), revision, value, previous });
    }
}

/// All that a watch tells up to a revision, or why it ended.
pub async fn told(store: &dyn Storage, watch: &mut Watch, until: Revision) -> Result<Vec<Event>, Error> {
    let mut events: Vec<Event> = Vec::new();
    let mut reached = 0;
    let read = async {
        while reached < until {
            let asked = tokio::time::timeout(Duration::from_millis(100), watch.next()).await;
            match asked {
                Ok(Some(Ok(Notice::Events(more)))) => {
                    assert!(!more.is_empty(), "events without an event");
                    assert!(more[0].revision > reached, "{:?} after progress to {reached}", more[0]);
                    reached = more.last().unwrap().revision;
                    events.extend(more);
                }
                Ok(Some(Ok(Notice::Progress(revision)))) => {
                    assert!(revision >= reached, "progress goes back");
                    reached = revision;
                }
                Ok(Some(Err(error))) => {
                    assert!(watch.next().await.is_none(), "a watch goes on after an error");
                    return Err(error);
                }
                Ok(None) => panic!("the watch ended without saying why"),
                Err(_) => store.request_progress().await.unwrap(),
            }
        }
        Ok(())
    };
    match tokio::time::timeout(PATIENCE, read).await {
        Ok(ended) => ended.map(|()| events),
        Err(_) => panic!("the watch reaches {reached} and not {until}"),
    }
}

/// Opens a watch and reads it up to a revision.
pub async fn watched(
    store: &dyn Storage,
    prefix: &str,
    after: Revision,
    until: Revision,
) -> Result<Vec<Event>, Error> {
    let mut watch = store.watch(prefix, after).await?;
    told(store, &mut watch, until).await
}
