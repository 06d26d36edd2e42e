//! Kubernetes' dialect of the Common Expression Language.
//!
//! An [`Environment`] says which variables an expression may use and what shape they have; it compiles a text to a
//! [`Program`], or says in cel-go's words and at its positions what is wrong. A program tells what it may cost
//! ([`Program::cost_estimate`]) and is evaluated against an [`Activation`], within a [`Budget`].
//!
//! ```
//! use skiff_cel::{Activation, Budget, Environment, Shape};
//!
//! let schema = serde_json::json!({"type": "object", "properties": {"replicas": {"type": "integer"}}});
//! let shape = Shape::structural(&schema, "selfType", false).expect("objects can be seen");
//! let environment = Environment::new().variable("self", shape);
//! let program = environment.compile("self.replicas <= 3").expect("it compiles");
//! let object = serde_json::json!({"replicas": 2});
//! let mut activation = Activation::new();
//! activation.json("self", &object);
//! let result = program.evaluate(&activation, &mut Budget::default()).expect("it has a value");
//! assert_eq!(result.as_bool(), Some(true));
//! let errors = environment.compile("self.foo").unwrap_err();
//! assert_eq!(errors.to_string(), "ERROR: <input>:1:5: undefined field 'foo'\n | self.foo\n | ....^");
//! ```
//!
//! The language, its libraries, its costs and its words are those of v1.36's environment
//! (`apiserver/pkg/cel/environment/base.go`). The parser, checker, estimator and evaluator are ours: the published
//! crates copy an object into a tree of values before an expression is looked at, have no type checker, and count no
//! cost, so that little but a grammar would have been left of them.
//!
//! Invariants: no input panics; an object is never copied; compiled programs are shared between threads; nothing here
//! does I/O or reads a clock.

mod ast;
mod check;
mod cost;
mod environment;
mod error;
mod eval;
mod lex;
mod library;
mod parse;
mod plan;
mod program;
mod rules;
mod shape;
mod time;
mod types;
mod value;

pub use cost::Estimate;
pub use environment::{Environment, Options};
pub use error::{CompileErrors, EvaluationError, Mistake};
pub use eval::{Activation, Variables};
pub use library::{Authorizer, Decision, Library, Question, ResourceCheck, Target};
pub use program::{
    Budget, CALL_LIMIT, CHECK_COST, CRD_COST_LIMIT, MATCH_CONDITIONS_BUDGET, Program, RULE_COST_LIMIT,
    RUNTIME_COST_BUDGET,
};
pub use rules::{Rules, check_definition};
pub use shape::{FieldShape, Form, ListKind, ObjectShape, Shape, escape, is_identifier, unescape};
pub use time::Moment;
pub use types::Type;
pub use value::{List, Map, OwnedMap, Struct, Text, Value};
