//! One priority level: so many seats, and fair queues before them. Pure: who waits is a `T`, and whoever
//! may go is handed back.
//!
//! A flow is dealt a hand of queues by its hash and waits in the shortest of them, so that one greedy flow
//! fills only its own hand. Queues are served by start-time fair queueing: each has a virtual time, which
//! grows by the seats that it was given, and the least is next.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;

/// What a PriorityLevelConfiguration says, with its seats worked out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// Requests are never held up.
    pub exempt: bool,
    /// Seats of its own.
    pub nominal: usize,
    /// How many of those others may use while they are idle.
    pub lendable: usize,
    /// How many of others it may use; no limit if not said.
    pub borrowable: Option<usize>,
    /// How many queues; none refuses at once.
    pub queues: usize,
    /// How many of them a flow may use.
    pub hand: usize,
    /// How many requests a queue holds.
    pub length: usize,
}

impl Terms {
    /// Reads the spec of an object; the shares of all levels together get `total` seats.
    pub fn read(spec: &Value, total: usize, all_shares: i64) -> Self {
        let exempt = spec["type"] == "Exempt";
        let own = if exempt { &spec["exempt"] } else { &spec["limited"] };
        let nominal = seats(total, shares(spec), all_shares);
        let percent = |value: &Value| value.as_u64().map(|percent| share(nominal, percent));
        let queuing = &own["limitResponse"]["queuing"];
        let queued = own["limitResponse"]["type"] == "Queue";
        let number = |key: &str, default: u64| {
            let number = queuing[key].as_u64().unwrap_or(default);
            if queued { usize::try_from(number).unwrap_or(usize::MAX) } else { 0 }
        };
        Self {
            exempt,
            nominal,
            lendable: percent(&own["lendablePercent"]).unwrap_or(0),
            borrowable: percent(&own["borrowingLimitPercent"]),
            queues: number("queues", 64),
            hand: number("handSize", 8),
            length: number("queueLengthLimit", 50),
        }
    }

    /// The most seats that one request of it may take.
    pub fn widest(&self) -> usize {
        // Upstream's share of a level, so that one list does not block it.
        share(self.nominal, 15).max(1)
    }
}

/// The shares of a level.
pub fn shares(spec: &Value) -> i64 {
    let (own, default) = if spec["type"] == "Exempt" { ("exempt", 0) } else { ("limited", 30) };
    spec[own]["nominalConcurrencyShares"].as_i64().unwrap_or(default)
}

fn seats(total: usize, shares: i64, all: i64) -> usize {
    let (shares, all) = (u64::try_from(shares).unwrap_or(0), u64::try_from(all).unwrap_or(0));
    if all == 0 { 0 } else { usize::try_from((total as u64 * shares).div_ceil(all)).unwrap_or(usize::MAX) }
}

fn share(of: usize, percent: u64) -> usize {
    usize::try_from((of as u64 * percent + 50) / 100).unwrap_or(usize::MAX)
}

/// What became of a request that came.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival<T> {
    /// It has its seats.
    Runs,
    /// It is in a queue, under a number by which it can leave.
    Waits(u64),
    /// There is no place for it.
    Refused(T),
}

/// Why requests are refused, as upstream counts them.
const QUEUE_FULL: &str = "queue-full";
/// The same, of a level without queues.
const CONCURRENCY_LIMIT: &str = "concurrency-limit";
/// The same, of one that waited too long.
pub const TIME_OUT: &str = "time-out";

/// A level at work.
#[derive(Debug)]
pub struct Level<T> {
    /// What holds now.
    pub terms: Terms,
    /// Seats taken.
    pub executing: usize,
    /// Requests that wait.
    pub waiting: usize,
    /// How many were refused so far, by the reason.
    pub refused: BTreeMap<&'static str, u64>,
    queues: Vec<Queue<T>>,
    /// The virtual time at which the last was served.
    now: u64,
    tickets: u64,
}

#[derive(Debug)]
struct Queue<T> {
    waiting: VecDeque<Waiting<T>>,
    /// The virtual time from which it may be served again.
    free_at: u64,
}

#[derive(Debug)]
struct Waiting<T> {
    ticket: u64,
    width: usize,
    who: T,
}

impl<T> Level<T> {
    /// An idle level.
    pub fn new(terms: Terms) -> Self {
        let mut level = Self {
            terms: Terms::default(),
            executing: 0,
            waiting: 0,
            refused: BTreeMap::new(),
            queues: Vec::new(),
            now: 0,
            tickets: 0,
        };
        level.change(terms);
        level
    }

