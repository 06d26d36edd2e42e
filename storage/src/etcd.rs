//! The store in an etcd cluster, with the keys exactly as they are given.
//!
//! A write is one transaction on the key's `mod_revision`. Values that end share leases by the
//! minute, as upstream's do, so that a thousand events do not make a thousand leases.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use etcd_client::{
    Client, Compare, CompareOp, ConnectOptions, DeleteOptions, EventType, GetOptions, KeyValue, PutOptions,
    TlsOptions, Txn, TxnOp, TxnOpResponse, WatchOptions, WatchResponse, WatchStream,
};
use futures::stream;
use tokio::sync::watch;

use crate::{Entry, Error, Event, Expect, Notice, Op, Page, Range, Result, Revision, Storage, Watch};

/// How long reaching the cluster may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a call may take.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How long a lease is shared.
const LEASE_SHARED: Duration = Duration::from_secs(60);
/// gRPC's own limit is too low for a page of large objects.
const MESSAGE_MAX: usize = 256 << 20;

/// A store in etcd.
pub struct Etcd {
    client: Client,
    progress: Arc<watch::Sender<u64>>,
    /// Whether this etcd answers progress requests in order with events.
    trusts_progress: bool,
    lease: Mutex<Option<Lease>>,
}

#[derive(Clone, Copy)]
struct Lease {
    id: i64,
    ttl_s: u64,
    made: Instant,
}

impl Etcd {
    /// Connects to the cluster at `endpoints`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if none of them answers.
    pub async fn connect(endpoints: &[String], tls: Option<TlsOptions>) -> Result<Self> {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(CONNECT)
            .with_keep_alive(Duration::from_secs(10), CONNECT);
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
        let progress = Arc::new(watch::Sender::new(0));
        Ok(Self { client, progress, trusts_progress: trusts_progress(&version), lease: Mutex::new(None) })
    }

    fn client(&self) -> Client {
        self.client.clone()
    }

    /// A lease for values that live `ttl_s` seconds: a shared one, a little longer.
    async fn lease(&self, ttl_s: u64) -> Result<i64> {
        let shared = *self.lease.lock().expect("no holder of this lock panics");
        if let Some(lease) = shared
            && lease.ttl_s == ttl_s
            && lease.made.elapsed() < LEASE_SHARED
        {
            return Ok(lease.id);
        }
        let seconds = i64::try_from(ttl_s + LEASE_SHARED.as_secs()).unwrap_or(i64::MAX);
        let grant = within(self.client().lease_grant(seconds, None)).await?;
        let lease = Lease { id: grant.id(), ttl_s, made: Instant::now() };
        *self.lease.lock().expect("no holder of this lock panics") = Some(lease);
        Ok(lease.id)
    }
}

/// Earlier versions may answer a progress request before events that came before it.
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

fn failed(error: &etcd_client::Error) -> Error {
    Error::Unavailable(error.to_string())
}

