//! Mutating admission may run twice: what came early sees what came late, if it asks for that.

use std::collections::BTreeSet;
use std::sync::Mutex;

use serde_json::Value;

/// What one request's mutating admission remembers from its first run to its second. There is no third.
#[derive(Debug, Default)]
pub struct Reinvocation(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    is_again: bool,
    wanted: bool,
    changed: bool,
    /// Those who were asked and want to see what comes after them.
    asked: BTreeSet<String>,
    /// Those of them after whom something came.
    again: BTreeSet<String>,
    /// The object as webhooks left it.
    left: Option<Value>,
}

impl Reinvocation {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().expect("no holder of this lock panics")
    }

    /// Begins the second run if it is needed.
    pub(super) fn begin_again(&self) -> bool {
        let mut state = self.state();
        state.is_again = state.wanted;
        state.wanted
    }

    /// Whether this is the second run.
    pub fn is_again(&self) -> bool {
        self.state().is_again
    }

    /// Someone outside changed the object: all that were asked before see it again, if they want to.
    pub fn changed(&self) {
        let mut state = self.state();
        let asked = std::mem::take(&mut state.asked);
        state.again.extend(asked);
        state.wanted = true;
        state.changed = true;
    }

    /// Whether someone outside changed the object.
    pub fn has_changed(&self) -> bool {
        self.state().changed
    }

    /// Remembers one that was asked and wants to see what comes after it.
    pub fn asked(&self, who: String) {
        self.state().asked.insert(who);
    }

    /// Whether one is asked in this run: in the second only who was asked in the first and missed something.
    pub fn asks(&self, who: &str) -> bool {
        let state = self.state();
        !state.is_again || state.again.contains(who)
    }

    /// What webhooks are given in the second run differs from what they left if plugins changed it in between.
    pub fn compare(&self, object: &Value) {
        let mut state = self.state();
        if state.is_again && state.left.as_ref() != Some(object) {
            let asked = std::mem::take(&mut state.asked);
            state.again.extend(asked);
        }
    }

    /// What webhooks leave.
    pub fn leave(&self, object: &Value) {
        self.state().left = Some(object.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn who_missed_something_is_asked_again_and_no_one_else() {
        let state = Reinvocation::default();
        assert!(state.asks("a"));
        state.asked("a".into());
        state.changed();
        state.asked("b".into());
        assert!(state.begin_again());
        assert!(state.asks("a"));
        assert!(!state.asks("b"), "nothing came after it");
        assert!(!state.asks("c"), "it was not asked before");
    }

    #[test]
    fn what_plugins_change_in_the_second_run_is_missed_by_all() {
        let state = Reinvocation::default();
        state.changed();
        state.asked("b".into());
        state.leave(&json!(1));
        assert!(state.begin_again());
        state.compare(&json!(1));
        assert!(!state.asks("b"));
        state.compare(&json!(2));
        assert!(state.asks("b"));
    }

    #[test]
    fn without_a_change_there_is_one_run() {
        let state = Reinvocation::default();
        state.asked("a".into());
        assert!(!state.begin_again());
    }
}
