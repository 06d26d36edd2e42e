//! Watches.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use skiff_storage::{Error, Event, Expect, Notice, Op, Storage};

use crate::history::{History, PATIENCE, put, set, told, watched};

/// A history of some writes on two prefixes.
async fn some(store: &dyn Storage, history: &mut History, from: u64) {
    for at in from..from + 10 {
        let key = format!("/{}/{}", at % 2, at % 3);
        let value = at.to_string();
        let revision = set(store, &key, &value).await;
        history.note(&key, Some(value.into()), revision);
        if at % 4 == 0 {
            let revision = store.write(&key, Expect::Revision(revision), Op::Delete).await.unwrap();
            history.note(&key, None, revision);
        }
    }
}

pub async fn tell_all_that_came_after_their_beginning(store: Arc<dyn Storage>) {
    let begin = store.revision().await.unwrap();
    let mut history = History::default();
    some(&*store, &mut history, 0).await;
    let past = store.revision().await.unwrap();
    let mut open = Vec::new();
    for after in begin..=past {
        for prefix in ["/", "/0/", "/1/2"] {
            open.push((prefix, after, store.watch(prefix, after).await.unwrap()));
        }
    }
    some(&*store, &mut history, 10).await;
    let newest = store.revision().await.unwrap();
    for (prefix, after, mut watch) in open {
        let events = told(&*store, &mut watch, newest).await.unwrap();
        assert_eq!(events, history.after(prefix, after), "{prefix} after {after}");
    }
}

pub async fn begin_at_once_or_are_refused(store: Arc<dyn Storage>) {
    let newest = set(&*store, "/a", "1").await;
    let refused = store.watch("/", newest + 1).await.err();
    assert!(
        matches!(refused, Some(Error::Future { asked, newest: now }) if (asked, now) == (newest + 1, newest))
    );
    // What is written once the call has answered is told, though nobody has asked the watch yet.
    let mut watch = store.watch("/", newest).await.unwrap();
    let next = set(&*store, "/a", "2").await;
    let events = told(&*store, &mut watch, next).await.unwrap();
    assert_eq!(events.iter().map(|event| event.revision).collect::<Vec<_>>(), [next]);
}

pub async fn tell_values_before_and_after(store: Arc<dyn Storage>) {
    let begin = store.revision().await.unwrap();
    let made = set(&*store, "/a", "1").await;
    let changed = set(&*store, "/a", "2").await;
    let gone = store.write("/a", Expect::Any, Op::Delete).await.unwrap();
    let again = set(&*store, "/a", "3").await;
    let event = |revision, value: Option<&'static str>, previous: Option<(&'static str, u64)>| Event {
        key: "/a".into(),
        revision,
        value: value.map(Into::into),
        previous: previous.map(|(value, revision)| (value.into(), revision)),
    };
    assert_eq!(
        watched(&*store, "/", begin, again).await.unwrap(),
        [
            event(made, Some("1"), None),
            event(changed, Some("2"), Some(("1", made))),
            event(gone, None, Some(("2", changed))),
            event(again, Some("3"), None),
        ]
    );
}

/// Many writers, and watchers that begin while they write.
pub async fn deliver_each_change_once_and_in_order(store: Arc<dyn Storage>) {
    let begin = store.revision().await.unwrap();
    let writers = (0..4u64).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut written = Vec::new();
            for at in 0..50 {
                let key = format!("/{}", (writer + at) % 7);
                let value = format!("{writer}.{at}");
                written.push((set(&*store, &key, &value).await, key, value));
            }
            written
        })
    });
    let writers = futures::future::join_all(writers);
    let watchers = async {
        let mut open = Vec::new();
        for _ in 0..10 {
            let after = store.revision().await.unwrap();
            open.push((after, store.watch("/", after).await.unwrap()));
            tokio::task::yield_now().await;
        }
        open
    };
    let (written, mut open) = tokio::join!(writers, watchers);
    open.push((begin, store.watch("/", begin).await.unwrap()));
    let mut written: Vec<_> = written.into_iter().flat_map(Result::unwrap).collect();
    written.sort();
    let mut history = History::default();
    for (revision, key, value) in written {
        history.note(&key, Some(value.into()), revision);
    }
    let newest = store.revision().await.unwrap();
    assert_eq!((history.0.len() as u64, history.0.last().unwrap().revision), (newest - begin, newest));
    for (after, mut watch) in open {
        assert_eq!(told(&*store, &mut watch, newest).await.unwrap(), history.after("/", after));
    }
}

pub async fn quiet_ones_are_told_how_far_the_store_is(store: Arc<dyn Storage>) {
    let begin = store.revision().await.unwrap();
    let mut watch = store.watch("/quiet/", begin).await.unwrap();
    let newest = set(&*store, "/loud", "x").await;
    assert_eq!(told(&*store, &mut watch, newest).await.unwrap(), []);
    let own = set(&*store, "/quiet/a", "x").await;
    let newest = set(&*store, "/loud", "y").await;
    let events = told(&*store, &mut watch, newest).await.unwrap();
    assert_eq!(events.iter().map(|event| event.revision).collect::<Vec<_>>(), [own]);
}

pub async fn a_question_for_progress_is_answered_whenever_it_comes(store: Arc<dyn Storage>) {
    let begin = set(&*store, "/a", "1").await;
    let mut watch = store.watch("/", begin).await.unwrap();
    let newest = set(&*store, "/a", "2").await;
    told(&*store, &mut watch, newest).await.unwrap();
    for asked_before_waiting in [true, false, true] {
        // Whatever was still to be told has been.
        while let Ok(notice) = tokio::time::timeout(Duration::from_millis(100), watch.next()).await {
            notice.unwrap().unwrap();
        }
        let answer = if asked_before_waiting {
            store.request_progress().await.unwrap();
            tokio::time::timeout(PATIENCE, watch.next()).await
        } else {
            let (answer, asked) =
                tokio::join!(tokio::time::timeout(PATIENCE, watch.next()), store.request_progress());
            asked.unwrap();
            answer
        };
        let notice = answer.expect("the question is answered").unwrap().unwrap();
        assert_eq!(notice, Notice::Progress(newest), "asked before: {asked_before_waiting}");
    }
}

/// Nobody reads the watch while much is written and some of it compacted.
pub async fn slow_ones_lose_nothing_or_end(store: Arc<dyn Storage>) {
    let begin = store.revision().await.unwrap();
    let mut watch = store.watch("/", begin).await.unwrap();
    let value = "x".repeat(10_000);
    for round in 0..20 {
        let writes = (0..100).map(|at| {
            let (store, value) = (store.clone(), value.clone());
            async move { store.write(&format!("/{at}"), Expect::Any, put(value)).await.unwrap() }
        });
        futures::future::join_all(writes).await;
        if round == 10 {
            let newest = store.revision().await.unwrap();
            store.compact(newest - 150).await.unwrap();
        }
    }
    let newest = store.revision().await.unwrap();
    match told(&*store, &mut watch, newest).await {
        Ok(events) => {
            let revisions: Vec<u64> = events.iter().map(|event| event.revision).collect();
            assert_eq!(revisions, (begin + 1..=newest).collect::<Vec<_>>());
        }
        Err(Error::Compacted { .. }) => {}
        Err(other) => panic!("{other}"),
    }
}
