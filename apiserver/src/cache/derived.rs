//! What is made of the objects of a kind: an index that is never behind the cache and costs nothing while
//! nothing changes.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use imbl::OrdMap;
use serde_json::Value;

use super::{Cache, Item};

/// One value an object, in the order of their keys; made anew only for those that changed.
pub struct Derived<T> {
    group: &'static str,
    plural: &'static str,
    make: fn(&Value) -> T,
    held: ArcSwapOption<Held<T>>,
}

struct Held<T> {
    of: OrdMap<Arc<str>, Arc<Item>>,
    made: Arc<Vec<Arc<T>>>,
}

impl<T> Derived<T> {
    /// Of the objects of this resource.
    pub const fn new(group: &'static str, plural: &'static str, make: fn(&Value) -> T) -> Self {
        Self { group, plural, make, held: ArcSwapOption::const_empty() }
    }

    /// What is made of the objects that the cache has now.
    pub fn get(&self, cache: &Cache) -> Arc<Vec<Arc<T>>> {
        let Some(kind) = cache.find(self.group, self.plural) else { return Arc::default() };
        let now = kind.snapshot().items.clone();
        let held = self.held.load();
        if let Some(held) = held.as_ref()
            && (held.of.ptr_eq(&now) || (held.of.is_empty() && now.is_empty()))
        {
            return held.made.clone();
        }
        // Both are in the order of the keys, which makes the old ones easy to find.
        let mut old = held.iter().flat_map(|held| held.of.iter().zip(held.made.iter())).peekable();
        let mut made = Vec::with_capacity(now.len());
        for (key, item) in &now {
            while old.peek().is_some_and(|((known, _), _)| *known < key) {
                old.next();
            }
            let same = old.peek().filter(|((known, was), _)| *known == key && Arc::ptr_eq(was, item));
            let object = || item.object(kind.kind(), &kind.kind().stored().name);
            made.push(same.map_or_else(|| Arc::new((self.make)(&object())), |(_, made)| Arc::clone(made)));
        }
        let made = Arc::new(made);
        self.held.store(Some(Arc::new(Held { of: now, made: made.clone() })));
        made
    }
}
