//! Tokens that were believed a moment ago.
//!
//! An answer is kept for ten seconds, as upstream does. Unlike there it is given only while the objects that it rests
//! on (the account, its pod, a Secret) are what they were: a deleted account is refused at once. That a token was refused is
//! not remembered.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use super::Authenticated;
use crate::security::Objects;

/// How long an answer is believed, in seconds.
const KEPT_S: i64 = 10;
/// Answers kept; when full, all are forgotten and found anew.
const MAX: usize = 4096;
/// Tokens are told apart by their ends (where a signature is) before they are compared whole.
const TAIL: usize = 24;

struct Kept {
    token: String,
    answer: Arc<Authenticated>,
    until_s: i64,
}

/// The answers.
#[derive(Default)]
pub struct TokenCache(RwLock<HashMap<[u8; TAIL], Kept>>);

impl TokenCache {
    /// The answer about a token, if it still holds.
    pub fn get(&self, token: &str, objects: &dyn Objects, now_s: i64) -> Option<Arc<Authenticated>> {
        let answer = {
            let kept = self.0.read().expect("no holder of this lock panics");
            let found = kept.get(&tail(token)).filter(|kept| kept.token == token && now_s < kept.until_s)?;
            found.answer.clone()
        };
        let holds = |rest: &super::Rest| {
            objects.stamp(rest.resource, &rest.namespace, &rest.name) == Some(rest.stamp)
        };
        answer.rests_on.iter().all(holds).then_some(answer)
    }

    /// Keeps an answer.
    pub fn put(&self, token: &str, answer: &Arc<Authenticated>, now_s: i64) {
        let until_s = answer.until_s.min(now_s + KEPT_S);
        let kept = Kept { token: token.to_owned(), answer: answer.clone(), until_s };
        let mut all = self.0.write().expect("no holder of this lock panics");
        if all.len() >= MAX {
            all.clear();
        }
        all.insert(tail(token), kept);
    }

    /// Forgets everything: what tokens mean has changed.
    pub fn clear(&self) {
        self.0.write().expect("no holder of this lock panics").clear();
    }
}

fn tail(token: &str) -> [u8; TAIL] {
    let mut tail = [0; TAIL];
    let bytes = token.as_bytes();
    let end = &bytes[bytes.len().saturating_sub(TAIL)..];
    tail[..end.len()].copy_from_slice(end);
    tail
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::security::User;
    use crate::security::authenticate::Rest;
    use crate::security::token::tests::{NOW, Store};

    #[test]
    fn an_answer_holds_for_a_while_and_as_long_as_its_objects() {
        let mut store = Store::with_account();
        let stamp = store.stamp("serviceaccounts", "ns", "sa").unwrap();
        let answer = Arc::new(Authenticated {
            rests_on: vec![Rest::new("serviceaccounts", "ns", "sa", stamp)],
            ..Authenticated::new(User::new("a", &[]), &[])
        });
        let cache = TokenCache::default();
        let token = "x".repeat(900);
        cache.put(&token, &answer, NOW);
        assert!(cache.get(&token, &store, NOW + KEPT_S - 1).is_some());
        assert!(cache.get(&token, &store, NOW + KEPT_S).is_none(), "it is too old");
        let other = format!("y{}", &token[1..]);
        assert!(cache.get(&other, &store, NOW).is_none(), "the same end is not the same token");
        store.put("serviceaccounts", json!({"metadata": {"namespace": "ns", "name": "sa", "uid": "new"}}));
        assert!(cache.get(&token, &store, NOW).is_none(), "the account is another");
        cache.put(&token, &Arc::new(Authenticated::new(User::new("a", &[]), &[])), NOW);
        assert!(cache.get(&token, &store, NOW).is_some());
        cache.clear();
        assert!(cache.get(&token, &store, NOW).is_none());
    }

    #[test]
    fn a_token_that_ends_sooner_is_kept_for_less() {
        let answer = Authenticated { until_s: NOW + 3, ..Authenticated::new(User::new("a", &[]), &[]) };
        let cache = TokenCache::default();
        cache.put("t", &Arc::new(answer), NOW);
        assert!(cache.get("t", &Store::default(), NOW + 2).is_some());
        assert!(cache.get("t", &Store::default(), NOW + 3).is_none());
    }
}
