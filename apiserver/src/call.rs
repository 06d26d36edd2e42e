//! A request for a resource that exists, on its way through a handler.

use std::sync::Arc;

use serde_json::Value;
use skiff_api::kind::{Action, Kind};
use skiff_api::status::Status;

use crate::app::App;
use crate::context::Context;
use crate::negotiate::Accept;
use crate::request::{Query, RequestInfo};

/// Why a name cannot be part of a path.
fn bad_segment(name: &str) -> Option<String> {
    match name {
        "." | ".." => Some(format!("may not be '{name}'")),
        _ => {
            let bad: Vec<String> = ['/', '%']
                .into_iter()
                .filter(|c| name.contains(*c))
                .map(|c| format!("may not contain '{c}'"))
                .collect();
            (!bad.is_empty()).then(|| bad.join(";"))
        }
    }
}

/// A request for a resource that exists, on its way through a handler.
#[derive(Clone)]
pub struct Call {
    /// The server.
    pub app: Arc<App>,
    /// Who and when.
    pub context: Context,
    /// Who comes to own what this call changes.
    pub manager: String,
    /// Of which kind.
    pub kind: Arc<Kind>,
    /// In which version.
    pub version: String,
    /// The path taken apart.
    pub info: RequestInfo,
    /// The query.
    pub query: Query,
    /// What the client reads.
    pub accept: Accept,
    /// Whether what is written was admitted in another form: a pod's binding, say, or an eviction.
    pub admitted: bool,
}

impl Call {
    /// Refuses paths and methods that lead nowhere, and names that could leave their place in the store.
    pub fn check_shape(&self) -> Result<(), Status> {
        let info = &self.info;
        let everywhere = self.kind.namespaced && info.namespace.is_empty();
        let stray = !self.kind.namespaced && !info.namespace.is_empty() && self.kind.plural != "namespaces";
        if stray || (everywhere && !info.name.is_empty()) {
            return Err(Status::no_such_path());
        }
        let whole = info.name.is_empty();
        let fits = match info.verb.as_str() {
            "list" => true,
            "watch" => true,
            "create" => (whole || !info.subresource.is_empty()) && !everywhere,
            "deletecollection" => !everywhere,
            _ => !whole,
        };
        if !fits {
            return Err(Status::method_not_allowed());
        }
        if !whole && let Some(why) = bad_segment(&info.name) {
            return Err(Status::bad_request(format!("Name parameter invalid: {:?}: {why}", info.name)));
        }
        if self.kind.namespaced && matches!(info.namespace.as_str(), "." | "..") {
            let root = self.kind.prefix.trim_start_matches("registry");
            let mut key = format!("{root}/{}", info.namespace);
            if !whole {
                key.push_str(&format!("/{}", info.name));
            }
            return Err(Status::new(500, "", format!("invalid key: {key:?}")));
        }
        Ok(())
    }

    /// The namespace of the object, or nothing for cluster-wide kinds.
    pub fn namespace(&self) -> &str {
        if self.kind.namespaced { &self.info.namespace } else { "" }
    }

    /// The name of the object.
    pub fn name(&self) -> &str {
        &self.info.name
    }

    /// What objects are held to beyond their structure, where a schema says it.
    pub fn validator(&self) -> Option<&skiff_api::custom::Validator> {
        self.kind_version().validator.as_deref()
    }

    /// The version asked for.
    pub fn kind_version(&self) -> &skiff_api::kind::Version {
        self.kind.version(&self.version).expect("the registry matched this version")
    }

    /// The schema of the version asked for.
    pub fn schema(&self) -> &skiff_api::schema::Schema {
        &self.kind_version().schema
    }

    /// Another object, as the cache has it, in the version that is stored.
    pub fn find(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let cache = self.app.cache.find(group, resource)?;
        let item = cache.get(namespace, name)?;
        Some(item.object(cache.kind(), &cache.kind().stored().name))
    }

    /// What the server itself writes while it answers this call, in the same namespace if that kind has one.
    pub fn of_server(&self, group: &str, resource: &str, name: &str, subresource: &str) -> Option<Self> {
        let registry = self.app.registry.load_full();
        let kind = self.app.cache.find(group, resource)?.kind().clone();
        let version = kind.stored().name.clone();
        registry.resource(group, &version, resource)?;
        let mut call = self.clone();
        call.info = RequestInfo {
            is_resource: true,
            verb: "patch".into(),
            group: group.into(),
            version: version.clone(),
            namespace: if kind.namespaced { self.info.namespace.clone() } else { String::new() },
            resource: resource.into(),
            subresource: subresource.into(),
            name: name.into(),
            ..RequestInfo::default()
        };
        call.query = Query::default();
        "kube-apiserver".clone_into(&mut call.manager);
        (call.kind, call.version, call.admitted) = (kind, version, true);
        Some(call)
    }

    /// 404 for this call's object.
    pub fn not_found(&self) -> Status {
        Status::not_found(&self.kind.group, &self.kind.plural, self.name())
    }

    /// What the subresource of this call does.
    pub fn action(&self) -> Option<&Action> {
        let version = self.kind.version(&self.version)?;
        version.subresources.get(&self.info.subresource).map(|subresource| &subresource.action)
    }
}
