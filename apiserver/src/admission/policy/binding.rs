//! Who binds a policy: to what, with which params, and what is done about what it finds.

use serde_json::Value;
use skiff_api::selector::LabelSelector;
use skiff_api::status::Status;

use crate::admission::Review;
use crate::admission::constraint::Constraint;
use crate::app::Call;

/// A ValidatingAdmissionPolicyBinding or a MutatingAdmissionPolicyBinding.
#[derive(Debug)]
pub struct Binding {
    /// Its name.
    pub name: String,
    /// The policy's.
    pub policy: String,
    /// `Deny`, `Warn`, `Audit`.
    pub actions: Vec<String>,
    about: Option<Constraint>,
    params: Option<ParamRef>,
}

#[derive(Debug)]
struct ParamRef {
    name: String,
    namespace: String,
    selector: Result<LabelSelector, String>,
    denies_absence: bool,
}

/// The kind of a policy's params.
#[derive(Debug)]
pub struct ParamKind {
    api_version: String,
    kind: String,
}

impl ParamKind {
    /// Reads a `paramKind`, if there is one.
    pub fn read(value: &Value) -> Option<Self> {
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        value.is_object().then(|| Self { api_version: text("apiVersion"), kind: text("kind") })
    }

    fn parts(&self) -> (&str, &str) {
        self.api_version.split_once('/').unwrap_or(("", &self.api_version))
    }

    /// Refuses a kind that is not served.
    ///
    /// # Errors
    /// Why, in upstream's words.
    pub fn check(&self, call: &Call) -> Result<(), String> {
        let (group, version) = self.parts();
        let registry = call.app.registry.load();
        if registry.kind(group, &self.kind).is_some_and(|kind| kind.version(version).is_some()) {
            return Ok(());
        }
        let name = if group.is_empty() { format!("/{version}") } else { self.api_version.clone() };
        Err(format!("failed to find resource referenced by paramKind: '{name}, Kind={}'", self.kind))
    }
}

impl Binding {
    /// Reads a binding.
    pub fn read(object: &Value) -> Self {
        let spec = &object["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let of = &spec["paramRef"];
        let params = of.is_object().then(|| ParamRef {
            name: text(&of["name"]),
            namespace: text(&of["namespace"]),
            selector: LabelSelector::from_object(&of["selector"]).map_err(|error| error.to_string()),
            denies_absence: of["parameterNotFoundAction"] == "Deny",
        });
        let actions = spec["validationActions"].as_array().into_iter().flatten();
        Self {
            name: text(&object["metadata"]["name"]),
            policy: text(&spec["policyName"]),
            actions: actions.map(text).collect(),
            about: spec["matchResources"].is_object().then(|| Constraint::of_policy(&spec["matchResources"])),
            params,
        }
    }

    /// Whether it binds its policy for a request.
    pub fn concerns(&self, review: &Review<'_>, object: &Value) -> Result<bool, Status> {
        let Some(about) = &self.about else { return Ok(true) };
        Ok(about.version(review, object)?.is_some())
    }

    /// The params that the policy is evaluated with, one after the other; null where it has none.
    ///
    /// # Errors
    /// Why there are none that could be used.
    pub fn params(&self, review: &Review<'_>, kind: Option<&ParamKind>) -> Result<Vec<Value>, String> {
        let (Some(kind), Some(of)) = (kind, &self.params) else { return Ok(vec![Value::Null]) };
        let call = review.call;
        let (group, version) = kind.parts();
        let registry = call.app.registry.load_full();
        let found = registry.kind(group, &kind.kind).filter(|found| found.version(version).is_some());
        let cache = found.and_then(|found| call.app.cache.of(found).ok());
        let (Some(found), Some(cache)) = (found, cache) else {
            let (api_version, kind) = (&kind.api_version, &kind.kind);
            return Err(format!(
                "paramKind kind `&ParamKind{{APIVersion:{api_version},Kind:{kind},}}` not known"
            ));
        };
        let namespace = match (found.namespaced, of.namespace.is_empty()) {
            (false, false) => {
                return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".into());
            }
            (false, true) => "",
            (true, false) => &of.namespace,
            (true, true) if call.namespace().is_empty() => {
                let why =
                    "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources";
                return Err(why.into());
            }
            (true, true) => call.namespace(),
        };
        let params: Vec<Value> = if of.name.is_empty() {
            let selector = of.selector.as_ref().map_err(Clone::clone)?;
            let snapshot = cache.snapshot();
            let inside = snapshot.items.values().filter(|item| item.namespace() == namespace);
            inside
                .filter(|item| selector.matches(&item.labels))
                .map(|item| item.object(found, version))
                .collect()
        } else {
            cache.get(namespace, &of.name).map(|item| item.object(found, version)).into_iter().collect()
        };
        if params.is_empty() && of.denies_absence {
            return Err("no params found for policy binding with `Deny` parameterNotFoundAction".into());
        }
        Ok(params)
    }
}
