//! The store in an etcd cluster, with the keys exactly as they are given.
//!
//! A write is one transaction on the key's `mod_revision`. Nothing is kept here but leases that
//! values share: etcd has everything else, and several API servers may use it at once.

mod compaction;
mod convert;
mod lease;
mod watcher;

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{
    Client, Compare, CompareOp, ConnectOptions, DeleteOptions, GetOptions, PutOptions, TlsOptions, Txn,
    TxnOp, TxnOpResponse,
};
use tokio::sync::watch;

use crate::{Error, Expect, Op, Page, Range, Result, Revision, Storage, Watch};
use convert::{end_of, entry, failed, failed_at, revision_of, signed, start_of, unsigned};
use lease::Leases;

pub use compaction::INTERVAL as COMPACTION_INTERVAL;

/// How long reaching the cluster may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a call may take.
const TIMEOUT: Duration = Duration::from_secs(20);
/// gRPC's own limit is too low for a page of large objects.
const MESSAGE_MAX: usize = 256 << 20;

/// A store in etcd.
pub struct Etcd {
    client: Client,
    nudges: Arc<watch::Sender<u64>>,
    trusts_progress: bool,
    leases: Leases,
}

impl Etcd {
    /// Connects to the cluster at `endpoints`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if none of them answers.
    pub async fn connect(endpoints: &[impl AsRef<str>], tls: Option<TlsOptions>) -> Result<Self> {
        // A member that has lost its leader ends watches rather than letting them stand still.
        let mut options = ConnectOptions::new()
            .with_connect_timeout(CONNECT)
            .with_keep_alive(Duration::from_secs(10), CONNECT)
            .with_require_leader(true);
        if let Some(tls) = tls {
            options = options.with_tls(tls);
        }
        let connect = async {
            let mut client = Client::connect(endpoints, Some(options)).await?;
            let status = client.status().await?;
            Ok::<_, etcd_client::Error>((client, status.version().to_owned()))
        };
        let connected = tokio::time::timeout(CONNECT, connect).await;
        let (client, version) = connected
            .map_err(|_| Error::Unavailable(format!("no answer within {} s", CONNECT.as_secs())))?
            .map_err(|error| failed(&error))?;
        Ok(Self {
            client,
            nudges: Arc::default(),
            trusts_progress: trusts_progress(&version),
            leases: Leases::default(),
        })
    }

    fn client(&self) -> Client {
        self.client.clone()
    }

    async fn change(&self, key: &str, expect: Expect, op: &Op) -> Result<Revision> {
        let exists = Compare::version(key, CompareOp::Greater, 0);
        let mut compare = match expect {
            Expect::Any => Vec::new(),
            Expect::Absent => vec![Compare::version(key, CompareOp::Equal, 0)],
            // etcd says 0 of an absent key.
            Expect::Revision(revision) => {
                vec![Compare::mod_revision(key, CompareOp::Equal, signed(revision)), exists.clone()]
            }
        };
        let change = match op {
            Op::Put { value, ttl_s } => {
                let options = match ttl_s {
                    Some(ttl_s) => {
                        let lease = self.leases.of(self.client(), *ttl_s).await?;
                        Some(PutOptions::new().with_lease(lease))
                    }
                    None => None,
                };
                TxnOp::put(key, value.to_vec(), options)
            }
            Op::Delete => {
                compare.push(exists);
                TxnOp::delete(key, Some(DeleteOptions::new()))
            }
        };
        let txn = Txn::new().when(compare).and_then(vec![change]).or_else(vec![TxnOp::get(key, None)]);
        let mut client = self.client.kv_client().max_decoding_message_size(MESSAGE_MAX);
        let answer = within(client.txn(txn)).await?;
        if answer.succeeded() {
            return Ok(revision_of(answer.header()));
        }
        let live = answer.op_responses().into_iter().find_map(|response| match response {
            TxnOpResponse::Get(found) => found.kvs().first().map(entry),
            _ => None,
        });
        Err(Error::Mismatch(live))
    }
}