/// As [`failed`], for reads at a revision.
fn failed_at(error: Error, asked: Revision, newest: Revision) -> Error {
    match error {
        Error::Unavailable(text) if text.contains("has been compacted") => {
            Error::Compacted { asked, oldest: newest }
        }
        Error::Unavailable(text) if text.contains("future revision") => Error::Future { asked, newest },
        other => other,
    }
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn entry(kv: &KeyValue) -> Entry {
    Entry {
        key: String::from_utf8_lossy(kv.key()).into_owned(),
        value: kv.value().to_vec().into(),
        revision: unsigned(kv.mod_revision()),
    }
}

fn revision_of(header: Option<&etcd_client::ResponseHeader>) -> Revision {
    header.map_or(0, |header| unsigned(header.revision()))
}

/// The key behind all keys with a prefix.
fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

#[async_trait::async_trait]
impl Storage for Etcd {
    async fn get(&self, key: &str) -> Result<(Option<Entry>, Revision)> {
        let answer = within(self.client().get(key, None)).await?;
        Ok((answer.kvs().first().map(entry), revision_of(answer.header())))
    }

    async fn list(&self, prefix: &str, range: Range) -> Result<Page> {
        let mut options = GetOptions::new().with_range(end_of(prefix)).with_limit(signed(range.limit as u64));
        if let Some(at) = range.at {
            options = options.with_revision(signed(at));
        }
        // The first key behind `after` is `after` with a zero byte.
        let start = range.after.map_or_else(|| prefix.to_owned(), |after| format!("{after}\0"));
        let mut client = self.client.kv_client().max_decoding_message_size(MESSAGE_MAX);
        let answer = match within(client.get(start, Some(options))).await {
            Ok(answer) => answer,
            Err(error) => {
                let newest = self.revision().await?;
                return Err(failed_at(error, range.at.unwrap_or(0), newest));
            }
        };
        let entries: Vec<Entry> = answer.kvs().iter().map(entry).collect();
        let remaining = unsigned(answer.count()).saturating_sub(entries.len() as u64);
        let revision = range.at.unwrap_or_else(|| revision_of(answer.header()));
        Ok(Page { revision, entries, more: answer.more(), remaining: Some(remaining) })
    }

    async fn write(&self, key: &str, expect: Expect, op: Op) -> Result<Revision> {
        let delete = op == Op::Delete;
        let compare = match expect {
            Expect::Any if delete => vec![Compare::version(key, CompareOp::Greater, 0)],
            Expect::Any => Vec::new(),
            Expect::Absent => vec![Compare::version(key, CompareOp::Equal, 0)],
            Expect::Revision(revision) => {
                vec![Compare::mod_revision(key, CompareOp::Equal, signed(revision))]
            }
        };
        let change = match op {
            Op::Put { value, ttl_s } => {
                let options = match ttl_s {
                    Some(ttl_s) => Some(PutOptions::new().with_lease(self.lease(ttl_s).await?)),
                    None => None,
                };
                TxnOp::put(key, value.to_vec(), options)
            }
            Op::Delete => TxnOp::delete(key, Some(DeleteOptions::new())),
        };
        let txn = Txn::new().when(compare).and_then(vec![change]).or_else(vec![TxnOp::get(key, None)]);
        let answer = within(self.client().txn(txn)).await?;
        if answer.succeeded() {
            return Ok(revision_of(answer.header()));
        }
        let live = answer.op_responses().into_iter().find_map(|response| match response {
            TxnOpResponse::Get(found) => found.kvs().first().map(entry),
            _ => None,
        });
        Err(Error::Mismatch(live))
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch> {
        let newest = self.revision().await?;
        if after > newest {
            return Err(Error::Future { asked: after, newest });
        }
        let options = WatchOptions::new()
            .with_range(end_of(prefix))
            .with_start_revision(signed(after + 1))
            .with_prev_key()
            .with_progress_notify();
        let mut watch_client = self.client.watch_client().max_decoding_message_size(MESSAGE_MAX);
        let stream = within(watch_client.watch(prefix, Some(options))).await?;
        let watcher = Watcher { stream, nudges: self.progress.subscribe(), after, ended: false };
        Ok(Box::pin(stream::unfold(watcher, |mut watcher| async move {
            let notice = watcher.next().await?;
            watcher.ended |= notice.is_err();
            Some((notice, watcher))
        })))
    }

    async fn revision(&self) -> Result<Revision> {
        let options = GetOptions::new().with_count_only();
        let answer = within(self.client().get("/registry/health", Some(options))).await?;
        Ok(revision_of(answer.header()))
    }

    async fn request_progress(&self) -> Result<()> {
        if self.trusts_progress {
            self.progress.send_modify(|count| *count += 1);
        }
        Ok(())
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        within(self.client().compact(signed(revision), None)).await.map(|_| ())
    }
}

struct Watcher {
    stream: WatchStream,
    nudges: watch::Receiver<u64>,
    after: Revision,
    ended: bool,
}

impl Watcher {
    async fn next(&mut self) -> Option<Result<Notice>> {
        if self.ended {
            return None;
        }
        loop {
            let message = tokio::select! {
                message = self.stream.message() => message,
                Ok(()) = self.nudges.changed() => {
                    if let Err(error) = self.stream.request_progress().await {
                        return Some(Err(failed(&error)));
                    }
                    continue;
                }
            };
            match message {
                Ok(Some(response)) => match self.read(&response) {
                    Some(notice) => return Some(notice),
                    None => continue,
                },
                Ok(None) => return Some(Err(Error::Unavailable("etcd ended the watch".into()))),
                Err(error) => return Some(Err(failed(&error))),
            }
        }
    }

    fn read(&mut self, response: &WatchResponse) -> Option<Result<Notice>> {
        if response.compact_revision() > 0 {
            let oldest = unsigned(response.compact_revision());
            return Some(Err(Error::Compacted { asked: self.after, oldest }));
        }
        if response.canceled() {
            return Some(Err(Error::Unavailable(format!(
                "etcd ended the watch: {}",
                response.cancel_reason()
            ))));
        }
        let events: Vec<Event> = response.events().iter().filter_map(event).collect();
        if let Some(last) = events.last() {
            self.after = last.revision;
            return Some(Ok(Notice::Events(events)));
        }
        // The answer to the watch's creation carries a revision too, but promises nothing.
        let revision = revision_of(response.header());
        if response.created() || revision < self.after {
            return None;
        }
        self.after = revision;
        Some(Ok(Notice::Progress(revision)))
    }
}

fn event(event: &etcd_client::Event) -> Option<Event> {
    let kv = event.kv()?;
    let previous = event.prev_kv().map(entry).map(|entry| (entry.value, entry.revision));
    Some(Event {
        key: String::from_utf8_lossy(kv.key()).into_owned(),
        revision: unsigned(kv.mod_revision()),
        value: (event.event_type() == EventType::Put).then(|| kv.value().to_vec().into()),
        previous,
    })
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

    #[test]
    fn a_prefix_ends_before_its_successor() {
        assert_eq!(end_of("/registry/"), b"/registry0");
    }
}
