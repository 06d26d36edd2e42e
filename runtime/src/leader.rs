//! Of several processes one acts: leader election by a Lease, as client-go does it.
//!
//! Clocks of machines are not compared: a lease counts as expired when it was *seen* unchanged for its whole duration.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Error;

/// Which lease, and how it is held; the defaults are upstream's.
#[derive(Clone, Debug)]
pub struct Config {
    /// The lease's namespace.
    pub namespace: String,
    /// The lease's name.
    pub name: String,
    /// Who asks; must differ between processes.
    pub identity: String,
    /// How long others wait for a silent leader.
    pub lease_duration: Duration,
    /// How long a leader that cannot renew goes on acting; less than `lease_duration`.
    pub renew_deadline: Duration,
    /// Pause between attempts.
    pub retry_period: Duration,
}

impl Config {
    /// The default timing, and an identity of host and random number.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            namespace: namespace.into(),
            name: name.into(),
            identity: format!("{}_{:016x}", host.trim(), rand::random::<u64>()),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// Held as long as the lease is renewed; dropping it gives the lease up.
#[derive(Debug)]
pub struct Leadership {
    lost: CancellationToken,
    _stop: tokio_util::sync::DropGuard,
}

impl Leadership {
    /// Ends when the lease could not be renewed in time.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

/// What was seen of the lease, and when it last changed.
struct Seen {
    holder: String,
    renewed: Option<Timestamp>,
    at: Instant,
}

/// Waits until this process is the leader.
///
/// # Errors
/// Only [`Error::Shutdown`].
pub async fn acquire(
    client: kube::Client,
    config: Config,
    shutdown: CancellationToken,
) -> Result<Leadership, Error> {
    let api: Api<Lease> = Api::namespaced(client, &config.namespace);
    let mut seen: Option<Seen> = None;
    loop {
        match attempt(&api, &config, &mut seen).await {
            Ok(true) => break,
            Ok(false) => {}
            Err(error) => tracing::debug!(%error, lease = config.name, "cannot ask for leadership yet"),
        }
        let pause = if seen.is_none() { Duration::from_millis(100) } else { config.retry_period };
        tokio::select! { () = tokio::time::sleep(pause) => {}, () = shutdown.cancelled() => return Err(Error::Shutdown) }
    }
    tracing::info!(lease = config.name, identity = config.identity, "leading");
    let (lost, stop) = (CancellationToken::new(), shutdown.child_token());
    tokio::spawn(renew(api, config, seen, stop.clone(), lost.clone()));
    Ok(Leadership { lost, _stop: stop.drop_guard() })
}

async fn renew(
    api: Api<Lease>,
    config: Config,
    mut seen: Option<Seen>,
    stop: CancellationToken,
    lost: CancellationToken,
) {
    let mut renewed = Instant::now();
    loop {
        tokio::select! { () = tokio::time::sleep(config.retry_period) => {}, () = stop.cancelled() => break }
        let attempt = tokio::time::timeout(config.renew_deadline, attempt(&api, &config, &mut seen));
        match attempt.await {
            Ok(Ok(true)) => renewed = Instant::now(),
            Ok(Ok(false)) => break,
            Ok(Err(error)) => tracing::warn!(%error, lease = config.name, "lease not renewed"),
            Err(_) => {}
        }
        if renewed.elapsed() >= config.renew_deadline {
            break;
        }
    }
    if stop.is_cancelled() {
        // Let the next one begin at once. If that fails, the lease expires.
        let _ = release(&api, &config).await;
    }
    lost.cancel();
}

/// One attempt to take or keep the lease.
async fn attempt(api: &Api<Lease>, config: &Config, seen: &mut Option<Seen>) -> Result<bool, kube::Error> {
    let now = Timestamp::now();
    let Some(lease) = api.get_opt(&config.name).await? else {
        let metadata = ObjectMeta { name: Some(config.name.clone()), ..Default::default() };
        let spec = Some(next(None, config, now));
        api.create(&PostParams::default(), &Lease { metadata, spec }).await?;
        return Ok(true);
    };
    let spec = lease.spec.clone().unwrap_or_default();
    let holder = spec.holder_identity.clone().unwrap_or_default();
    let renewed = spec.renew_time.as_ref().map(|time| time.0);
    let changed = seen.as_ref().is_none_or(|seen| seen.holder != holder || seen.renewed != renewed);
    if changed {
        *seen = Some(Seen { holder: holder.clone(), renewed, at: Instant::now() });
    }
    let silent_for = seen.as_ref().map_or(Duration::ZERO, |seen| seen.at.elapsed());
    let duration =
        spec.lease_duration_seconds.map_or(config.lease_duration, |s| Duration::from_secs(s.max(0) as u64));
    if !may_take(&holder, &config.identity, silent_for, duration) {
        return Ok(false);
    }
    let changed = Lease { spec: Some(next(Some(spec), config, now)), ..lease };
    // The resource version in it makes this fail if somebody else was faster.
    api.replace(&config.name, &PostParams::default(), &changed).await?;
    Ok(true)
}

fn may_take(holder: &str, identity: &str, silent_for: Duration, duration: Duration) -> bool {
    holder.is_empty() || holder == identity || silent_for >= duration
}

fn next(held: Option<LeaseSpec>, config: &Config, now: Timestamp) -> LeaseSpec {
    let held = held.unwrap_or_default();
    let ours = held.holder_identity.as_deref() == Some(&config.identity);
    LeaseSpec {
        holder_identity: Some(config.identity.clone()),
        lease_duration_seconds: Some(config.lease_duration.as_secs() as i32),
        acquire_time: if ours { held.acquire_time } else { Some(MicroTime(now)) },
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(held.lease_transitions.unwrap_or(-1) + i32::from(!ours)),
        ..LeaseSpec::default()
    }
}

async fn release(api: &Api<Lease>, config: &Config) -> Result<(), kube::Error> {
    let mut lease = api.get(&config.name).await?;
    let spec = lease.spec.get_or_insert_default();
    if spec.holder_identity.as_deref() == Some(&config.identity) {
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        api.replace(&config.name, &PostParams::default(), &lease).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_taken_when_free_ours_or_silent() {
        let table = [("", 0, true), ("me", 0, true), ("you", 14, false), ("you", 15, true)];
        for (holder, silent, expected) in table {
            let taken = may_take(holder, "me", Duration::from_secs(silent), Duration::from_secs(15));
            assert_eq!(taken, expected, "{holder} {silent}");
        }
    }

    #[test]
    fn renewing_keeps_the_time_of_acquisition_and_counts_changes() {
        let config = Config { identity: "me".into(), ..Config::new("kube-system", "test") };
        let first = next(None, &config, Timestamp::UNIX_EPOCH);
        assert_eq!(first.lease_transitions, Some(0));
        let later = Timestamp::from_second(5).unwrap();
        let renewed = next(Some(first.clone()), &config, later);
        assert_eq!(renewed.acquire_time, first.acquire_time);
        assert_eq!(renewed.lease_transitions, Some(0));
        let other = Config { identity: "you".into(), ..config };
        assert_eq!(next(Some(renewed), &other, later).lease_transitions, Some(1));
    }
}