/// Whether progress requests are answered in order with events: earlier versions may answer one before
/// events that came before it. Kubernetes draws the line here too.
fn trusts_progress(version: &str) -> bool {
    let mut parts = version.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    matches!(version, (3, 4, 31..) | (3, 5, 13..) | (3, 6.., _) | (4.., _, _))
}

async fn within<T>(call: impl Future<Output = std::result::Result<T, etcd_client::Error>>) -> Result<T> {
    match tokio::time::timeout(TIMEOUT, call).await {
        Ok(answer) => answer.map_err(|error| failed(&error)),
        Err(_) => Err(Error::Unavailable(format!("etcd did not answer within {} s", TIMEOUT.as_secs()))),
    }
}

#[async_trait::async_trait]
impl Storage for Etcd {
    async fn get(&self, key: &str) -> Result<(Option<crate::Entry>, Revision)> {
        let mut client = self.client.kv_client().max_decoding_message_size(MESSAGE_MAX);
        let answer = within(client.get(key, None)).await?;
        Ok((answer.kvs().first().map(entry), revision_of(answer.header())))
    }

    async fn list(&self, prefix: &str, range: Range) -> Result<Page> {
        let mut options = GetOptions::new().with_range(end_of(prefix)).with_limit(signed(range.limit as u64));
        if let Some(at) = range.at {
            options = options.with_revision(signed(at));
        }
        // The first key behind `after` is `after` with a zero byte.
        let start = match range.after {
            Some(after) if *after >= *prefix => format!("{after}\0").into_bytes(),
            _ => start_of(prefix),
        };
        let mut client = self.client.kv_client().max_decoding_message_size(MESSAGE_MAX);
        let answer = match within(client.get(start, Some(options))).await {
            Ok(answer) => answer,
            Err(error) => {
                let newest = self.revision().await?;
                return Err(failed_at(error, range.at.unwrap_or(0), newest));
            }
        };
        let entries: Vec<crate::Entry> = answer.kvs().iter().map(entry).collect();
        let remaining = unsigned(answer.count()).saturating_sub(entries.len() as u64);
        let revision = range.at.unwrap_or_else(|| revision_of(answer.header()));
        Ok(Page { revision, entries, more: answer.more(), remaining: Some(remaining) })
    }

    async fn write(&self, key: &str, expect: Expect, op: Op) -> Result<Revision> {
        match self.change(key, expect, &op).await {
            // The shared lease is gone, with all that had it: nothing was written.
            Err(Error::Unavailable(text)) if text.contains("requested lease not found") => {
                self.leases.forget();
                self.change(key, expect, &op).await
            }
            answer => answer,
        }
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch> {
        let newest = self.revision().await?;
        if after > newest {
            return Err(Error::Future { asked: after, newest });
        }
        watcher::open(self, prefix, after, newest).await
    }

    async fn revision(&self) -> Result<Revision> {
        let options = GetOptions::new().with_count_only();
        let answer = within(self.client().get("/registry/health", Some(options))).await?;
        Ok(revision_of(answer.header()))
    }

    async fn request_progress(&self) -> Result<()> {
        self.nudges.send_modify(|count| *count += 1);
        Ok(())
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        match within(self.client().compact(signed(revision), None)).await {
            Ok(_) => Ok(()),
            Err(error) => match failed_at(error, revision, self.revision().await?) {
                Error::Compacted { .. } => Ok(()),
                other => Err(other),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_trusted_where_upstream_trusts_it() {
        let table = [
            ("3.4.23", false),
            ("3.4.31", true),
            ("3.5.12", false),
            ("3.5.13", true),
            ("3.6.0", true),
            ("", false),
        ];
        for (version, expected) in table {
            assert_eq!(trusts_progress(version), expected, "{version}");
        }
    }
}
