//! Several API servers that keep one etcd compacted.

use std::time::{Duration, Instant};

use skiff_storage::{Error, Range};

use crate::bed::{Bed, EtcdBed};
use crate::history::{PATIENCE, set, watched};

const INTERVAL: Duration = Duration::from_millis(600);

#[tokio::test(flavor = "multi_thread")]
async fn several_api_servers_compact_in_turn_and_keep_one_interval() {
    let bed = EtcdBed::start().await;
    let store = bed.store();
    let begin = store.revision().await.unwrap();
    let started = Instant::now();
    let mut compactors = Vec::new();
    for _ in 0..3 {
        compactors.push(tokio::spawn(bed.client().await.keep_compacted(INTERVAL)));
    }
    let listed = |at| store.list("/", Range { at: Some(at), ..Range::default() });

    let first = set(&*store, "/a", "1").await;
    // What was just written can be had for an interval, and not for ever.
    while listed(first).await.is_ok() {
        let (fresh, written) = (set(&*store, "/a", "x").await, Instant::now());
        tokio::time::sleep(INTERVAL / 4).await;
        match listed(fresh).await {
            Ok(_) => {}
            Err(Error::Compacted { .. }) => assert!(written.elapsed() > INTERVAL, "compacted too early"),
            Err(other) => panic!("{other}"),
        }
        assert!(started.elapsed() < PATIENCE, "nothing is compacted");
    }
    // One of them at a time: not three times as often.
    tokio::time::sleep(INTERVAL * 4).await;
    for compactor in compactors {
        assert!(!compactor.is_finished());
        compactor.abort();
    }
    let newest = store.revision().await.unwrap();
    let (entry, _) = store.get("compact_rev_key").await.unwrap();
    let compacted: u64 = std::str::from_utf8(&entry.unwrap().value).unwrap().parse().unwrap();
    assert!(compacted > begin && compacted < newest, "{compacted}");
    assert!(matches!(listed(compacted - 1).await, Err(Error::Compacted { .. })));
    let times = watched(&*store, "compact_rev_key", compacted, newest).await.unwrap().len();
    let intervals = started.elapsed().as_millis() / INTERVAL.as_millis();
    assert!(times > 0 && times as u128 <= intervals, "{times} times in {intervals} intervals");
}
