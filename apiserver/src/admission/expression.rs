//! What expressions in CEL are told of a request, for policies and for the `matchConditions` of webhooks.
//!
//! Variables and their types as upstream's `apiserver/pkg/admission/plugin/cel/compile.go`.

use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value, json};
use skiff_cel::{
    Activation, Authorizer, Budget, Decision, Environment, EvaluationError, Form, ListKind, Program,
    Question, ResourceCheck, Shape, Target, Type, Value as Cel, Variables,
};

use super::Review;
use crate::app::App;
use crate::security::{self, Attributes, Authorizer as _, User};

/// Which variables an expression may use besides `object`, `oldObject`, `request` and `namespaceObject`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Uses {
    /// `params`.
    pub params: bool,
    /// `authorizer` and `authorizer.requestResource`.
    pub authorizer: bool,
}

/// The environment of expressions of which nothing is known of the objects.
pub fn environment(uses: Uses) -> Environment {
    let dynamic = || Shape::of_type(&Type::Dyn);
    typed_environment(uses, &dynamic(), &dynamic())
}

/// The same where it is known what `object` and `params` are.
pub fn typed_environment(uses: Uses, object: &Arc<Shape>, params: &Arc<Shape>) -> Environment {
    let mut environment = Environment::new()
        .variable("object", object.clone())
        .variable("oldObject", object.clone())
        .variable("namespaceObject", NAMESPACE.clone())
        .variable("request", REQUEST.clone());
    if uses.params {
        environment = environment.variable("params", params.clone());
    }
    if uses.authorizer {
        environment = environment.authorizer("authorizer").resource_check("authorizer.requestResource");
    }
    environment
}

fn text() -> Arc<Shape> {
    Shape::of_type(&Type::String)
}

fn list(items: Arc<Shape>) -> Arc<Shape> {
    Arc::new(Shape::new(Form::List { items, kind: ListKind::Atomic }, 0, 2))
}

fn map(values: Arc<Shape>) -> Arc<Shape> {
    Arc::new(Shape::new(Form::Map(values), 0, 2))
}

