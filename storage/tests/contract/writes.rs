//! Writes and what they expect.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use skiff_storage::{Entry, Error, Expect, Op, Range, Storage};

use crate::history::{PATIENCE, put, set, told};

pub async fn each_expectation_holds_or_tells_what_is_there(store: Arc<dyn Storage>) {
    // Of a key that is absent, and of one that has just been written.
    type Case = (fn(u64) -> Expect, bool, bool);
    let table: [Case; 5] = [
        (|_| Expect::Any, true, true),
        (|_| Expect::Absent, true, false),
        (|_| Expect::Revision(0), false, false),
        (Expect::Revision, false, true),
        (|live| Expect::Revision(live - 1), false, false),
    ];
    for (round, (expect, if_absent, if_present)) in table.into_iter().enumerate() {
        for delete in [false, true] {
            let op = || if delete { Op::Delete } else { put("new") };
            let absent = format!("/absent/{round}{delete}");
            let newest = set(&*store, "/else", "x").await;
            let case = format!("case {round}, delete {delete}");
            match store.write(&absent, expect(newest), op()).await {
                // An absent key cannot be deleted, whatever is expected.
                Ok(revision) => assert!(if_absent && !delete && revision == newest + 1, "{case}"),
                Err(Error::Mismatch(None)) => assert!(delete || !if_absent, "{case}"),
                Err(other) => panic!("{case}: {other}"),
            }
            let present = format!("/present/{round}{delete}");
            set(&*store, &present, "older").await;
            let live = set(&*store, &present, "old").await;
            let entry = Entry { key: present.clone(), value: "old".into(), revision: live };
            match store.write(&present, expect(live), op()).await {
                Ok(revision) => assert!(if_present && revision == live + 1, "{case}"),
                Err(Error::Mismatch(Some(found))) => assert!(!if_present && found == entry, "{case}"),
                Err(other) => panic!("{case}: {other}"),
            }
            let (now, _) = store.get(&present).await.unwrap();
            let expected = match (if_present, delete) {
                (true, true) => None,
                (true, false) => Some(Bytes::from("new")),
                (false, _) => Some(Bytes::from("old")),
            };
            assert_eq!(now.map(|entry| entry.value), expected, "{case}");
        }
    }
}

pub async fn revisions_rise_by_one_a_write(store: Arc<dyn Storage>) {
    let begin = store.revision().await.unwrap();
    for at in 1..=5 {
        assert_eq!(set(&*store, "/a", "same").await, begin + at);
        let (entry, revision) = store.get("/a").await.unwrap();
        assert_eq!((entry.unwrap().revision, revision), (begin + at, begin + at));
    }
    // A write that is refused is none.
    let _ = store.write("/a", Expect::Absent, put("x")).await.unwrap_err();
    assert_eq!(store.revision().await.unwrap(), begin + 5);
    assert_eq!(store.write("/a", Expect::Any, Op::Delete).await.unwrap(), begin + 6);
}

pub async fn one_of_many_wins(store: Arc<dyn Storage>) {
    for round in 0..10 {
        let key = format!("/{round}");
        let writers = (0..8).map(|writer| {
            let (store, key) = (store.clone(), key.clone());
            tokio::spawn(async move { store.write(&key, Expect::Absent, put(writer.to_string())).await })
        });
        let mut won = Vec::new();
        let mut seen = Vec::new();
        for (at, answer) in futures::future::join_all(writers).await.into_iter().enumerate() {
            match answer.unwrap() {
                Ok(revision) => won.push((at.to_string(), revision)),
                Err(Error::Mismatch(Some(entry))) => seen.push((entry.value, entry.revision)),
                Err(other) => panic!("{other}"),
            }
        }
        let [(value, revision)] = &won[..] else { panic!("{won:?} all won") };
        assert!(seen.iter().all(|entry| *entry == (Bytes::from(value.clone()), *revision)));
    }
}

pub async fn large_values_come_back_whole(store: Arc<dyn Storage>) {
    let begin = store.revision().await.unwrap();
    let mut watch = store.watch("/", begin).await.unwrap();
    // Together more than gRPC's own limit of a message, which is 4 MiB.
    let value = |at: u8| Bytes::from(vec![at; 1 << 20]);
    for at in 0..6 {
        store.write(&format!("/{at}"), Expect::Absent, put(value(at))).await.unwrap();
    }
    let page = store.list("/", Range::default()).await.unwrap();
    let events = told(&*store, &mut watch, page.revision).await.unwrap();
    assert_eq!((page.entries.len(), events.len()), (6, 6));
    for (at, (entry, event)) in (0..).zip(page.entries.iter().zip(&events)) {
        assert!(entry.value == value(at) && event.value == Some(value(at)), "value {at}");
    }
    let Err(Error::Mismatch(Some(entry))) = store.write("/3", Expect::Absent, put("x")).await else {
        panic!("a key was made twice");
    };
    assert!(entry.value == value(3));
    // Empty is a value too.
    set(&*store, "/0", "").await;
    let (entry, _) = store.get("/0").await.unwrap();
    assert_eq!(entry.unwrap().value, "");
}

pub async fn values_end_after_their_time_and_not_before(store: Arc<dyn Storage>) {
    let ttl_s = 2;
    let brief = || Op::Put { value: "brief".into(), ttl_s: Some(ttl_s) };
    let begin = store.revision().await.unwrap();
    let mut watch = store.watch("/brief", begin).await.unwrap();
    store.write("/kept", Expect::Any, brief()).await.unwrap();
    let kept = set(&*store, "/kept", "written anew").await;
    let written = Instant::now();
    let put = store.write("/brief", Expect::Absent, brief()).await.unwrap();
    let deadline = written + PATIENCE;
    while store.get("/brief").await.unwrap().0.is_some() {
        assert!(Instant::now() < deadline, "it never ends");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(written.elapsed() >= Duration::from_secs(ttl_s), "it ended after {:?}", written.elapsed());
    let newest = store.revision().await.unwrap();
    let events = told(&*store, &mut watch, newest).await.unwrap();
    assert_eq!(events.iter().map(|event| event.value.is_some()).collect::<Vec<_>>(), [true, false]);
    assert_eq!(events[1].previous, Some(("brief".into(), put)));
    assert_eq!(store.get("/kept").await.unwrap().0.unwrap().revision, kept);
}
