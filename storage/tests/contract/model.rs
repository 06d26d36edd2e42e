//! A store beside a model too simple to be wrong: a list of all that happened.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use skiff_storage::{Error, Expect, Op, Range, Revision, Storage, Watch};

use crate::bed::Bed;
use crate::history::{History, told};

#[derive(Debug, Clone)]
enum Step {
    Write { key: usize, expect: Wanted, value: Option<String> },
    Get { key: usize },
    List { prefix: usize, back: u64, after: Option<usize>, limit: usize },
    Watch { prefix: usize, back: u64 },
    Compact { back: u64 },
    Restart,
}

#[derive(Debug, Clone, Copy)]
enum Wanted {
    Any,
    Absent,
    Live,
    Older,
}

const KEYS: [&str; 6] = ["/a", "/a/1", "/a/2", "/a1", "/b/1", "/b/2"];
const PREFIXES: [&str; 5] = ["", "/", "/a", "/a/", "/b/"];

fn step() -> impl Strategy<Value = Step> {
    let expect = prop_oneof![
        3 => Just(Wanted::Any),
        2 => Just(Wanted::Absent),
        3 => Just(Wanted::Live),
        1 => Just(Wanted::Older),
    ];
    let value = prop_oneof![3 => "[a-z]{0,4}".prop_map(Some), 1 => Just(None)];
    prop_oneof![
        10 => (0..KEYS.len(), expect, value)
            .prop_map(|(key, expect, value)| Step::Write { key, expect, value }),
        2 => (0..KEYS.len()).prop_map(|key| Step::Get { key }),
        3 => (0..PREFIXES.len(), 0..12u64, proptest::option::of(0..KEYS.len()), 0..4usize)
            .prop_map(|(prefix, back, after, limit)| Step::List { prefix, back, after, limit }),
        3 => (0..PREFIXES.len(), 0..12u64).prop_map(|(prefix, back)| Step::Watch { prefix, back }),
        1 => (0..8u64).prop_map(|back| Step::Compact { back }),
        1 => Just(Step::Restart),
    ]
}

