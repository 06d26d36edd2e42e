//! What one kind does beyond its data: prepare, validate, warn. Synchronous and pure; what must
//! read other objects is admission, not strategy.

mod api_service;
mod certificate;
mod config;
mod custom_resource_definition;
mod endpoint_slice;
mod ingress;
mod lease;
mod limits;
mod metadata;
mod namespace;
mod node;
mod pod;
mod pod_spec;
mod policy;
mod rbac;
mod service;
mod webhook;
mod webhook_configuration;
mod workload;

use crate::Object;
use crate::kind::Kind;
use crate::status::FieldError;

pub use metadata::check_metadata;
pub use pod::qos_class;
use workload::Workload;

/// A kind's own part of a write.
pub trait Strategy: Send + Sync {
    /// Sets what the server decides, and keeps what a write may not change.
    fn prepare(&self, _new: &mut Object, _old: Option<&Object>) {}

    /// What is wrong with it.
    fn validate(&self, _new: &Object, _old: Option<&Object>) -> Vec<FieldError> {
        Vec::new()
    }

    /// What is allowed but should be known.
    fn warnings(&self, _new: &Object) -> Vec<String> {
        Vec::new()
    }
}

/// A kind that needs no code.
struct Plain;

impl Strategy for Plain {}

/// The strategy of a kind.
pub fn of(kind: &Kind) -> &'static dyn Strategy {
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Pod") => &pod::Pod,
        ("", "Service") => &service::Service,
        ("", "Namespace") => &namespace::Namespace,
        ("", "Node") => &node::Node,
        ("", "Secret") => &config::Secret,
        ("", "ConfigMap") => &config::ConfigMap,
        ("apps", "Deployment") => &Workload { selected: "deployment", deadline: "ReplicaSet" },
        ("apps", "ReplicaSet") => &Workload { selected: "deployment", deadline: "ReplicaSet" },
        ("apps", "StatefulSet") => &Workload { selected: "statefulset", deadline: "StatefulSet" },
        ("apps", "DaemonSet") => &Workload { selected: "daemonset", deadline: "DaemonSet" },
        ("batch", "Job") => &workload::Job,
        ("batch", "CronJob") => &workload::CronJob,
        ("autoscaling", "HorizontalPodAutoscaler") => &policy::Autoscaler,
        ("policy", "PodDisruptionBudget") => &policy::Budget,
        ("networking.k8s.io", "NetworkPolicy") => &policy::Network,
        ("networking.k8s.io", "Ingress") => &ingress::Ingress,
        ("", "LimitRange") => &limits::Limits,
        ("", "ResourceQuota") => &limits::Quota,
        ("scheduling.k8s.io", "PriorityClass") => &policy::Priority,
        ("", "PodTemplate") => &policy::Template,
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => &policy::Level,
        (crate::custom::GROUP, "CustomResourceDefinition") => {
            &custom_resource_definition::CustomResourceDefinition
        }
        (
            "admissionregistration.k8s.io",
            "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration",
        ) => &webhook_configuration::WebhookConfiguration,
        ("apiregistration.k8s.io", "APIService") => &api_service::ApiService,
        ("coordination.k8s.io", "Lease") => &lease::Lease,
        ("discovery.k8s.io", "EndpointSlice") => &endpoint_slice::EndpointSlice,
        ("certificates.k8s.io", "CertificateSigningRequest") => &certificate::SigningRequest,
        ("certificates.k8s.io", "ClusterTrustBundle") => &certificate::TrustBundle,
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => &rbac::Role,
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => &rbac::Binding,
        _ => &Plain,
    }
}

/// The list at `value.key`, or nothing.
fn list<'a>(value: &'a serde_json::Value, key: &str) -> &'a [serde_json::Value] {
    value.get(key).and_then(serde_json::Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The text at `value.key`, or empty.
fn text<'a>(value: &'a serde_json::Value, key: &str) -> &'a str {
    value.get(key).and_then(serde_json::Value::as_str).unwrap_or_default()
}

const IMMUTABLE: &str = "field is immutable";
const PORT: &str = "must be between 1 and 65535, inclusive";