    /// Other terms hold from now on. Who waits goes on waiting.
    pub fn change(&mut self, terms: Terms) {
        while self.queues.len() < terms.queues {
            self.queues.push(Queue { waiting: VecDeque::new(), free_at: 0 });
        }
        self.terms = terms;
    }

    /// How many of its seats others may use now.
    pub fn lends(&self) -> usize {
        self.terms.lendable.min(self.terms.nominal.saturating_sub(self.executing))
    }

    /// How many seats of others it uses.
    pub fn borrowed(&self) -> usize {
        if self.terms.exempt { 0 } else { self.executing.saturating_sub(self.terms.nominal) }
    }

    /// Whether `width` more seats are there, if others lend `lent`.
    pub fn has_room(&self, width: usize, lent: usize) -> bool {
        let more = self.terms.borrowable.map_or(lent, |most| most.min(lent));
        // An idle level serves a wide request whatever its seats.
        self.terms.exempt || self.executing == 0 || self.executing + width <= self.terms.nominal + more
    }

    /// A request comes that needs so many seats.
    pub fn arrive(&mut self, flow: u64, width: usize, lent: usize, who: T) -> Arrival<T> {
        if self.terms.exempt || (self.waiting == 0 && self.has_room(width, lent)) {
            self.executing += width;
            return Arrival::Runs;
        }
        let hand = deal(flow, self.terms.queues, self.terms.hand);
        let shortest = hand.into_iter().min_by_key(|queue| self.queues[*queue].waiting.len());
        let Some(queue) = shortest.map(|queue| &mut self.queues[queue]) else {
            self.refuse(CONCURRENCY_LIMIT);
            return Arrival::Refused(who);
        };
        if queue.waiting.len() >= self.terms.length {
            self.refuse(QUEUE_FULL);
            return Arrival::Refused(who);
        }
        if queue.waiting.is_empty() {
            // It does not save up the time in which it did not wait.
            queue.free_at = queue.free_at.max(self.now);
        }
        self.tickets += 1;
        queue.waiting.push_back(Waiting { ticket: self.tickets, width, who });
        self.waiting += 1;
        Arrival::Waits(self.tickets)
    }

    /// The next that may go, if there is room for it.
    pub fn next(&mut self, lent: usize) -> Option<T> {
        let waiting = self.queues.iter().enumerate().filter(|(_, queue)| !queue.waiting.is_empty());
        let (index, _) = waiting.min_by_key(|(_, queue)| queue.free_at)?;
        let width = self.queues[index].waiting.front()?.width;
        if !self.has_room(width, lent) {
            return None;
        }
        let queue = &mut self.queues[index];
        self.now = queue.free_at;
        queue.free_at += width as u64;
        self.executing += width;
        self.waiting -= 1;
        queue.waiting.pop_front().map(|next| next.who)
    }

    /// A request gives up waiting; false if it has gone already.
    pub fn leave(&mut self, ticket: u64) -> bool {
        for queue in &mut self.queues {
            if let Some(index) = queue.waiting.iter().position(|waiting| waiting.ticket == ticket) {
                queue.waiting.remove(index);
                self.waiting -= 1;
                return true;
            }
        }
        false
    }

    /// Counts a request that was refused.
    pub fn refuse(&mut self, why: &'static str) {
        *self.refused.entry(why).or_default() += 1;
    }

    /// A request is done with its seats.
    pub fn finish(&mut self, width: usize) {
        self.executing = self.executing.saturating_sub(width);
    }
}