/// Runs random steps on both; a failure names the seed, which `SKIFF_SEED` runs again.
pub fn agrees_with<B: Bed>() {
    let seed = std::env::var("SKIFF_SEED").ok().map_or_else(
        || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64,
        |seed| seed.parse().expect("SKIFF_SEED is a number"),
    );
    let bytes: Vec<u8> = seed.to_le_bytes().repeat(4);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config =
        Config { cases: B::CASES, max_shrink_iters: 200, failure_persistence: None, ..Config::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let bed = std::sync::Mutex::new(runtime.block_on(B::start()));
    let ran = TestRunner::new_with_rng(config, rng).run(&proptest::collection::vec(step(), 1..60), |steps| {
        let mut bed = bed.lock().unwrap();
        runtime.block_on(run(&mut *bed, steps))
    });
    match ran {
        Ok(()) => {}
        Err(TestError::Fail(why, steps)) => panic!("SKIFF_SEED={seed}: {why}\n{steps:#?}"),
        Err(error) => panic!("SKIFF_SEED={seed}: {error}"),
    }
}

struct Run {
    /// The store's revision at the start: no step goes behind it.
    base: Revision,
    history: History,
    newest: Revision,
    /// The newest revision that was compacted.
    compacted: Revision,
    watches: Vec<(&'static str, Revision, Watch)>,
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, store: T, model: T) -> Result<(), TestCaseError> {
    if store == model {
        return Ok(());
    }
    Err(TestCaseError::fail(format!("{what}: the store says {store:?}, the model {model:?}")))
}

async fn run<B: Bed>(bed: &mut B, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut store = bed.store();
    // The cases share a store: each begins with no key and goes no further back than that.
    for entry in store.list("", Range::default()).await.unwrap().entries {
        store.write(&entry.key, Expect::Any, Op::Delete).await.unwrap();
    }
    let base = store.revision().await.unwrap();
    let mut run = Run { base, history: History::default(), newest: base, compacted: 0, watches: Vec::new() };
    for step in steps {
        if !matches!(step, Step::Restart) {
            run.step(&store, step).await?;
        } else if B::RESTARTS {
            run.end_watches(&store).await?;
            drop(store);
            bed.restart().await;
            store = bed.store();
        }
    }
    run.end_watches(&store).await
}

impl Run {
    fn back(&self, back: u64) -> Revision {
        self.newest.saturating_sub(back).max(self.base)
    }

    async fn step(&mut self, store: &Arc<dyn Storage>, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Write { key, expect, value } => self.write(store, KEYS[key], expect, value).await,
            Step::Get { key } => {
                let (entry, revision) = store.get(KEYS[key]).await.unwrap();
                let model = self.history.at("", self.newest).into_iter().find(|entry| entry.key == KEYS[key]);
                same("get", (entry, revision), (model, self.newest))
            }
            Step::List { prefix, back, after, limit } => {
                let at = self.back(back);
                let after = after.map(|key| KEYS[key].to_owned());
                let range = Range { after: after.clone(), limit, at: Some(at) };
                match store.list(PREFIXES[prefix], range).await {
                    Err(Error::Compacted { .. }) if at < self.compacted => Ok(()),
                    Err(error) => Err(TestCaseError::fail(format!("list at {at}: {error}"))),
                    Ok(page) => {
                        let mut model = self.history.at(PREFIXES[prefix], at);
                        model.retain(|entry| after.as_ref().is_none_or(|after| entry.key > *after));
                        let total = model.len();
                        if limit > 0 {
                            model.truncate(limit);
                        }
                        let rest = (total - model.len()) as u64;
                        same(
                            "list",
                            (page.entries, page.more, page.remaining, page.revision),
                            (model, rest > 0, Some(rest), at),
                        )
                    }
                }
            }
            Step::Watch { prefix, back } => {
                let after = self.back(back);
                match store.watch(PREFIXES[prefix], after).await {
                    Ok(watch) => self.watches.push((PREFIXES[prefix], after, watch)),
                    Err(Error::Compacted { .. }) if after < self.compacted => {}
                    Err(error) => return Err(TestCaseError::fail(format!("watch after {after}: {error}"))),
                }
                Ok(())
            }
            Step::Compact { back } => {
                let at = self.back(back);
                store.compact(at).await.map_err(|error| TestCaseError::fail(format!("compact: {error}")))?;
                self.compacted = self.compacted.max(at);
                Ok(())
            }
            Step::Restart => Ok(()),
        }
    }

    async fn write(
        &mut self,
        store: &Arc<dyn Storage>,
        key: &str,
        expect: Wanted,
        value: Option<String>,
    ) -> Result<(), TestCaseError> {
        let live = self.history.at("", self.newest).into_iter().find(|entry| entry.key == key);
        let revision = live.as_ref().map_or(self.newest, |entry| entry.revision);
        let (expect, holds) = match expect {
            Wanted::Any => (Expect::Any, true),
            Wanted::Absent => (Expect::Absent, live.is_none()),
            Wanted::Live => (Expect::Revision(revision), live.is_some()),
            Wanted::Older => (Expect::Revision(revision.saturating_sub(1)), false),
        };
        let value = value.map(Bytes::from);
        let op = value.clone().map_or(Op::Delete, |value| Op::Put { value, ttl_s: None });
        let holds = holds && (value.is_some() || live.is_some());
        match store.write(key, expect, op).await {
            Ok(revision) => {
                same("a write", (true, revision), (holds, self.newest + 1))?;
                self.history.note(key, value, revision);
                self.newest = revision;
                Ok(())
            }
            Err(Error::Mismatch(found)) => same("a write refused", (false, found), (holds, live)),
            Err(error) => Err(TestCaseError::fail(format!("a write: {error}"))),
        }
    }

    /// Each watch has told just what happened, or that it came too late.
    async fn end_watches(&mut self, store: &Arc<dyn Storage>) -> Result<(), TestCaseError> {
        for (prefix, after, mut watch) in self.watches.drain(..) {
            match told(&**store, &mut watch, self.newest).await {
                Ok(mut events) => {
                    let mut model = self.history.after(prefix, after);
                    // What was before may be compacted, though what came is not.
                    for event in events.iter_mut().chain(&mut model) {
                        if event.previous.as_ref().is_some_and(|(_, was)| *was <= self.compacted) {
                            event.previous = None;
                        }
                    }
                    same(&format!("a watch of {prefix:?} after {after}"), events, model)?;
                }
                Err(Error::Compacted { .. }) if after < self.compacted => {}
                Err(error) => {
                    return Err(TestCaseError::fail(format!("a watch of {prefix:?} after {after}: {error}")));
                }
            }
        }
        Ok(())
    }
}
