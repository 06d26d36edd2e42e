//! Forgetting the past.

use std::sync::Arc;

use skiff_storage::{Error, Expect, Op, Range, Storage};

use crate::history::{History, put, set, told, watched};

pub async fn forgets_the_past_and_keeps_the_present(store: Arc<dyn Storage>) {
    let first = set(&*store, "/a", "1").await;
    let second = set(&*store, "/a", "2").await;
    let third = set(&*store, "/b", "3").await;
    store.compact(second).await.unwrap();
    for (at, forgotten) in [(first, true), (second, false), (third, false)] {
        let listed = store.list("/", Range { at: Some(at), ..Range::default() }).await;
        let watched = watched(&*store, "/", at, third).await;
        for (what, error) in [("list", listed.err()), ("watch", watched.err())] {
            match error {
                None => assert!(!forgotten, "{what} at {at}"),
                Some(Error::Compacted { asked, oldest }) => {
                    assert!(forgotten && asked == at && oldest > at, "{what} at {at}: {asked}, {oldest}");
                }
                Some(other) => panic!("{what} at {at}: {other}"),
            }
        }
    }
    let (entry, _) = store.get("/a").await.unwrap();
    assert_eq!(entry.unwrap().value, "2");
}

pub async fn again_is_no_error_and_of_the_future_is_one(store: Arc<dyn Storage>) {
    set(&*store, "/a", "1").await;
    let newest = set(&*store, "/a", "2").await;
    for _ in 0..2 {
        store.compact(newest).await.unwrap();
        store.compact(newest - 1).await.unwrap();
    }
    assert!(matches!(
        store.compact(newest + 1).await,
        Err(Error::Future { asked, .. }) if asked == newest + 1
    ));
}

/// A watch from anywhere tells all that came after, or that it cannot; a delete at the very
/// revision that was compacted included.
pub async fn never_leaves_a_gap_in_a_watch(store: Arc<dyn Storage>) {
    let begin = store.revision().await.unwrap();
    let mut history = History::default();
    for at in 0..12 {
        let key = format!("/{}", at % 3);
        let revision = if at % 4 == 3 {
            let key = format!("/{}", (at - 1) % 3);
            let revision = store.write(&key, Expect::Any, Op::Delete).await.unwrap();
            history.note(&key, None, revision);
            revision
        } else {
            let revision = store.write(&key, Expect::Any, put("x")).await.unwrap();
            history.note(&key, Some("x".into()), revision);
            revision
        };
        assert!(revision > begin);
    }
    let newest = store.revision().await.unwrap();
    for compacted in begin + 1..=newest {
        // One that is open already has been told all, or is told that it is too late.
        let mut open = store.watch("/", compacted - 1).await.unwrap();
        store.compact(compacted).await.unwrap();
        for (after, answer) in [
            (compacted - 1, told(&*store, &mut open, newest).await),
            (compacted - 1, watched(&*store, "/", compacted - 1, newest).await),
            (compacted, watched(&*store, "/", compacted, newest).await),
        ] {
            match answer {
                Ok(events) => {
                    let keys = |events: &[skiff_storage::Event]| -> Vec<_> {
                        events.iter().map(|event| (event.key.clone(), event.revision)).collect()
                    };
                    assert_eq!(keys(&events), keys(&history.after("/", after)), "after {after}");
                }
                Err(Error::Compacted { .. }) => assert!(after < compacted, "after {after}"),
                Err(other) => panic!("{other}"),
            }
        }
    }
}
