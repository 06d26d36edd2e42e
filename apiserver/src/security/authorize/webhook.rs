//! A server outside that is asked with a SubjectAccessReview. What it says is believed for a while.
//!
//! Behaviour as upstream's `apiserver/plugin/pkg/authorizer/webhook`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use skiff_api::selector::LabelSelector;
use skiff_api::selector::Operator;
use skiff_cel::{Activation, Budget, Environment, MATCH_CONDITIONS_BUDGET, Program, Shape, Type};

use crate::cache::Cache;
use crate::security::remote::Remote;
use crate::security::{Attributes, Decision, text};

/// Answers kept; when full, all are forgotten.
const MAX: usize = 8192;

/// What a failed call means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The next authorizer is asked.
    NoOpinion,
    /// The request is refused.
    Deny,
}

/// One webhook.
#[derive(Debug, Clone)]
pub struct Options {
    /// What logs call it.
    pub name: String,
    /// A kubeconfig that says where the server is.
    pub config_file: PathBuf,
    /// The version of the review: `v1` or `v1beta1`.
    pub version: String,
    /// How long a yes is believed.
    pub authorized_ttl: Duration,
    /// How long a no is believed.
    pub unauthorized_ttl: Duration,
    /// How long the server may take.
    pub timeout: Duration,
    /// What a failed call means.
    pub failure: Failure,
    /// It is asked only about requests for which all of these hold.
    pub conditions: Vec<String>,
}

/// Asks the server.
pub struct Webhook {
    remote: Remote,
    options: Options,
    conditions: Vec<Program>,
    known: Mutex<HashMap<String, (Decision, Instant)>>,
}

static ENVIRONMENT: LazyLock<Environment> = LazyLock::new(|| {
    let string = || Shape::of_type(&Type::String);
    let strings = || Shape::of_type(&Type::list(Type::String));
    let requirement = |name| {
        Shape::object(name, [("key", string()), ("operator", string()), ("values", strings())]).cel_type()
    };
    let selector = |name, of| {
        let requirements = Shape::of_type(&Type::list(requirement(of)));
        Shape::object(name, [("rawSelector", string()), ("requirements", requirements)])
    };
    let resource = Shape::object(
        "kubernetes.ResourceAttributes",
        [
            ("namespace", string()),
            ("verb", string()),
            ("group", string()),
            ("version", string()),
            ("resource", string()),
            ("subresource", string()),
            ("name", string()),
            (
                "fieldSelector",
                selector("kubernetes.FieldSelectorAttributes", "kubernetes.SelectorRequirement"),
            ),
            (
                "labelSelector",
                selector("kubernetes.LabelSelectorAttributes", "kubernetes.SelectorRequirement"),
            ),
        ],
    );
    let path = Shape::object("kubernetes.NonResourceAttributes", [("path", string()), ("verb", string())]);
    let extra = Shape::of_type(&Type::map(Type::String, Type::list(Type::String)));
    let request = Shape::object(
        "kubernetes.SubjectAccessReviewSpec",
        [
            ("resourceAttributes", resource),
            ("nonResourceAttributes", path),
            ("user", string()),
            ("groups", strings()),
            ("extra", extra),
            ("uid", string()),
        ],
    );
    Environment::new().variable("request", request)
});

/// Compiles a condition.
///
/// # Errors
/// What is wrong with it.
pub fn compile(expression: &str) -> Result<Program, String> {
    let program = ENVIRONMENT
        .compile_to(expression, &Type::Bool, "must evaluate to bool")
        .map_err(|errors| errors.to_string())?;
    Ok(program)
}

impl Webhook {
    /// A webhook.
    ///
    /// # Errors
    /// Its file cannot be used, or a condition does not compile.
    pub fn new(options: &Options, cache: &Arc<Cache>) -> anyhow::Result<Self> {
        let conditions: Result<Vec<Program>, String> =
            options.conditions.iter().map(|condition| compile(condition)).collect();
        Ok(Self {
            remote: Remote::of_kubeconfig(&options.config_file, options.timeout, cache)?,
            options: options.clone(),
            conditions: conditions.map_err(anyhow::Error::msg)?,
            known: Mutex::default(),
        })
    }