/// Deals a flow its hand of queues: the same each time, different ones for most flows.
fn deal(mut flow: u64, queues: usize, hand: usize) -> Vec<usize> {
    let mut dealt: Vec<usize> = Vec::with_capacity(hand);
    for taken in 0..hand.min(queues) {
        let left = (queues - taken) as u64;
        let mut card = usize::try_from(flow % left).unwrap_or(0);
        flow /= left;
        // The n-th of those that were not dealt yet.
        let mut sorted = dealt.clone();
        sorted.sort_unstable();
        for one in sorted {
            if card >= one {
                card += 1;
            }
        }
        dealt.push(card);
    }
    dealt
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn queued(nominal: usize, queues: usize, hand: usize, length: usize) -> Level<&'static str> {
        Level::new(Terms { nominal, queues, hand, length, ..Terms::default() })
    }

    #[test]
    fn seats_are_shared_out_as_upstream_does() {
        // The suggested levels share 245; the exempt one has none of its own.
        let limited = |shares: i64| {
            json!({"type": "Limited", "limited": {"nominalConcurrencyShares": shares,
            "lendablePercent": 33, "limitResponse": {"type": "Queue", "queuing": {"queues": 64, "handSize": 6, "queueLengthLimit": 50}}}})
        };
        for (shares, seats, lendable) in [(30, 74, 24), (40, 98, 32), (5, 13, 4), (100, 245, 81)] {
            let terms = Terms::read(&limited(shares), 600, 245);
            assert_eq!((terms.nominal, terms.lendable, terms.queues), (seats, lendable, 64), "{shares}");
        }
        let exempt = Terms::read(&json!({"type": "Exempt"}), 600, 245);
        assert_eq!((exempt.exempt, exempt.nominal, exempt.queues), (true, 0, 0));
        let refuses = Terms::read(
            &json!({"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}),
            600,
            60,
        );
        assert_eq!((refuses.nominal, refuses.queues), (300, 0));
    }

    #[test]
    fn hands_are_distinct_queues_and_the_same_for_the_same_flow() {
        for flow in [0, 1, 7, u64::MAX, 0x1234_5678_9abc_def0] {
            let hand = deal(flow, 16, 5);
            let mut distinct = hand.clone();
            distinct.sort_unstable();
            distinct.dedup();
            assert_eq!((distinct.len(), distinct.iter().all(|queue| *queue < 16)), (5, true), "{hand:?}");
            assert_eq!(hand, deal(flow, 16, 5));
        }
        assert_eq!(deal(9, 3, 8).len(), 3);
    }

    #[test]
    fn a_greedy_flow_does_not_starve_another() {
        // Flows 0 and 1 have queues of their own.
        let mut level = queued(1, 2, 1, 100);
        assert_eq!(level.arrive(0, 1, 0, "first"), Arrival::Runs);
        for _ in 0..50 {
            assert!(matches!(level.arrive(0, 1, 0, "greedy"), Arrival::Waits(_)));
        }
        level.finish(1);
        assert_eq!(level.next(0), Some("greedy"));
        assert!(matches!(level.arrive(1, 1, 0, "modest"), Arrival::Waits(_)));
        level.finish(1);
        let after: Vec<_> = (0..2)
            .map(|_| {
                let next = level.next(0).unwrap();
                level.finish(1);
                next
            })
            .collect();
        assert!(after.contains(&"modest"), "{after:?}");
        // Its 48 others still wait their turn.
        assert_eq!(level.waiting, 48);
    }

    #[test]
    fn wide_requests_are_paid_for_with_turns() {
        let mut level = queued(4, 2, 1, 100);
        assert_eq!(level.arrive(0, 4, 0, "holds all"), Arrival::Runs);
        for _ in 0..4 {
            level.arrive(0, 4, 0, "wide");
            level.arrive(1, 1, 0, "narrow");
        }
        level.finish(4);
        let mut order = Vec::new();
        while let Some(next) = level.next(0) {
            order.push(next);
            level.finish(if next == "wide" { 4 } else { 1 });
        }
        // One wide request for four narrow ones.
        assert_eq!(order.iter().take(6).filter(|who| **who == "narrow").count(), 4, "{order:?}");
    }

    #[test]
    fn full_queues_and_levels_without_queues_refuse() {
        let mut level = queued(1, 1, 1, 2);
        assert_eq!(level.arrive(0, 1, 0, "a"), Arrival::Runs);
        assert!(matches!(level.arrive(0, 1, 0, "b"), Arrival::Waits(_)));
        let Arrival::Waits(ticket) = level.arrive(0, 1, 0, "c") else { panic!("it waits") };
        assert_eq!(level.arrive(0, 1, 0, "d"), Arrival::Refused("d"));
        assert!(level.leave(ticket) && !level.leave(ticket));
        assert_eq!(level.waiting, 1);
        let mut none = queued(1, 0, 0, 0);
        assert_eq!(none.arrive(0, 1, 0, "a"), Arrival::Runs);
        assert_eq!(none.arrive(0, 1, 0, "b"), Arrival::Refused("b"));
    }

    #[test]
    fn idle_seats_are_lent_and_an_idle_level_serves_anything_once() {
        let terms = Terms { nominal: 2, lendable: 1, borrowable: Some(1), ..Terms::default() };
        let mut level: Level<()> = Level::new(terms);
        assert_eq!(level.lends(), 1);
        assert_eq!(level.arrive(0, 5, 0, ()), Arrival::Runs);
        assert_eq!((level.lends(), level.borrowed()), (0, 3));
        level.finish(5);
        assert_eq!(level.arrive(0, 2, 0, ()), Arrival::Runs);
        assert!(level.has_room(1, 9) && !level.has_room(2, 9) && !level.has_room(1, 0));
    }
}
