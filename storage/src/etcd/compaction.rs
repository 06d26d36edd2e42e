//! Forgetting etcd's past, as every kube-apiserver does (`etcd3/compact.go`): any number of API
//! servers of both makes may do so at once.
//!
//! The key `compact_rev_key` holds the revision compacted last, and its version counts the times. Who
//! finds the version that he knows raises it and compacts to the revision that he saw the time before;
//! who does not was late, and tries again an interval later. So what is younger than one interval stays.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Compare, CompareOp, Txn, TxnOp, TxnOpResponse};

use super::convert::revision_of;
use super::{Etcd, within};
use crate::{Result, Revision, Storage};

const KEY: &str = "compact_rev_key";
/// kube-apiserver's default.
pub const INTERVAL: Duration = Duration::from_secs(300);

/// What is known of the last time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Seen {
    version: i64,
    revision: Revision,
}

impl Etcd {
    /// Compacts every `interval`, or leaves it to whoever did so in the meantime. Never ends.
    pub async fn keep_compacted(self: Arc<Self>, interval: Duration) {
        let mut seen = Seen::default();
        loop {
            tokio::time::sleep(interval).await;
            match self.compact_in_turn(&mut seen).await {
                Ok(Some(revision)) => tracing::debug!(revision, "etcd is compacted"),
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "etcd could not be compacted"),
            }
        }
    }

    /// One turn; answers with what was compacted, if this one did it.
    async fn compact_in_turn(&self, seen: &mut Seen) -> Result<Option<Revision>> {
        let txn = Txn::new()
            .when(vec![Compare::version(KEY, CompareOp::Equal, seen.version)])
            .and_then(vec![TxnOp::put(KEY, seen.revision.to_string(), None)])
            .or_else(vec![TxnOp::get(KEY, None)]);
        let answer = within(self.client().txn(txn)).await?;
        let before = seen.revision;
        seen.revision = revision_of(answer.header());
        if !answer.succeeded() {
            seen.version = answer.op_responses().into_iter().find_map(version).unwrap_or_default();
            return Ok(None);
        }
        seen.version += 1;
        if before == 0 {
            return Ok(None);
        }
        self.compact(before).await?;
        Ok(Some(before))
    }
}

fn version(response: TxnOpResponse) -> Option<i64> {
    match response {
        TxnOpResponse::Get(found) => found.kvs().first().map(etcd_client::KeyValue::version),
        _ => None,
    }
}
