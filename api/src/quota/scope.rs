//! Scopes: a quota that counts only some of the objects.

use serde_json::Value;

use super::Measure;
use crate::{Object, strategy};

/// What an object must be to fall under a quota: all of it.
#[derive(Debug, Clone, Default)]
pub struct Scopes {
    selectors: Vec<Selector>,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// Such as `PriorityClass`.
    pub scope: String,
    operator: String,
    values: Vec<String>,
}

impl Selector {
    fn read(expression: &Value) -> Self {
        let text = |key: &str| expression[key].as_str().unwrap_or_default().to_owned();
        let values = expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str);
        Self {
            scope: text("scopeName"),
            operator: text("operator"),
            values: values.map(str::to_owned).collect(),
        }
    }

    /// Whether an object that has these names (of its class) is selected.
    fn takes(&self, names: &[&str]) -> bool {
        let among = names.iter().any(|name| self.values.iter().any(|value| value == name));
        match self.operator.as_str() {
            "Exists" => !names.is_empty(),
            "DoesNotExist" => names.is_empty(),
            "In" => among,
            // One name that is not among them is enough.
            "NotIn" => {
                names.is_empty() || names.iter().any(|name| !self.values.iter().any(|value| value == name))
            }
            _ => false,
        }
    }

    /// Whether an object is in this scope.
    pub fn matches(&self, measure: &Measure, object: &Object) -> bool {
        let spec = &object["spec"];
        match (measure, self.scope.as_str()) {
            (Measure::Pods, "Terminating") => is_terminating(object),
            (Measure::Pods, "NotTerminating") => !is_terminating(object),
            (Measure::Pods, "BestEffort") => strategy::qos_class(object) == "BestEffort",
            (Measure::Pods, "NotBestEffort") => strategy::qos_class(object) != "BestEffort",
            (Measure::Pods, "PriorityClass") => self.takes(&named(&[&spec["priorityClassName"]])),
            (Measure::Pods, "CrossNamespacePodAffinity") => reaches_others(&spec["affinity"]),
            (Measure::Claims, "VolumeAttributesClass") => {
                let status = &object["status"];
                self.takes(&named(&[
                    &spec["volumeAttributesClassName"],
                    &status["currentVolumeAttributesClassName"],
                    &status["modifyVolumeStatus"]["targetVolumeAttributesClassName"],
                ]))
            }
            _ => false,
        }
    }
}

impl Scopes {
    /// Those of a quota.
    pub fn of(quota: &Object) -> Self {
        let spec = &quota["spec"];
        let plain = spec["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let plain = plain.map(|scope| Selector {
            scope: scope.to_owned(),
            operator: "Exists".into(),
            values: Vec::new(),
        });
        let expressions = &spec["scopeSelector"]["matchExpressions"];
        Self { selectors: plain.chain(Self::read(expressions).selectors).collect() }
    }

    /// From a list of expressions.
    pub fn read(expressions: &Value) -> Self {
        Self { selectors: expressions.as_array().into_iter().flatten().map(Selector::read).collect() }
    }

    /// Whether an object falls under all of them.
    pub fn take(&self, measure: &Measure, object: &Object) -> bool {
        self.selectors.iter().all(|selector| selector.matches(measure, object))
    }

    /// Those that an object falls under.
    pub fn matched(&self, measure: &Measure, object: &Object) -> Vec<&Selector> {
        self.selectors.iter().filter(|selector| selector.matches(measure, object)).collect()
    }
}

/// Whether the pod's time is limited.
pub(super) fn is_terminating(pod: &Object) -> bool {
    pod["spec"]["activeDeadlineSeconds"].as_i64().is_some_and(|seconds| seconds >= 0)
}

fn named<'a>(names: &[&'a Value]) -> Vec<&'a str> {
    names.iter().filter_map(|name| name.as_str()).filter(|name| !name.is_empty()).collect()
}

/// Whether pods of other namespaces bear on where it runs.
fn reaches_others(affinity: &Value) -> bool {
    let foreign = |term: &Value| {
        term["namespaces"].as_array().is_some_and(|list| !list.is_empty())
            || term["namespaceSelector"].is_object()
    };
    ["podAffinity", "podAntiAffinity"].iter().any(|sort| {
        let of = |list: &str| affinity[*sort][list].as_array().map(Vec::as_slice).unwrap_or_default();
        of("requiredDuringSchedulingIgnoredDuringExecution").iter().any(foreign)
            || of("preferredDuringSchedulingIgnoredDuringExecution")
                .iter()
                .any(|weighted| foreign(&weighted["podAffinityTerm"]))
    })
}

impl std::fmt::Display for Selector {
    /// As Go prints it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{{{} {} [{}]}}", self.scope, self.operator, self.values.join(" "))
    }
}
