//! A watch of etcd.
//!
//! On versions whose answers to progress requests are not trusted, the watch covers every key there is
//! and keeps to itself those outside its prefix: each revision of etcd is the revision of some event, so
//! that the watch tells its progress by itself, whoever else writes to that etcd.

use std::time::Duration;

use etcd_client::{GetOptions, WatchClient, WatchOptions, WatchResponse, WatchStream};
use futures::stream;
use tokio::sync::watch;

use super::convert::{end_of, event, failed, failed_at, revision_of, signed, start_of, unsigned};
use super::{Etcd, MESSAGE_MAX, within};
use crate::{Error, Event, Notice, Result, Revision, Watch};

/// How often a watch that waits for history looks whether it is still there.
const HISTORY_CHECK: Duration = Duration::from_millis(500);

/// Begins a watch after a revision that has happened; `newest` is one that the store had reached.
pub async fn open(store: &Etcd, prefix: &str, after: Revision, newest: Revision) -> Result<Watch> {
    let covered = if store.trusts_progress { prefix } else { "" };
    let options = WatchOptions::new()
        .with_range(end_of(covered))
        .with_start_revision(signed(after + 1))
        .with_prev_key()
        .with_progress_notify();
    let nudges = store.nudges.subscribe();
    let mut client: WatchClient = store.client.watch_client().max_decoding_message_size(MESSAGE_MAX);
    let stream = within(client.watch(start_of(covered), Some(options))).await?;
    let watcher = Watcher {
        stream,
        nudges,
        trusts_progress: store.trusts_progress,
        client: store.client(),
        prefix: prefix.to_owned(),
        after,
        told: after,
        history_until: newest,
        ended: false,
    };
    if after < newest {
        watcher.still_there().await?;
    }
    Ok(Box::pin(stream::unfold(watcher, |mut watcher| async move {
        let notice = watcher.next().await?;
        watcher.ended |= notice.is_err();
        Some((notice, watcher))
    })))
}

struct Watcher {
    stream: WatchStream,
    nudges: watch::Receiver<u64>,
    trusts_progress: bool,
    client: etcd_client::Client,
    prefix: String,
    /// Everything up to here was received.
    after: Revision,
    /// Everything up to here was told.
    told: Revision,
    /// Events up to here come from etcd's history.
    history_until: Revision,
    ended: bool,
}

impl Watcher {
    async fn next(&mut self) -> Option<Result<Notice>> {
        if self.ended {
            return None;
        }
        loop {
            if self.told < self.after {
                self.told = self.after;
                return Some(Ok(Notice::Progress(self.after)));
            }
            let message = tokio::select! {
                message = self.stream.message() => message,
                Ok(()) = self.nudges.changed() => {
                    if let Err(error) = self.ask().await {
                        return Some(Err(error));
                    }
                    if self.trusts_progress || self.after < self.history_until {
                        continue;
                    }
                    // All that was received has been told, and the rest comes by itself.
                    return Some(Ok(Notice::Progress(self.after)));
                }
                () = tokio::time::sleep(HISTORY_CHECK), if self.after < self.history_until => {
                    if let Err(error) = self.ask().await {
                        return Some(Err(error));
                    }
                    continue;
                }
            };
            let response = match message {
                Ok(Some(response)) => response,
                Ok(None) => return Some(Err(Error::Unavailable("etcd ended the watch".into()))),
                Err(error) => return Some(Err(failed(&error))),
            };
            match self.read(&response).await {
                Ok(Some(notice)) => return Some(Ok(notice)),
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    async fn read(&mut self, response: &WatchResponse) -> Result<Option<Notice>> {
        if response.compact_revision() > 0 {
            let oldest = unsigned(response.compact_revision());
            return Err(Error::Compacted { asked: self.after, oldest });
        }
        if response.canceled() {
            return Err(Error::Unavailable(format!("etcd ended the watch: {}", response.cancel_reason())));
        }
        let Some(last) = response.events().last() else {
            // The answer to the watch's creation carries a revision too, but promises nothing; nor does
            // the periodic notice of a version that is not trusted.
            let revision = revision_of(response.header());
            if response.created() || !self.trusts_progress || revision < self.after {
                return Ok(None);
            }
            self.after = revision;
            self.told = revision;
            return Ok(Some(Notice::Progress(revision)));
        };
        if self.after < self.history_until {
            self.still_there().await?;
        }
        self.after = last.kv().map_or(self.after, |kv| unsigned(kv.mod_revision()));
        let own = |event: &Event| event.key.starts_with(&self.prefix);
        let events: Vec<Event> = response.events().iter().filter_map(event).filter(own).collect();
        let Some(last) = events.last() else { return Ok(None) };
        self.told = last.revision;
        Ok(Some(Notice::Events(events)))
    }

    /// Asks etcd how far the watch is. History that does not come may lie outside the prefix, or be lost.
    async fn ask(&mut self) -> Result<()> {
        if self.after < self.history_until {
            self.still_there().await?;
        }
        if self.trusts_progress {
            self.stream.request_progress().await.map_err(|error| failed(&error))?;
        }
        Ok(())
    }

    /// Whether the history read so far is whole: etcd begins a watch right behind a compaction, and may
    /// by then have dropped a delete of just the first revision asked for.
    async fn still_there(&self) -> Result<()> {
        if self.after == 0 {
            return Ok(());
        }
        let options = GetOptions::new().with_count_only().with_revision(signed(self.after));
        let mut client = self.client.clone();
        match within(client.get("/registry/health", Some(options))).await {
            Ok(_) => Ok(()),
            Err(error) => Err(failed_at(error, self.after, self.history_until)),
        }
    }
}
