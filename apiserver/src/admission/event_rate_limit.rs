//! EventRateLimit: so many events a second, from everyone, in a namespace, of a user, or about one thing.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::Instant;

use serde_json::Value;
use skiff_api::status::Status;

use super::{Plugin, Review, configuration};

/// How many buckets a limit keeps unless told otherwise.
const CACHE_SIZE: usize = 4096;
const GROUP: &str = "eventratelimit.admission.k8s.io";

pub struct EventRateLimit {
    limits: Vec<Limit>,
}

/// Events are told apart by something, and each sort has a bucket.
struct Limit {
    by: String,
    per_second: f64,
    burst: f64,
    size: usize,
    buckets: Mutex<Buckets>,
}

#[derive(Default)]
struct Buckets {
    by_key: HashMap<String, Bucket>,
    /// The oldest first.
    order: VecDeque<String>,
}

struct Bucket {
    left: f64,
    filled: Instant,
}

impl EventRateLimit {
    pub fn make(told: Option<&Value>) -> Result<Box<dyn Plugin>, String> {
        let told = told.ok_or("it has no limits; name some with --admission-control-config-file")?;
        configuration::check_kind(told, GROUP, &["v1alpha1"], "Configuration")?;
        let limits = told["limits"].as_array().map(Vec::as_slice).unwrap_or_default();
        if limits.is_empty() {
            return Err("limits: Invalid value: must not be empty".into());
        }
        let limits = limits.iter().enumerate().map(|(at, limit)| Limit::read(limit, at));
        Ok(Box::new(Self { limits: limits.collect::<Result<_, _>>()? }))
    }
}

impl Limit {
    fn read(limit: &Value, at: usize) -> Result<Self, String> {
        let by = limit["type"].as_str().unwrap_or_default();
        if !["Server", "Namespace", "User", "SourceAndObject"].contains(&by) {
            return Err(format!("limits[{at}].type: Unsupported value: {by:?}"));
        }
        let positive = |name: &str| {
            let number = limit[name].as_i64().unwrap_or(0);
            if number > 0 { Ok(number as f64) } else { Err(format!("limits[{at}].{name}: must be positive")) }
        };
        let size = limit["cacheSize"].as_i64().unwrap_or(0);
        Ok(Self {
            by: by.to_owned(),
            burst: positive("burst")?,
            per_second: positive("qps")?,
            size: usize::try_from(size)
                .map_err(|_| format!("limits[{at}].cacheSize: must not be negative"))?,
            buckets: Mutex::default(),
        })
    }

    fn key(&self, review: &Review<'_>, event: &Value) -> String {
        match self.by.as_str() {
            "Namespace" => review.call.namespace().to_owned(),
            "User" => review.call.context.user.name.clone(),
            "SourceAndObject" => {
                let source = ["component", "host"].map(|field| &event["source"][field]);
                let about = ["kind", "namespace", "name", "uid", "apiVersion"]
                    .map(|field| &event["involvedObject"][field]);
                source.into_iter().chain(about).filter_map(Value::as_str).collect()
            }
            _ => String::new(),
        }
    }

    /// Takes one out of a bucket, if one is left.
    fn take(&self, key: &str, now: Instant) -> bool {
        let mut buckets = self.buckets.lock().expect("no holder of this lock panics");
        if !buckets.by_key.contains_key(key) {
            let size = if self.size == 0 { CACHE_SIZE } else { self.size };
            while buckets.order.len() >= size {
                let Some(oldest) = buckets.order.pop_front() else { break };
                buckets.by_key.remove(&oldest);
            }
            buckets.order.push_back(key.to_owned());
        }
        let bucket = buckets.by_key.entry(key.to_owned()).or_insert(Bucket { left: self.burst, filled: now });
        let passed = now.saturating_duration_since(bucket.filled).as_secs_f64();
        bucket.left = (bucket.left + passed * self.per_second).min(self.burst);
        bucket.filled = now;
        let taken = bucket.left >= 1.0;
        if taken {
            bucket.left -= 1.0;
        }
        taken
    }
}

#[async_trait::async_trait]
impl Plugin for EventRateLimit {
    fn name(&self) -> &'static str {
        "EventRateLimit"
    }

    fn validates(&self, review: &Review<'_>) -> bool {
        let events = review.writes("", "events", "") || review.writes("events.k8s.io", "events", "");
        events && !review.call.context.dry_run
    }

    async fn validate(&self, review: &Review<'_>, event: &Value) -> Result<(), Status> {
        let now = Instant::now();
        let mut reached = Vec::new();
        for limit in &self.limits {
            let key = limit.key(review, event);
            if !limit.take(&key, now) {
                reached.push(format!("limit reached on type {} for key {key}", limit.by));
            }
        }
        let why = match reached.as_slice() {
            [] => return Ok(()),
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        Err(Status::new(429, "TooManyRequests", format!("Too many requests: {why}")))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_bucket_is_emptied_and_fills_again() {
        let limit = Limit::read(&json!({"type": "User", "qps": 2, "burst": 3, "cacheSize": 2}), 0).unwrap();
        let start = Instant::now();
        let taken = |key: &str, at_ms: u64, tries: usize| {
            (0..tries).filter(|_| limit.take(key, start + Duration::from_millis(at_ms))).count()
        };
        assert_eq!(taken("a", 0, 9), 3);
        assert_eq!(taken("a", 500, 9), 1);
        assert_eq!(taken("b", 500, 9), 3);
        // A third pushes the oldest out, which begins anew.
        assert_eq!((taken("c", 500, 1), taken("a", 500, 9)), (1, 3));
    }

    #[test]
    fn it_needs_limits_that_make_sense() {
        let refused = |limits: Value| {
            let told = json!({"apiVersion": "eventratelimit.admission.k8s.io/v1alpha1", "kind": "Configuration", "limits": limits});
            EventRateLimit::make(Some(&told)).err().unwrap_or_default()
        };
        assert!(EventRateLimit::make(None).is_err());
        assert!(refused(json!([])).contains("must not be empty"));
        assert!(refused(json!([{"type": "X", "qps": 1, "burst": 1}])).contains("limits[0].type"));
        assert!(refused(json!([{"type": "User", "qps": 1}])).contains("limits[0].burst"));
        assert_eq!(refused(json!([{"type": "Server", "qps": 1, "burst": 1}])), "");
    }
}
