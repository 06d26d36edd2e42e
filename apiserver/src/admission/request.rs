//! What webhooks and policies are told of a request besides its objects: the `request` of an AdmissionReview.

use serde_json::{Map, Value, json};
use skiff_api::meta;

use super::webhook::Subject;
use super::{Operation, Review};

/// Group, version and kind.
pub type Gvk<'a> = (&'a str, &'a str, &'a str);

impl<'a> Review<'a> {
    /// The kind of what is reviewed: a subresource may have one of its own.
    pub fn gvk(&self) -> Gvk<'a> {
        let call = self.call;
        let own = (call.kind.group.as_str(), call.version.as_str(), call.kind.kind.as_str());
        match call.kind_version().subresources.get(&call.info.subresource) {
            Some(sub) if !sub.kind.is_empty() && sub.kind != call.kind.kind => {
                let other = !sub.version.is_empty();
                let (group, version) =
                    if other { (sub.group.as_str(), sub.version.as_str()) } else { (own.0, own.1) };
                (group, version, &sub.kind)
            }
            _ => own,
        }
    }

    /// Whether what is reviewed is an object of the resource itself, whole or through a view of it.
    pub fn is_of_own_kind(&self) -> bool {
        self.gvk().2 == self.call.kind.kind
    }

    /// The name of the object; a deletion of many names none.
    pub fn name<'b>(&'b self, object: &'b Value) -> &'b str {
        match self.call.info.verb.as_str() {
            "deletecollection" => "",
            _ if self.call.name().is_empty() => meta::name(object),
            _ => self.call.name(),
        }
    }

    /// The namespace of the request; that of a namespace is its own name.
    pub fn namespace<'b>(&'b self, object: &'b Value) -> &'b str {
        let kind = &self.call.kind;
        if kind.group.is_empty() && kind.plural == "namespaces" {
            return self.name(object);
        }
        self.call.namespace()
    }

    /// What rules look at.
    pub fn subject<'b>(&'b self, object: &'b Value) -> Subject<'b> {
        Subject {
            operation: self.operation,
            group: &self.call.kind.group,
            version: &self.call.version,
            resource: &self.call.kind.plural,
            subresource: &self.call.info.subresource,
            namespace: self.namespace(object),
        }
    }

    /// The options as an object, which those of creates and updates are only here.
    pub fn options_object(&self) -> Value {
        let kind = match self.operation {
            Operation::Create => "CreateOptions",
            Operation::Update => "UpdateOptions",
            Operation::Delete => "DeleteOptions",
            Operation::Connect => return Value::Null,
        };
        let mut options = match self.options {
            Value::Object(given) => given.clone(),
            _ => Map::new(),
        };
        if self.operation != Operation::Delete {
            let query = &self.call.query;
            for key in ["fieldManager", "fieldValidation"] {
                if !query.get(key).is_empty() {
                    options.insert(key.into(), query.get(key).into());
                }
            }
            if !query.all("dryRun").is_empty() {
                options.insert("dryRun".into(), json!(query.all("dryRun")));
            }
        }
        options.retain(|_, value| value.as_array().is_none_or(|list| !list.is_empty()));
        options.insert("kind".into(), kind.into());
        options.insert("apiVersion".into(), "meta.k8s.io/v1".into());
        options.into()
    }

    /// The members of an AdmissionRequest but its uid and objects, in the version that its reader asked for.
    pub fn describe(&self, version: &str, object: &Value) -> Map<String, Value> {
        let call = self.call;
        let (group, own_version, kind) = self.gvk();
        let asked = if self.is_of_own_kind() { version } else { own_version };
        let gvk = |version: &str| json!({"group": group, "version": version, "kind": kind});
        let gvr = |version: &str| json!({"group": call.kind.group, "version": version, "resource": call.kind.plural});
        let mut request = Map::new();
        request.insert("kind".into(), gvk(asked));
        request.insert("resource".into(), gvr(version));
        request.insert("requestKind".into(), gvk(own_version));
        request.insert("requestResource".into(), gvr(&call.version));
        if !call.info.subresource.is_empty() {
            request.insert("subResource".into(), call.info.subresource.as_str().into());
            request.insert("requestSubResource".into(), call.info.subresource.as_str().into());
        }
        for (key, text) in [("name", self.name(object)), ("namespace", self.namespace(object))] {
            if !text.is_empty() {
                request.insert(key.into(), text.into());
            }
        }
        request.insert("operation".into(), self.operation.as_str().into());
        request.insert("userInfo".into(), self.user());
        request.insert("dryRun".into(), call.context.dry_run.into());
        request.insert("options".into(), self.options_object());
        request
    }

    fn user(&self) -> Value {
        let user = &self.call.context.user;
        let mut info = json!({"username": user.name});
        if !user.uid.is_empty() {
            info["uid"] = user.uid.as_str().into();
        }
        if !user.groups.is_empty() {
            info["groups"] = json!(user.groups);
        }
        if !user.extra.is_empty() {
            info["extra"] = json!(user.extra);
        }
        info
    }
}