    /// What the server says.
    pub async fn decide(&self, attributes: &Attributes<'_>) -> Decision {
        let spec = spec(attributes);
        match matches(&self.conditions, &spec) {
            Ok(true) => {}
            Ok(false) => return Decision::NoOpinion(String::new()),
            Err(why) => return self.failed(&why),
        }
        let key = spec.to_string();
        if let Some((decision, until)) = self.known.lock().expect("no holder of this lock panics").get(&key)
            && Instant::now() < *until
        {
            return decision.clone();
        }
        let review = json!({
            "apiVersion": format!("authorization.k8s.io/{}", self.options.version),
            "kind": "SubjectAccessReview", "metadata": {}, "spec": in_version(spec, &self.options.version),
        });
        let decision = match self.remote.post(&review).await.and_then(|answer| judge(&answer)) {
            Ok(decision) => decision,
            Err(why) => return self.failed(&why),
        };
        let ttl = match decision {
            Decision::Allow(_) => self.options.authorized_ttl,
            _ => self.options.unauthorized_ttl,
        };
        if !ttl.is_zero() && key.len() < 10_000 {
            let mut known = self.known.lock().expect("no holder of this lock panics");
            if known.len() >= MAX {
                known.clear();
            }
            known.insert(key, (decision.clone(), Instant::now() + ttl));
        }
        decision
    }

    fn failed(&self, why: &str) -> Decision {
        tracing::error!(webhook = self.options.name, why, "an authorization webhook failed");
        match self.options.failure {
            Failure::NoOpinion => Decision::NoOpinion(String::new()),
            Failure::Deny => Decision::Deny(String::new()),
        }
    }
}

/// Whether all conditions hold; one that does not hold decides, whatever fails in others.
fn matches(conditions: &[Program], spec: &Value) -> Result<bool, String> {
    let mut activation = Activation::new();
    activation.json("request", spec);
    let mut budget = Budget::new(MATCH_CONDITIONS_BUDGET);
    let mut failed = None;
    for condition in conditions {
        match condition.evaluate(&activation, &mut budget) {
            Ok(value) if value.as_bool() == Some(true) => {}
            Ok(_) => return Ok(false),
            Err(error) => failed = Some(error.to_string()),
        }
    }
    failed.map_or(Ok(true), Err)
}

/// The `spec` of the review of a request.
fn spec(attributes: &Attributes<'_>) -> Value {
    let user = attributes.user;
    let mut spec = Map::new();
    let put = |map: &mut Map<String, Value>, key: &str, value: &str| {
        if !value.is_empty() {
            map.insert(key.into(), value.into());
        }
    };
    if attributes.resource_request {
        let mut resource = Map::new();
        for (key, value) in [
            ("namespace", attributes.namespace),
            ("verb", attributes.verb),
            ("group", attributes.group),
            ("version", attributes.version),
            ("resource", attributes.resource),
            ("subresource", attributes.subresource),
            ("name", attributes.name),
        ] {
            put(&mut resource, key, value);
        }
        for (key, requirements) in [
            ("fieldSelector", field_requirements(attributes.field_selector)),
            ("labelSelector", label_requirements(attributes.label_selector)),
        ] {
            if !requirements.is_empty() {
                resource.insert(key.into(), json!({"requirements": requirements}));
            }
        }
        spec.insert("resourceAttributes".into(), resource.into());
    } else {
        let mut path = Map::new();
        put(&mut path, "path", attributes.path);
        put(&mut path, "verb", attributes.verb);
        spec.insert("nonResourceAttributes".into(), path.into());
    }
    put(&mut spec, "user", &user.name);
    if !user.groups.is_empty() {
        spec.insert("groups".into(), user.groups.clone().into());
    }
    if !user.extra.is_empty() {
        spec.insert("extra".into(), json!(user.extra));
    }
    put(&mut spec, "uid", &user.uid);
    spec.into()
}

/// In v1beta1 the groups are called otherwise.
fn in_version(mut spec: Value, version: &str) -> Value {
    if version == "v1beta1"
        && let Some(map) = spec.as_object_mut()
        && let Some(groups) = map.remove("groups")
    {
        map.insert("group".into(), groups);
    }
    spec
}

fn field_requirements(selector: &str) -> Vec<Value> {
    if skiff_api::selector::FieldSelector::parse(selector).is_err() {
        return Vec::new();
    }
    let parts = selector.split(',').filter(|part| !part.is_empty());
    parts
        .filter_map(|part| {
            let (key, value, operator) = match part.split_once("!=") {
                Some((key, value)) => (key, value, "NotIn"),
                None => {
                    let (key, value) = part.split_once('=')?;
                    (key, value.strip_prefix('=').unwrap_or(value), "In")
                }
            };
            Some(json!({"key": key, "operator": operator, "values": [value]}))
        })
        .collect()
}