fn object(name: &str, fields: &[(&'static str, &Arc<Shape>)]) -> Arc<Shape> {
    Shape::object(name, fields.iter().map(|(field, shape)| (*field, Arc::clone(shape))))
}

/// The type of `request`.
static REQUEST: LazyLock<Arc<Shape>> = LazyLock::new(|| {
    let text = text();
    let gvk = object("kubernetes.GroupVersionKind", &[("group", &text), ("version", &text), ("kind", &text)]);
    let gvr = object(
        "kubernetes.GroupVersionResource",
        &[("group", &text), ("version", &text), ("resource", &text)],
    );
    let texts = list(text.clone());
    let user = object(
        "kubernetes.UserInfo",
        &[("username", &text), ("uid", &text), ("groups", &texts), ("extra", &map(texts.clone()))],
    );
    let (truth, dynamic) = (Shape::of_type(&Type::Bool), Shape::of_type(&Type::Dyn));
    object(
        "kubernetes.AdmissionRequest",
        &[
            ("kind", &gvk),
            ("resource", &gvr),
            ("subResource", &text),
            ("requestKind", &gvk),
            ("requestResource", &gvr),
            ("requestSubResource", &text),
            ("name", &text),
            ("namespace", &text),
            ("operation", &text),
            ("userInfo", &user),
            ("dryRun", &truth),
            ("options", &dynamic),
        ],
    )
});

/// The metadata of a namespace that expressions see.
const NAMESPACE_METADATA: [&str; 11] = [
    "name",
    "generateName",
    "namespace",
    "labels",
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "resourceVersion",
    "finalizers",
];

/// The type of `namespaceObject`.
static NAMESPACE: LazyLock<Arc<Shape>> = LazyLock::new(|| {
    let (text, int, time) =
        (text(), Shape::of_type(&Type::Int), Arc::new(Shape::new(Form::DateTime, 32, 21)));
    let (texts, labels) = (list(text.clone()), map(text.clone()));
    let metadata = object(
        "kubernetes.NamespaceMetadata",
        &[
            ("name", &text),
            ("generateName", &text),
            ("namespace", &text),
            ("labels", &labels),
            ("annotations", &labels),
            // As upstream spells it; the object has `uid`, so that it is never there.
            ("UID", &text),
            ("creationTimestamp", &time),
            ("deletionGracePeriodSeconds", &int),
            ("deletionTimestamp", &time),
            ("generation", &int),
            ("resourceVersion", &text),
            ("finalizers", &texts),
        ],
    );
    let condition = object(
        "kubernetes.NamespaceCondition",
        &[
            ("status", &text),
            ("type", &text),
            ("lastTransitionTime", &time),
            ("message", &text),
            ("reason", &text),
        ],
    );
    let spec = object("kubernetes.NamespaceSpec", &[("finalizers", &texts)]);
    let status = object("kubernetes.NamespaceStatus", &[("conditions", &list(condition)), ("phase", &text)]);
    object("kubernetes.Namespace", &[("metadata", &metadata), ("spec", &spec), ("status", &status)])
});

/// What expressions are told of one request, in the version in which they see its objects.
pub struct Facts {
    request: Value,
    /// Null for what is the cluster's.
    namespace: Value,
    asker: Asker,
    check: ResourceCheck,
}

impl Facts {
    /// Of a review.
    pub fn of(review: &Review<'_>, version: &str, object: &Value) -> Self {
        let call = review.call;
        let shown = if object.is_null() { review.old.unwrap_or(object) } else { object };
        let namespace = call.find("", "namespaces", "", call.namespace()).unwrap_or(Value::Null);
        Self {
            request: Value::Object(review.describe(version, shown)),
            namespace: namespace_object(&namespace),
            asker: Asker { app: call.app.clone(), user: call.context.user.clone() },
            check: ResourceCheck {
                group: call.kind.group.clone(),
                resource: call.kind.plural.clone(),
                subresource: call.info.subresource.clone(),
                namespace: call.namespace().to_owned(),
                name: review.name(shown).to_owned(),
                ..ResourceCheck::default()
            },
        }
    }

    /// The variables for expressions that may use these.
    pub fn activation<'a>(
        &'a self,
        object: &'a Value,
        old: &'a Value,
        params: &'a Value,
        uses: Uses,
    ) -> Activation<'a> {
        let mut activation = Activation::new();
        activation.json("object", object).json("oldObject", old).json("request", &self.request);
        activation.json("namespaceObject", &self.namespace);
        if uses.params {
            activation.json("params", params);
        }
        if uses.authorizer {
            activation.value_of("authorizer", Cel::authorizer(&self.asker));
            let check = Cel::resource_check(&self.asker, self.check.clone());
            activation.value_of("authorizer.requestResource", check);
        }
        activation
    }
}

fn namespace_object(namespace: &Value) -> Value {
    if namespace.is_null() {
        return Value::Null;
    }
    let all = namespace["metadata"].as_object();
    let metadata: Map<String, Value> = NAMESPACE_METADATA
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), all?.get(*key)?.clone())))
        .collect();
    json!({"metadata": metadata, "spec": namespace["spec"], "status": namespace["status"]})
}

/// Asks the server's authorizers for an expression.
struct Asker {
    app: Arc<App>,
    user: Arc<User>,
}

impl Authorizer for Asker {
    fn decide(&self, question: &Question<'_>) -> Decision {
        let other = question.service_account.map(|(namespace, name)| User {
            name: format!("system:serviceaccount:{namespace}:{name}"),
            groups: vec![
                "system:serviceaccounts".into(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".into(),
            ],
            ..User::default()
        });
        let user = other.as_ref().unwrap_or(&self.user);
        let asked = match &question.of {
            Target::Path(path) => Attributes { user, verb: question.verb, path, ..Attributes::default() },
            Target::Resource(check) => Attributes {
                user,
                verb: question.verb,
                group: &check.group,
                version: "*",
                resource: &check.resource,
                subresource: &check.subresource,
                namespace: &check.namespace,
                name: &check.name,
                resource_request: true,
                field_selector: &check.field_selector,
                label_selector: &check.label_selector,
                ..Attributes::default()
            },
        };
        match self.app.authorizer.authorize(&asked) {
            security::Decision::Allow(reason) => Decision { allowed: true, reason, error: None },
            security::Decision::Deny(reason) | security::Decision::NoOpinion(reason) => {
                Decision { allowed: false, reason, error: None }
            }
        }
    }
}

/// One expression as it stands in an object, compiled or not.
#[derive(Debug)]
pub struct Expression {
    text: String,
    program: Result<Program, String>,
}

/// Why an expression has no value.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// This one failed.
    One(String),
    /// Nothing more of the same request may be evaluated.
    Budget,
}

