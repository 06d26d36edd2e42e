//! Telling people what happened: core/v1 Events, counted instead of repeated.
//!
//! Recording never blocks and never fails: an event that cannot be kept is dropped and logged.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::mpsc;

/// Events waiting to be sent; more are dropped.
pub const MAX_PENDING: usize = 1000;
/// Events remembered for counting; at the limit all are forgotten, and counting begins anew.
pub const MAX_REMEMBERED: usize = 4096;
/// Events that one object may have at once, as upstream; they come back at one in [`REFILL_SECONDS`].
const BURST: f64 = 25.0;
/// Seconds until an object that used up its burst may have one event more.
const REFILL_SECONDS: f64 = 300.0;

/// The type of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// All is as it should be.
    Normal,
    /// Somebody should look.
    Warning,
}

impl Type {
    /// As the API spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// Sends events in the name of one component; clones share its memory.
#[derive(Clone)]
pub struct Recorder {
    sender: Option<mpsc::Sender<Occurrence>>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Occurrence {
    about: Arc<Reference>,
    kind: Type,
    reason: String,
    message: String,
}

/// An [`ObjectReference`] that can be hashed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
struct Reference {
    api_version: String,
    kind: String,
    namespace: String,
    name: String,
    uid: String,
    field_path: String,
}

impl Recorder {
    /// A recorder for `component` (`kubelet`, `default-scheduler`) on `host` (empty: none in particular). Its task ends
    /// with the last clone.
    pub fn new(client: kube::Client, component: impl Into<String>, host: impl Into<String>) -> Self {
        let (sender, receiver) = mpsc::channel(MAX_PENDING);
        let sink = Sink {
            client,
            component: component.into(),
            host: host.into(),
            series: HashMap::new(),
            allowance: HashMap::new(),
        };
        tokio::spawn(sink.run(receiver));
        Self { sender: Some(sender) }
    }

    /// A recorder that drops everything, for tests.
    pub fn silent() -> Self {
        Self { sender: None }
    }

    /// Records that something happened to `about`.
    pub fn event(
        &self,
        about: &ObjectReference,
        kind: Type,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) {
        let Some(sender) = &self.sender else { return };
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let about = Arc::new(Reference {
            api_version: text(&about.api_version),
            kind: text(&about.kind),
            namespace: text(&about.namespace),
            name: text(&about.name),
            uid: text(&about.uid),
            field_path: text(&about.field_path),
        });
        let occurrence = Occurrence { about, kind, reason: reason.into(), message: message.into() };
        if let Err(error) = sender.try_send(occurrence) {
            tracing::warn!(%error, "event dropped");
        }
    }
}

/// A reference to an object of a built-in kind, as events want it.
pub fn reference<K>(object: &K) -> ObjectReference
where
    K: kube::Resource<DynamicType = ()>,
{
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        namespace: object.meta().namespace.clone(),
        name: object.meta().name.clone(),
        uid: object.meta().uid.clone(),
        resource_version: object.meta().resource_version.clone(),
        field_path: None,
    }
}

// === the sender ===

struct Sink {
    client: kube::Client,
    component: String,
    host: String,
    series: HashMap<Occurrence, (String, i32)>,
    /// Per object: events left, and when that was computed.
    allowance: HashMap<Arc<Reference>, (f64, Timestamp)>,
}

impl Sink {
    async fn run(mut self, mut receiver: mpsc::Receiver<Occurrence>) {
        while let Some(occurrence) = receiver.recv().await {
            let now = Timestamp::now();
            if !self.allowed(&occurrence.about, now) {
                continue;
            }
            if let Err(error) = self.send(&occurrence, now).await {
                tracing::debug!(%error, reason = occurrence.reason, "event not stored");
            }
        }
    }

    /// A token bucket for each object, so that one failing pod does not fill the store.
    fn allowed(&mut self, about: &Arc<Reference>, now: Timestamp) -> bool {
        if self.allowance.len() >= MAX_REMEMBERED {
            self.allowance.clear();
        }
        let (left, since) = self.allowance.entry(about.clone()).or_insert((BURST, now));
        let (refilled, allowed) = spend(*left, now.duration_since(*since).as_secs_f64());
        (*left, *since) = (refilled, now);
        allowed
    }

    async fn send(&mut self, occurrence: &Occurrence, now: Timestamp) -> Result<(), kube::Error> {
        let namespace =
            if occurrence.about.namespace.is_empty() { "default" } else { &occurrence.about.namespace };
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        if let Some((name, count)) = self.series.get_mut(occurrence) {
            *count += 1;
            let patch = json!({"count": *count, "lastTimestamp": Time(now)});
            match api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await {
                // It has expired: the series begins anew.
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                other => return other.map(|_| ()),
            }
        }
        let event = render(occurrence, &self.component, &self.host, namespace, now);
        let name = event.metadata.name.clone().unwrap_or_default();
        api.create(&PostParams::default(), &event).await?;
        if self.series.len() >= MAX_REMEMBERED {
            self.series.clear();
        }
        self.series.insert(occurrence.clone(), (name, 1));
        Ok(())
    }
}

/// (tokens left, whether one was there to spend) after `seconds` of refill.
fn spend(left: f64, seconds: f64) -> (f64, bool) {
    let refilled = (left + seconds / REFILL_SECONDS).min(BURST);
    if refilled >= 1.0 { (refilled - 1.0, true) } else { (refilled, false) }
}

fn render(occurrence: &Occurrence, component: &str, host: &str, namespace: &str, now: Timestamp) -> Event {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let about = &occurrence.about;
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{}.{:x}", about.name, now.as_nanosecond())),
            namespace: Some(namespace.to_owned()),
            ..Default::default()
        },
        involved_object: ObjectReference {
            api_version: some(&about.api_version),
            kind: some(&about.kind),
            namespace: some(&about.namespace),
            name: some(&about.name),
            uid: some(&about.uid),
            field_path: some(&about.field_path),
            resource_version: None,
        },
        type_: Some(occurrence.kind.as_str().to_owned()),
        reason: some(&occurrence.reason),
        message: some(&occurrence.message),
        source: Some(EventSource { component: some(component), host: some(host) }),
        reporting_component: some(component),
        reporting_instance: some(host),
        count: Some(1),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_object_cannot_flood_the_store() {
        let table = [
            (25.0, 0.0, 24.0, true),
            (0.5, 0.0, 0.5, false),
            (0.5, 150.0, 0.0, true),
            (25.0, 9e9, 24.0, true),
        ];
        for (left, seconds, expected, allowed) in table {
            assert_eq!(spend(left, seconds), (expected, allowed), "{left} {seconds}");
        }
    }

    #[test]
    fn an_event_names_its_object_and_source() {
        let about = Arc::new(Reference { kind: "Pod".into(), name: "web".into(), ..Default::default() });
        let occurrence =
            Occurrence { about, kind: Type::Warning, reason: "Failed".into(), message: "no".into() };
        let event = render(&occurrence, "kubelet", "host", "default", Timestamp::UNIX_EPOCH);
        assert_eq!(event.metadata.name.as_deref(), Some("web.0"));
        assert_eq!(event.involved_object.namespace, None);
        assert_eq!(event.type_.as_deref(), Some("Warning"));
        assert_eq!(event.source.and_then(|source| source.host).as_deref(), Some("host"));
    }
}