fn label_requirements(selector: &str) -> Vec<Value> {
    let Ok(parsed) = LabelSelector::parse(selector) else { return Vec::new() };
    let requirements = parsed.requirements().iter();
    requirements
        .filter_map(|one| {
            let operator = match one.operator {
                Operator::Equals | Operator::In => "In",
                Operator::NotEquals | Operator::NotIn => "NotIn",
                Operator::Exists => return Some(json!({"key": one.key, "operator": "Exists"})),
                Operator::DoesNotExist => return Some(json!({"key": one.key, "operator": "DoesNotExist"})),
                Operator::GreaterThan | Operator::LessThan => return None,
            };
            Some(json!({"key": one.key, "operator": operator, "values": one.values}))
        })
        .collect()
}

/// What an answer means.
fn judge(answer: &Value) -> Result<Decision, String> {
    let reason = text(answer, "/status/reason").to_owned();
    match (answer["status"]["denied"] == true, answer["status"]["allowed"] == true) {
        (true, true) => Err("webhook subject access review returned both allow and deny response".into()),
        (true, false) => Ok(Decision::Deny(reason)),
        (false, true) => Ok(Decision::Allow(reason)),
        (false, false) => Ok(Decision::NoOpinion(reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::User;

    #[test]
    fn a_review_says_what_is_asked() {
        let mut user = User::new("jane", &["dev"]);
        user.uid = "7".into();
        let asked = Attributes {
            user: &user,
            verb: "list",
            group: "apps",
            version: "v1",
            resource: "deployments",
            namespace: "ns",
            resource_request: true,
            field_selector: "metadata.name=a,spec.x!=b",
            label_selector: "app in (a,b),!old",
            ..Attributes::default()
        };
        assert_eq!(
            spec(&asked),
            json!({
                "resourceAttributes": {
                    "namespace": "ns", "verb": "list", "group": "apps", "version": "v1", "resource": "deployments",
                    "fieldSelector": {"requirements": [
                        {"key": "metadata.name", "operator": "In", "values": ["a"]},
                        {"key": "spec.x", "operator": "NotIn", "values": ["b"]},
                    ]},
                    "labelSelector": {"requirements": [
                        {"key": "app", "operator": "In", "values": ["a", "b"]},
                        {"key": "old", "operator": "DoesNotExist"},
                    ]},
                },
                "user": "jane", "groups": ["dev"], "uid": "7",
            })
        );
        assert_eq!(in_version(spec(&asked), "v1beta1")["group"], json!(["dev"]));
    }

    #[test]
    fn conditions_choose_what_is_asked_about() {
        let user = User::new("jane", &["dev"]);
        let asked = Attributes {
            user: &user,
            verb: "get",
            resource: "pods",
            resource_request: true,
            ..Attributes::default()
        };
        let spec = spec(&asked);
        let table = [
            (vec!["request.user == 'jane'"], Ok(true)),
            (vec!["request.resourceAttributes.verb == 'list'"], Ok(false)),
            (vec!["has(request.resourceAttributes)", "'dev' in request.groups"], Ok(true)),
            (vec!["request.nonResourceAttributes.path == '/x'"], Err(())),
            (vec!["request.nonResourceAttributes.path == '/x'", "request.user == 'joe'"], Ok(false)),
        ];
        for (expressions, expected) in table {
            let programs: Vec<Program> = expressions.iter().map(|one| compile(one).unwrap()).collect();
            assert_eq!(matches(&programs, &spec).map_err(drop), expected, "{expressions:?}");
        }
        assert!(compile("request.user").unwrap_err().contains("must evaluate to bool"));
    }

    #[test]
    fn an_answer_is_yes_no_or_nothing() {
        let said = |status: Value| judge(&json!({"status": status}));
        assert_eq!(said(json!({"allowed": true, "reason": "r"})), Ok(Decision::Allow("r".into())));
        assert_eq!(said(json!({"allowed": false, "denied": true})), Ok(Decision::Deny(String::new())));
        assert_eq!(said(json!({"allowed": false})), Ok(Decision::NoOpinion(String::new())));
        assert!(said(json!({"allowed": true, "denied": true})).is_err());
    }
}
