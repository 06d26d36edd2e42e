//! One APIService, read once.

use serde_json::Value;
use skiff_api::meta;

use crate::admission::webhook::trust;
use crate::backend::{Backend, Place, Trust};

/// A group and version, and who serves it.
#[derive(Debug)]
pub struct ApiService {
    /// Its name, `VERSION.GROUP`.
    pub name: String,
    /// Such as `metrics.k8s.io`.
    pub group: String,
    /// Such as `v1beta1`.
    pub version: String,
    /// Greater comes first among groups.
    pub group_priority: i64,
    /// Greater comes first among the versions of a group.
    pub version_priority: i64,
    /// Who serves it, if not this server.
    pub backend: Option<Backend>,
    /// Whether it was available when that was last looked at.
    pub available: bool,
    /// Changes with every change of what is wanted.
    pub uid: String,
}

impl ApiService {
    pub(super) fn read(object: &Value) -> Self {
        let spec = &object["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let number = |key: &str| spec[key].as_i64().unwrap_or(0);
        let conditions = object["status"]["conditions"].as_array();
        let available = conditions
            .into_iter()
            .flatten()
            .any(|condition| condition["type"] == "Available" && condition["status"] == "True");
        let service = &spec["service"];
        let backend = service.is_object().then(|| Backend {
            place: Place::Service {
                namespace: text(&service["namespace"]),
                name: text(&service["name"]),
                port: service["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(443),
            },
            trust: if spec["insecureSkipTLSVerify"] == true {
                Trust::Anyone
            } else {
                trust(&spec["caBundle"])
            },
            shows_certificate: true,
        });
        Self {
            name: meta::name(object).into(),
            group: text(&spec["group"]),
            version: text(&spec["version"]),
            group_priority: number("groupPriorityMinimum"),
            version_priority: number("versionPriority"),
            backend,
            available,
            uid: meta::uid(object).into(),
        }
    }
}
