//! The embedded store on a device that discards what was not synced.
//!
//! The property: after a crash at any point everything acknowledged is there, and what was not
//! acknowledged is there whole or not at all.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod device;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use device::{Call, Device, Fault, Random};
use futures::future::join_all;
use skiff_storage::embedded::{Embedded, Options};
use skiff_storage::{Error, Expect, Op, Range, Revision, Storage};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// Bounds so small that the log is rewritten every few writes.
fn options() -> Options {
    Options { history_events: 6, rewrite_bytes: 24 << 10, ..Options::default() }
}

/// What was asked of the store, in order: the change of each revision.
#[derive(Default)]
struct Asked {
    changes: Vec<(String, Option<Vec<u8>>)>,
    /// The first so many were acknowledged.
    acknowledged: usize,
}

impl Asked {
    fn at(&self, revision: Revision) -> BTreeMap<String, Vec<u8>> {
        let mut state = BTreeMap::new();
        for (key, value) in &self.changes[..revision as usize] {
            match value {
                Some(value) => drop(state.insert(key.clone(), value.clone())),
                None => drop(state.remove(key)),
            }
        }
        state
    }

    /// Writes some groups, each at once; stops at the first error.
    async fn write(&mut self, store: &Embedded, random: &mut Random, groups: usize) -> Result<(), Error> {
        for _ in 0..groups {
            let mut group = Vec::new();
            for _ in 0..=random.below(4) {
                let key = format!("/{}", random.below(5));
                let exists = self.at(self.changes.len() as u64).contains_key(&key);
                let value = (!exists || random.below(4) > 0).then(|| {
                    let length = random.below(3000) as usize;
                    // Zeros too: they must not pass for sectors that were never written.
                    let byte = if random.below(4) == 0 { 0 } else { b'x' };
                    [format!("{}:", self.changes.len()).into_bytes(), vec![byte; length]].concat()
                });
                self.changes.push((key.clone(), value.clone()));
                group.push((key, value));
            }
            let answers = join_all(group.iter().map(|(key, value)| {
                let op = match value {
                    Some(value) => Op::Put { value: value.clone().into(), ttl_s: None },
                    None => Op::Delete,
                };
                store.write(key, Expect::Any, op)
            }))
            .await;
            let asked = self.changes.split_off(self.acknowledged);
            let mut failed = None;
            for (answer, change) in answers.into_iter().zip(asked) {
                match answer {
                    Ok(revision) => {
                        // With the next revision given to this one, what failed before it has not happened.
                        self.changes.truncate(self.acknowledged);
                        self.changes.push(change);
                        self.acknowledged += 1;
                        assert_eq!(revision, self.acknowledged as u64);
                    }
                    Err(error) => {
                        self.changes.push(change);
                        failed = failed.or(Some(error));
                    }
                }
            }
            if let Some(error) = failed {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Opens what a crash left, and compares. What is shown then is what has happened.
    async fn recovered(&mut self, device: &Device, context: &str) -> Embedded {
        let store = Embedded::open_on(Arc::new(device.clone()), options())
            .unwrap_or_else(|error| panic!("{context}: {error}"));
        let newest = store.revision().await.unwrap();
        let (least, most) = (self.acknowledged as u64, self.changes.len() as u64);
        assert!((least..=most).contains(&newest), "{context}: {newest} is not in {least}..={most}");
        for at in 0..=newest {
            let page = match store.list("", Range { at: Some(at), ..Range::default() }).await {
                Ok(page) => page,
                Err(Error::Compacted { .. }) if at < newest => continue,
                Err(error) => panic!("{context}: {error}"),
            };
            let state: BTreeMap<String, Vec<u8>> =
                page.entries.into_iter().map(|entry| (entry.key, entry.value.to_vec())).collect();
            assert!(state == self.at(at), "{context}: the state after {at} of {newest} is another");
        }
        self.changes.truncate(newest as usize);
        self.acknowledged = newest as usize;
        store
    }
}

const GROUPS: usize = 24;

/// Calls that a run without a fault makes of the device.
async fn calls(seed: u64) -> u64 {
    let device = Device::new(seed);
    let store = Embedded::open_on(Arc::new(device.clone()), options()).unwrap();
    Asked::default().write(&store, &mut Random(seed), GROUPS).await.unwrap();
    drop(store);
    assert!(device.renames() > 2, "the log was not rewritten");
    device.calls()
}

#[tokio::test]
async fn after_a_loss_of_power_at_any_point_what_was_acknowledged_is_there_and_nothing_is_half_there() {
    for seed in 0..6 {
        let total = calls(seed).await;
        for crash in 0..total {
            let mut asked = Asked::default();
            let mut random = Random(seed);
            let mut device = Device::new(seed << 32 | crash);
            device.fail(crash, Fault::PowerOff);
            if let Ok(store) = Embedded::open_on(Arc::new(device.clone()), options()) {
                let _ = asked.write(&store, &mut random, GROUPS).await;
            }
            // Twice more: once in what opening does, once soon after.
            for again in [crash % 7, 7 + crash % 23] {
                device = device.after_power_loss();
                device.fail(again, Fault::PowerOff);
                if let Ok(store) = Embedded::open_on(Arc::new(device.clone()), options()) {
                    // What it shows now has happened, whatever comes: who saw it may have acted on it.
                    let newest = store.revision().await.unwrap();
                    let range = asked.acknowledged as u64..=asked.changes.len() as u64;
                    assert!(range.contains(&newest), "seed {seed}, crash at {crash}: {newest} of {range:?}");
                    asked.changes.truncate(newest as usize);
                    asked.acknowledged = newest as usize;
                    let _ = asked.write(&store, &mut random, 4).await;
                }
            }
            let context = format!("seed {seed}, crash at call {crash} of {total}");
            let device = device.after_power_loss();
            let store = asked.recovered(&device, &context).await;
            asked.write(&store, &mut random, 4).await.unwrap_or_else(|error| panic!("{context}: {error}"));
        }
    }
}

#[tokio::test]
async fn an_error_of_the_device_is_told_and_loses_nothing() {
    let mut seen = BTreeSet::new();
    for seed in 0..4 {
        let total = calls(seed).await;
        for (at, errno) in (0..total).flat_map(|at| [(at, EIO), (at, ENOSPC)]) {
            let context = format!("seed {seed}, error {errno} at call {at} of {total}");
            let mut asked = Asked::default();
            let mut random = Random(seed);
            let device = Device::new(seed << 32 | at);
            device.fail(at, Fault::Errno(errno));
            let opened = Embedded::open_on(Arc::new(device.clone()), options());
            let told = match &opened {
                Ok(store) => asked.write(store, &mut random, GROUPS).await.err(),
                Err(_) => None,
            };
            if let (Ok(store), Some(told)) = (&opened, told) {
                let failed = device.failed().unwrap_or_else(|| panic!("{context}: nothing failed"));
                let fits = match (errno, &failed) {
                    (ENOSPC, Call::Write) => matches!(told, Error::Full(_)),
                    // Who comes after the one whose sync failed is told that the store has stopped.
                    (ENOSPC, _) => matches!(told, Error::Full(_) | Error::Unavailable(_)),
                    _ => matches!(told, Error::Unavailable(_)),
                };
                assert!(fits, "{context}: {told}");
                let (key, op) = ("/more", Op::Put { value: "more".into(), ttl_s: None });
                match (store.write(key, Expect::Any, op).await, &failed) {
                    // What was half written is gone: the store goes on where it was.
                    (Ok(revision), Call::Write) => {
                        asked.changes.truncate(asked.acknowledged);
                        asked.changes.push((key.into(), Some(b"more".into())));
                        asked.acknowledged += 1;
                        assert_eq!(revision, asked.acknowledged as u64, "{context}");
                    }
                    (Err(Error::Unavailable(why)), Call::Sync | Call::SyncNames) => {
                        assert!(why.contains("must be opened again"), "{context}: {why}");
                    }
                    (answer, call) => panic!("{context}: {answer:?} after a failed {call:?}"),
                }
            }
            drop(opened);
            // How writes share records is a matter of time: the last calls may not have come.
            seen.extend(device.failed());
            device.heal();
            // Opened again on what the process sees, it shows nothing that power can take away.
            drop(asked.recovered(&device, &context).await);
            let device = device.after_power_loss();
            let store = asked.recovered(&device, &context).await;
            asked.write(&store, &mut random, 4).await.unwrap_or_else(|error| panic!("{context}: {error}"));
        }
    }
    assert_eq!(seen, [Call::Write, Call::Sync, Call::Name, Call::SyncNames].into());
}
