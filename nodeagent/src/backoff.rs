//! How long a container that keeps failing must wait.

use jiff::{SignedDuration, Timestamp};

/// First wait.
pub const INITIAL: SignedDuration = SignedDuration::from_secs(10);
/// Longest wait.
pub const MAX: SignedDuration = SignedDuration::from_secs(300);

/// The wait after the next failure. As upstream's `flowcontrol.Backoff`: it begins at 10 s, doubles up to 300 s, and is
/// forgotten when a container ran for 10 minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The wait.
    pub delay: SignedDuration,
    /// When the last restart was.
    pub updated: Timestamp,
}

impl Backoff {
    fn expired(self, finished: Timestamp) -> bool {
        finished.duration_since(self.updated) > MAX * 2
    }

    /// Until when a container that ended at `finished` must wait; `None`: not at all.
    pub fn until(self, finished: Timestamp) -> Option<Timestamp> {
        if self.expired(finished) { None } else { finished.checked_add(self.delay).ok() }
    }

    /// The back-off after one more restart.
    pub fn next(known: Option<Self>, finished: Timestamp, now: Timestamp) -> Self {
        let delay = match known {
            Some(known) if !known.expired(finished) => (known.delay * 2).min(MAX),
            _ => INITIAL,
        };
        Self { delay, updated: now }
    }
}

/// As Go prints a duration of whole seconds: `40s`, `2m40s`, `5m0s`.
pub fn display(delay: SignedDuration) -> String {
    let seconds = delay.as_secs();
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m{}s", seconds / 60, seconds % 60) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_to_five_minutes_and_is_forgotten_after_ten() {
        let at = |s| Timestamp::from_second(s).unwrap();
        let mut known = None;
        let mut seen = Vec::new();
        let mut now = 0;
        for _ in 0..7 {
            let next = Backoff::next(known, at(now), at(now));
            seen.push(display(next.delay));
            now = next.until(at(now)).unwrap().as_second();
            known = Some(next);
        }
        assert_eq!(seen, ["10s", "20s", "40s", "1m20s", "2m40s", "5m0s", "5m0s"]);
        let last = known.unwrap();
        assert_eq!(last.until(last.updated + MAX * 3), None);
        assert_eq!(Backoff::next(known, last.updated + MAX * 3, at(now)).delay, INITIAL);
    }
}
