//! Lists, by pages and at revisions.

use std::sync::Arc;

use skiff_storage::{Error, Expect, Op, Range, Storage};

use crate::history::{History, put, set};

fn keys(page: &skiff_storage::Page) -> Vec<&str> {
    page.entries.iter().map(|entry| &*entry.key).collect()
}

pub async fn pages_show_one_revision_while_keys_change(store: Arc<dyn Storage>) {
    for at in 0..10 {
        set(&*store, &format!("/p/{at}"), "old").await;
    }
    let newest = set(&*store, "/q", "beside").await;
    let first = store.list("/p/", Range { limit: 4, ..Range::default() }).await.unwrap();
    assert_eq!((first.revision, first.more, first.remaining), (newest, true, Some(6)));
    assert_eq!(keys(&first), ["/p/0", "/p/1", "/p/2", "/p/3"]);

    set(&*store, "/p/45", "new").await;
    set(&*store, "/p/5", "new").await;
    store.write("/p/6", Expect::Any, Op::Delete).await.unwrap();
    let range = Range { after: Some("/p/3".into()), limit: 4, at: Some(first.revision) };
    let second = store.list("/p/", range.clone()).await.unwrap();
    assert_eq!((second.revision, second.more, second.remaining), (newest, true, Some(2)));
    assert_eq!(keys(&second), ["/p/4", "/p/5", "/p/6", "/p/7"]);
    assert!(second.entries.iter().all(|entry| entry.value == "old" && entry.revision <= newest));
    let range = Range { after: Some("/p/7".into()), ..range };
    let last = store.list("/p/", range).await.unwrap();
    assert_eq!((keys(&last), last.more, last.remaining), (vec!["/p/8", "/p/9"], false, Some(0)));

    let now = store.list("/p/", Range::default()).await.unwrap();
    assert_eq!((now.entries.len(), now.more, now.revision), (10, false, newest + 3));
}

pub async fn every_past_revision_can_be_listed(store: Arc<dyn Storage>) {
    let mut history = History::default();
    for at in 0..20 {
        let key = format!("/{}", at % 4);
        let (op, value) = match at % 5 {
            4 => (Op::Delete, None),
            _ => (put(at.to_string()), Some(at.to_string().into())),
        };
        if let Ok(revision) = store.write(&key, Expect::Any, op).await {
            history.note(&key, value, revision);
        }
    }
    for event in &history.0 {
        let at = event.revision;
        let page = store.list("/", Range { at: Some(at), ..Range::default() }).await.unwrap();
        assert_eq!((page.revision, page.entries), (at, history.at("/", at)));
    }
}

pub async fn the_future_is_refused(store: Arc<dyn Storage>) {
    let newest = set(&*store, "/a", "1").await;
    let asked = newest + 1;
    let listed = store.list("/", Range { at: Some(asked), ..Range::default() }).await;
    assert!(matches!(listed, Err(Error::Future { asked: at, newest: now }) if (at, now) == (asked, newest)));
}

pub async fn prefixes_end_where_their_keys_end(store: Arc<dyn Storage>) {
    for key in ["/a", "/a/", "/a/b", "/a/b/c", "/a0", "/ab", "/b", "0", "ä/ö"] {
        set(&*store, key, key).await;
    }
    let table: &[(&str, Option<&str>, &[&str])] = &[
        ("/a/", None, &["/a/", "/a/b", "/a/b/c"]),
        ("/a", None, &["/a", "/a/", "/a/b", "/a/b/c", "/a0", "/ab"]),
        ("/a/b", None, &["/a/b", "/a/b/c"]),
        ("/a/", Some("/a/"), &["/a/b", "/a/b/c"]),
        ("/a/", Some("/a/b"), &["/a/b/c"]),
        ("/a/", Some("/a/b/c"), &[]),
        ("/a/", Some("/"), &["/a/", "/a/b", "/a/b/c"]),
        ("/a/", Some("/b"), &[]),
        ("ä", None, &["ä/ö"]),
        ("/x", None, &[]),
        ("", None, &["/a", "/a/", "/a/b", "/a/b/c", "/a0", "/ab", "/b", "0", "ä/ö"]),
    ];
    for (prefix, after, expected) in table {
        let range = Range { after: after.map(str::to_owned), ..Range::default() };
        let page = store.list(prefix, range).await.unwrap();
        assert_eq!(keys(&page), *expected, "{prefix} after {after:?}");
    }
}
