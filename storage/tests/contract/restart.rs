//! A store that ends and starts again.

use skiff_storage::{Expect, Op, Range};

use crate::bed::Bed;
use crate::history::{History, set, told, watched};

pub async fn loses_nothing(mut bed: impl Bed) {
    let mut newest = 0;
    for round in 0..3 {
        let store = bed.store();
        for at in 0..20 {
            let revision = set(&*store, &format!("/{at}"), &format!("{round}")).await;
            assert!(revision > newest, "{revision} after {newest}");
            newest = revision;
        }
        newest = store.write("/7", Expect::Any, Op::Delete).await.unwrap();
        let before = store.list("/", Range::default()).await.unwrap();
        drop(store);
        bed.restart().await;
        let after = bed.store().list("/", Range::default()).await.unwrap();
        assert_eq!((after.revision, after.entries), (newest, before.entries));
    }
}

/// Who followed goes on where it stood, without a gap.
pub async fn lets_watches_go_on(mut bed: impl Bed) {
    let store = bed.store();
    let begin = store.revision().await.unwrap();
    let mut watch = store.watch("/", begin).await.unwrap();
    let mut history = History::default();
    for at in 0..20 {
        let revision = set(&*store, &format!("/{}", at % 3), "before").await;
        history.note(&format!("/{}", at % 3), Some("before".into()), revision);
    }
    let half = begin + 10;
    let mut events = told(&*store, &mut watch, half).await.unwrap();
    drop(watch);
    let seen = events.last().unwrap().revision;
    drop(store);
    bed.restart().await;
    let store = bed.store();
    let revision = set(&*store, "/0", "after").await;
    history.note("/0", Some("after".into()), revision);
    events.extend(watched(&*store, "/", seen, revision).await.unwrap());
    assert_eq!(events, history.after("/", begin));
}
