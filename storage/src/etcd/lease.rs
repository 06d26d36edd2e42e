//! Leases that values share, as upstream's do (`etcd3/lease_manager.go`), so that a thousand events
//! do not make a thousand leases.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use etcd_client::Client;

use super::within;
use crate::Result;

/// How long a lease is shared at most; a twentieth of a shorter life.
const SHARED_MAX_S: u64 = 60;
/// Values that share a lease at most: all of them end in one transaction.
const VALUES_MAX: u32 = 1000;

/// The lease in use, if any.
#[derive(Default)]
pub struct Leases(Mutex<Option<Lease>>);

struct Lease {
    id: i64,
    ttl_s: u64,
    until: Instant,
    values: u32,
}

impl Leases {
    /// A lease for a value that lives `ttl_s` seconds, or a little longer.
    pub async fn of(&self, mut client: Client, ttl_s: u64) -> Result<i64> {
        let now = Instant::now();
        if let Some(lease) = &mut *self.0.lock().expect("no holder of this lock panics")
            && lease.ttl_s == ttl_s
            && now < lease.until
            && lease.values < VALUES_MAX
        {
            lease.values += 1;
            return Ok(lease.id);
        }
        let shared_s = shared_s(ttl_s);
        let seconds = i64::try_from(ttl_s + shared_s).unwrap_or(i64::MAX);
        let id = within(client.lease_grant(seconds, None)).await?.id();
        let until = now + Duration::from_secs(shared_s);
        *self.0.lock().expect("no holder of this lock panics") = Some(Lease { id, ttl_s, until, values: 1 });
        Ok(id)
    }

    /// The lease is no longer there.
    pub fn forget(&self) {
        *self.0.lock().expect("no holder of this lock panics") = None;
    }
}

fn shared_s(ttl_s: u64) -> u64 {
    (ttl_s / 20).min(SHARED_MAX_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_shared_for_a_twentieth_of_its_life_and_a_minute_at_most() {
        for (ttl_s, expected) in [(1, 0), (100, 5), (3600, 60)] {
            assert_eq!(shared_s(ttl_s), expected, "{ttl_s}");
        }
    }
}