impl Failure {
    /// In upstream's words.
    pub fn told(self) -> String {
        match self {
            Self::One(why) => why,
            Self::Budget => {
                "validation failed due to running out of cost budget, no further validation rules will be run"
                    .into()
            }
        }
    }
}

impl Expression {
    /// Compiles a text whose result must be of one of these types.
    pub fn compile(environment: &Environment, text: &str, results: &[Type]) -> Self {
        Self { text: text.to_owned(), program: compile(environment, text, results) }
    }

    /// Its value.
    pub fn evaluate<'a>(
        &'a self,
        activation: &Activation<'a>,
        budget: &mut Budget,
    ) -> Result<Cel<'a>, Failure> {
        let program =
            self.program.as_ref().map_err(|why| Failure::One(format!("compilation error: {why}")))?;
        program.evaluate(activation, budget).map_err(|error| match error {
            EvaluationError::Budget => Failure::Budget,
            other => Failure::One(format!("expression '{}' resulted in error: {other}", self.text)),
        })
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Compiles an expression, or says in upstream's words what is wrong with it.
pub fn compile(environment: &Environment, text: &str, results: &[Type]) -> Result<Program, String> {
    let program = environment.compile(text).map_err(|errors| errors.detail())?;
    let got = program.result_type();
    if results.is_empty() || results.iter().any(|wanted| got.is(wanted)) {
        return Ok(program);
    }
    Err(match results {
        [one] => format!("must evaluate to {one} but got {got}"),
        many => {
            let names: Vec<String> = many.iter().map(ToString::to_string).collect();
            format!("must evaluate to one of [{}] but got {got}", names.join(" "))
        }
    })
}

/// The environment with `variables`, and those that compile. Those that do not are not there, so that who uses
/// them is told so.
pub fn variables(mut environment: Environment, list: &Value) -> (Environment, Variables) {
    let mut variables = Variables::new();
    environment = environment.variable("variables", variables.shape());
    for one in list.as_array().into_iter().flatten() {
        let (name, text) =
            (one["name"].as_str().unwrap_or_default(), one["expression"].as_str().unwrap_or_default());
        if let Ok(program) = environment.compile(text) {
            variables.push(name, program);
            environment = environment.variable("variables", variables.shape());
        }
    }
    (environment, variables)
}

/// `matchConditions`, compiled.
#[derive(Debug, Default)]
pub struct Conditions(Vec<Expression>);

impl Conditions {
    /// Reads the list.
    pub fn read(environment: &Environment, list: &Value) -> Self {
        let texts =
            list.as_array().into_iter().flatten().map(|one| one["expression"].as_str().unwrap_or_default());
        Self(texts.map(|text| Expression::compile(environment, text.trim(), &[Type::Bool])).collect())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all hold. One that does not counts even if others failed.
    ///
    /// # Errors
    /// What failed, if none was false.
    pub fn hold<'a>(&'a self, activation: &Activation<'a>) -> Result<bool, String> {
        let mut budget = Budget::new(skiff_cel::MATCH_CONDITIONS_BUDGET);
        let mut failed = Vec::new();
        for condition in &self.0 {
            match condition.evaluate(activation, &mut budget) {
                Ok(value) if value.as_bool() == Some(false) => return Ok(false),
                Ok(_) => {}
                Err(Failure::One(why)) => failed.push(why),
                Err(Failure::Budget) => return Err(Failure::Budget.told()),
            }
        }
        match failed.len() {
            0 => Ok(true),
            1 => Err(failed.remove(0)),
            _ => Err(format!("[{}]", failed.join(", "))),
        }
    }
}
