//! What the Services in the cache hold, kept up to date change by change.

use std::collections::HashMap;
use std::sync::Arc;

use skiff_storage::Revision;

use super::claim::{Claim, held};
use crate::cache::{Item, KindCache};

/// How many Services hold each claim: more than one only where a repair has not been yet.
#[derive(Default)]
pub struct Index {
    holders: HashMap<Claim, u32>,
    /// The revision that it is of.
    after: Revision,
    filled: bool,
}

impl Index {
    /// Takes in what has changed since the last time.
    pub fn follow(&mut self, cache: &KindCache) {
        let claims = |item: &Arc<Item>| held(&item.object(cache.kind(), &cache.kind().stored().name));
        match cache.changes(self.after) {
            Ok((changes, revision)) if self.filled => {
                for change in changes {
                    change.old.iter().flat_map(claims).for_each(|claim| self.remove(claim));
                    change.new.iter().flat_map(claims).for_each(|claim| self.add(claim));
                }
                self.after = revision;
            }
            _ => {
                let snapshot = cache.snapshot();
                self.holders.clear();
                snapshot.items.values().flat_map(claims).for_each(|claim| self.add(claim));
                self.after = snapshot.revision;
                self.filled = true;
            }
        }
    }

    /// Whether some Service holds it.
    pub fn holds(&self, claim: Claim) -> bool {
        self.holders.contains_key(&claim)
    }

    /// One more holds it.
    pub fn add(&mut self, claim: Claim) {
        *self.holders.entry(claim).or_default() += 1;
    }

    fn remove(&mut self, claim: Claim) {
        if let Some(count) = self.holders.get_mut(&claim) {
            *count -= 1;
            if *count == 0 {
                self.holders.remove(&claim);
            }
        }
    }
}
