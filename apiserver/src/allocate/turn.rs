//! A write's turn: its place among the writes of Services here, and its claims against other servers.

use std::sync::Arc;

use skiff_storage::{Error, Expect, Op, Revision, Storage};
use tokio::sync::OwnedMutexGuard;

use super::claim::{Claim, Holder, Record, held};
use crate::cache::Cache;

/// The right to write one Service. Dropped before its write has succeeded, it gives back what it took.
pub struct Turn {
    storage: Arc<dyn Storage>,
    /// The Service.
    holder: Holder,
    /// Its key.
    key: String,
    order: Option<OwnedMutexGuard<()>>,
    taken: Vec<(Claim, Revision)>,
    /// What the Service will no longer have, with the revisions that are to be removed.
    left: Vec<(Claim, Revision)>,
}

impl Turn {
    pub(super) fn new(
        storage: Arc<dyn Storage>,
        holder: Holder,
        key: String,
        order: Option<OwnedMutexGuard<()>>,
    ) -> Self {
        Self { storage, holder, key, order, taken: Vec::new(), left: Vec::new() }
    }

    /// Takes a claim; `false` if another Service has it.
    pub(super) async fn take(&mut self, claim: Claim) -> Result<bool, Error> {
        let live = match claim.write(&*self.storage, &self.holder, Expect::Absent).await {
            Ok(revision) => {
                self.taken.push((claim, revision));
                return Ok(true);
            }
            Err(Error::Mismatch(live)) => live,
            Err(error) => return Err(error),
        };
        // A write of the same Service that broke off has left it, or another is under way: of these two
        // the store lets one succeed.
        let Some(own) = live.as_ref().and_then(Record::read).filter(|record| record.holder == self.holder)
        else {
            return Ok(false);
        };
        match claim.write(&*self.storage, &self.holder, Expect::Revision(own.revision)).await {
            Ok(revision) => {
                self.taken.push((claim, revision));
                Ok(true)
            }
            Err(Error::Mismatch(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Notes what the Service gives up, as it stands now: who takes it after this write keeps it.
    pub(super) async fn will_leave(&mut self, claims: impl IntoIterator<Item = Claim>) -> Result<(), Error> {
        for claim in claims {
            let (entry, _) = self.storage.get(&claim.key()).await?;
            if let Some(record) = entry.as_ref().and_then(Record::read)
                && record.holder == self.holder
            {
                self.left.push((claim, record.revision));
            }
        }
        Ok(())
    }

    /// The write was made, or was not: claims are kept or given back, and the next may write.
    pub async fn settle(mut self, written: &Result<Revision, Error>, cache: &Cache) {
        match written {
            Ok(revision) => {
                self.taken.clear();
                if self.order.is_some() {
                    // The next in turn reads the cache to see what is taken.
                    let _ = cache.reach(*revision).await;
                }
                self.order = None;
                let left = std::mem::take(&mut self.left);
                give_back(&*self.storage, &self.key, left).await;
            }
            Err(Error::Mismatch(_) | Error::TooLarge(_)) => {
                let taken = std::mem::take(&mut self.taken);
                give_back(&*self.storage, &self.key, taken).await;
            }
            // It may have happened all the same: the claims stay, until a repair finds no Service to them.
            Err(_) => self.taken.clear(),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.taken.is_empty() {
            return;
        }
        let (storage, key) = (self.storage.clone(), std::mem::take(&mut self.key));
        let taken = std::mem::take(&mut self.taken);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { give_back(&*storage, &key, taken).await });
        }
    }
}

/// Removes claims that the Service at `key` does not have. What cannot be removed is left to a repair.
async fn give_back(storage: &dyn Storage, key: &str, claims: Vec<(Claim, Revision)>) {
    if claims.is_empty() {
        return;
    }
    let keeps = match storage.get(key).await {
        Ok((Some(entry), _)) => serde_json::from_slice(&entry.value).map(|service| held(&service)).ok(),
        Ok((None, _)) => Some([].into()),
        Err(_) => None,
    };
    let Some(keeps) = keeps else { return };
    for (claim, revision) in claims {
        if !keeps.contains(&claim) {
            let _ = storage.write(&claim.key(), Expect::Revision(revision), Op::Delete).await;
        }
    }
}
