//! What the server counts, under upstream's names.

use std::fmt::Write;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::app::App;
use crate::reload;
use crate::request::RequestInfo;

/// Upper bounds of the classes of `apiserver_request_duration_seconds`, as upstream's.
const SECONDS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0,
    20.0, 30.0, 45.0, 60.0,
];
/// The same of `apiserver_response_sizes`, in bytes.
const BYTES: [f64; 7] = [1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

/// What a request is counted under.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Labels {
    verb: String,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    scope: String,
    component: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    #[prometheus(flatten)]
    labels: Labels,
    dry_run: String,
    code: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Resource {
    group: String,
    version: String,
    resource: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Stored {
    group: String,
    resource: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Sort {
    request_kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Priority {
    priority_level: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refusal {
    priority_level: String,
    reason: &'static str,
}

/// What the priority levels are doing.
#[derive(Default)]
struct Levels {
    seats: Family<Priority, Gauge>,
    executing: Family<Priority, Gauge>,
    waiting: Family<Priority, Gauge>,
    refused: Family<Refusal, Counter>,
}

impl Levels {
    fn register(&self, registry: &mut Registry) {
        let text = "Seats of a priority level";
        registry.register("flowcontrol_nominal_limit_seats", text, self.seats.clone());
        let text = "Seats of a priority level that are taken";
        registry.register("flowcontrol_current_executing_seats", text, self.executing.clone());
        let text = "Requests that wait for a seat of a priority level";
        registry.register("flowcontrol_current_inqueue_requests", text, self.waiting.clone());
        let text = "Requests that a priority level had no place for";
        registry.register("flowcontrol_rejected_requests", text, self.refused.clone());
    }

    fn look(&self, app: &App) {
        app.flow.look(|name, level| {
            let of = Priority { priority_level: name.to_owned() };
            let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
            self.seats.get_or_create(&of).set(number(level.terms.nominal));
            self.executing.get_or_create(&of).set(number(level.executing));
            self.waiting.get_or_create(&of).set(number(level.waiting));
            for (reason, count) in &level.refused {
                let of = Refusal { priority_level: name.to_owned(), reason };
                self.refused.get_or_create(&of).inner().store(*count, Ordering::Relaxed);
            }
        });
    }
}

/// The counts of one server.
pub struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    durations: Family<Labels, Histogram>,
    sizes: Family<Labels, Histogram>,
    long_running: Family<Labels, Gauge>,
    in_flight: Family<Sort, Gauge>,
    watch_events: Family<Resource, Counter>,
    objects: Family<Stored, Gauge>,
    levels: Levels,
    /// How often an AuthenticationConfiguration was taken in again.
    pub authentication_reloads: reload::Count,
    /// How often an AuthorizationConfiguration was taken in again.
    pub authorization_reloads: reload::Count,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("apiserver"),
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            sizes: Family::new_with_constructor(|| Histogram::new(BYTES)),
            long_running: Family::default(),
            in_flight: Family::default(),
            watch_events: Family::default(),
            objects: Family::default(),
            levels: Levels::default(),
            authentication_reloads: reload::Count::default(),
            authorization_reloads: reload::Count::default(),
        };
        let registry = &mut metrics.registry;
        metrics.levels.register(registry);
        registry.register("request", "Requests by verb, resource and HTTP code", metrics.requests.clone());
        let text = "Seconds until an answer, by verb and resource";
        registry.register("request_duration_seconds", text, metrics.durations.clone());
        registry.register("response_sizes", "Bytes of answers, by verb and resource", metrics.sizes.clone());
        registry.register(
            "longrunning_requests",
            "Watches and streams that are open",
            metrics.long_running.clone(),
        );
        let text = "Requests being answered, those that read and those that change";
        registry.register("current_inflight_requests", text, metrics.in_flight.clone());
        registry.register("watch_events", "Events sent to watches", metrics.watch_events.clone());
        for (sort, count) in [
            ("authentication", &metrics.authentication_reloads),
            ("authorization", &metrics.authorization_reloads),
        ] {
            let name = format!("{sort}_config_controller_automatic_reloads");
            let text = format!("Automatic reloads of {sort} configuration by status");
            registry.register(name, text, count.0.clone());
        }
        registry.register("resource_objects", "Objects stored, by resource", metrics.objects.clone());
        metrics
    }
}

/// What a request is counted under; resources that are not served are not told apart.
pub fn labels(info: &RequestInfo, known: bool, apply: bool) -> Labels {
    let verb = match info.verb.as_str() {
        "create" => "POST",
        "update" => "PUT",
        "patch" if apply => "APPLY",
        verb => verb,
    };
    let connects = matches!(info.subresource.as_str(), "exec" | "attach" | "portforward" | "proxy");
    let verb = if known && connects { "CONNECT".into() } else { verb.to_ascii_uppercase() };
    let scope = match info {
        _ if !info.is_resource => "",
        _ if !info.name.is_empty() => "resource",
        _ if !info.namespace.is_empty() => "namespace",
        _ => "cluster",
    };
    let text = |text: &str| if known { text.to_owned() } else { String::new() };
    Labels {
        verb,
        group: text(&info.group),
        version: text(&info.version),
        resource: text(&info.resource),
        subresource: text(&info.subresource),
        scope: scope.into(),
        component: "apiserver".into(),
    }
}

impl Metrics {
    /// A request begins; it ends when the answer is dropped.
    pub fn begin(&self, info: &RequestInfo) -> Open {
        let changes = !matches!(info.verb.as_str(), "get" | "list" | "watch" | "head");
        let kind = if changes { "mutating" } else { "readOnly" };
        let gauge = self.in_flight.get_or_create_owned(&Sort { request_kind: kind.into() });
        Open::new(gauge)
    }

    /// A request was answered.
    pub fn answered(&self, labels: &Labels, dry_run: bool, code: u16, took: Duration, size: Option<u64>) {
        let dry_run = if dry_run { "All".to_owned() } else { String::new() };
        let answered = Answered { labels: labels.clone(), dry_run, code: code.into() };
        self.requests.get_or_create(&answered).inc();
        if labels.verb != "WATCH" && labels.verb != "CONNECT" {
            self.durations.get_or_create(labels).observe(took.as_secs_f64());
        }
        if let Some(size) = size.filter(|_| matches!(labels.verb.as_str(), "GET" | "LIST")) {
            self.sizes.get_or_create(labels).observe(size as f64);
        }
    }

    /// A watch or a stream is open until the answer is dropped.
    pub fn long_running(&self, labels: &Labels) -> Open {
        Open::new(self.long_running.get_or_create_owned(labels))
    }

    /// The counter of events sent to watches of a resource.
    pub fn watch_events(&self, info: &RequestInfo) -> Counter {
        let (group, version) = (info.group.clone(), info.version.clone());
        self.watch_events.get_or_create_owned(&Resource { group, version, resource: info.resource.clone() })
    }

    /// Everything as OpenMetrics text.
    pub fn render(&self, app: &App) -> String {
        for kind in app.registry.load().iter() {
            if let Ok(cache) = app.cache.of(kind) {
                let count = i64::try_from(cache.snapshot().items.len()).unwrap_or(i64::MAX);
                let stored = Stored { group: kind.group.clone(), resource: kind.plural.clone() };
                self.objects.get_or_create(&stored).set(count);
            }
        }
        self.levels.look(app);
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.registry) {
            let _ = writeln!(text, "# {error}");
        }
        text
    }
}

/// Counts one more for as long as it lives.
pub struct Open(Gauge);

impl Open {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
