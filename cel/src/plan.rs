//! A checked expression as what is evaluated: names are places, functions are pointers, constants are values.
//!
//! What cel-go's optimizer evaluates beforehand is evaluated here (`interpreter/decorators.go`), since that decides
//! what an evaluation costs: a literal of constants, a conversion of one, membership of a constant list.

use std::sync::Arc;

use ::regex::Regex;

use crate::ast::{Comprehension, Expr, Kind, Literal, deeper};
use crate::check::{Checked, Reference};
use crate::environment::Environment;
use crate::error::EvaluationError;
use crate::library::{self, Native};
use crate::value::{List, Map, OwnedMap, Value, equal};

/// A step of an evaluation.
#[derive(Debug)]
pub enum Node {
    /// A value.
    Constant(Value<'static>),
    /// A variable of the activation, by its place in [`Plan::variables`].
    Variable(usize),
    /// A variable of a comprehension, by its depth.
    Local(usize),
    /// `operand.field`.
    Select { operand: Box<Node>, field: String },
    /// `has(operand.field)`.
    Has { operand: Box<Node>, field: String },
    /// `operand.?field`.
    SelectOptional { operand: Box<Node>, field: String },
    /// `operand[index]`, or `operand[?index]`.
    Index { operand: Box<Node>, index: Box<Node>, optional: bool },
    /// `a && b`, and `a || b`: the value that decides.
    Logical { left: Box<Node>, right: Box<Node>, decides: bool },
    /// `condition ? yes : no`.
    Conditional { condition: Box<Node>, yes: Box<Node>, no: Box<Node> },
    /// Whether a value is not `false`: errors count as such.
    NotFalse(Box<Node>),
    /// `a == b`, or `a != b`.
    Equal { left: Box<Node>, right: Box<Node>, negated: bool },
    /// Membership of a constant list.
    InConstant { needle: Box<Node>, list: Vec<Value<'static>> },
    /// `a.or(b)`, and `a.orValue(b)`: the second is evaluated only if it is needed.
    Or { optional: Box<Node>, otherwise: Box<Node>, unwrap: bool },
    /// A function.
    Call { name: &'static str, overload: &'static str, native: Native, args: Vec<Node>, regex: Option<Regex> },
    /// A list; whether each item is an optional.
    List(Vec<(Node, bool)>),
    /// A map.
    Map(Vec<(Node, Node, bool)>),
    /// An object of a named type.
    Struct { name: String, fields: Vec<(String, Node, bool)> },
    /// A comprehension. Its locals are at `base` (the accumulator) and above.
    Fold(Box<Fold>),
    /// A value that is named: at `slot` while the body is evaluated.
    Bind { slot: usize, cost: u64, value: Box<Node>, body: Box<Node> },
    /// The accumulator with one item more, `@result + [item]`, without copying it.
    Append { slot: usize, item: Box<Node>, cost: u64 },
    /// The accumulator with one entry more, without copying it.
    Insert { slot: usize, entry: Vec<Node> },
}

/// A comprehension.
#[derive(Debug)]
pub struct Fold {
    pub range: Node,
    pub base: usize,
    pub two: bool,
    pub init: Node,
    pub condition: Node,
    pub step: Node,
    pub result: Node,
}

impl Node {
    /// Whether cel-go resolves it as an attribute: the steps of one cost one, and one together.
    pub fn is_attribute(&self) -> bool {
        matches!(
            self,
            Self::Variable(_)
                | Self::Local(_)
                | Self::Select { .. }
                | Self::Has { .. }
                | Self::SelectOptional { .. }
                | Self::Index { .. }
                | Self::Conditional { .. }
        )
    }

    fn constant(&self) -> Option<&Value<'static>> {
        match self {
            Self::Constant(value) => Some(value),
            _ => None,
        }
    }
}

/// A planned expression.
#[derive(Debug)]
pub struct Plan {
    /// The root.
    pub root: Node,
    /// The names of the variables that are used.
    pub variables: Vec<String>,
    /// How many locals are alive at once.
    pub depth: usize,
}

/// Plans a checked expression.
pub fn plan(environment: &Environment, checked: &Checked) -> Result<Plan, EvaluationError> {
    let optimize = !environment.options.unoptimized;
    let mut planner = Planner { checked, optimize, variables: Vec::new(), locals: Vec::new(), depth: 0 };
    let root = planner.node(&checked.root)?;
    Ok(Plan { root, variables: planner.variables, depth: planner.depth })
}

struct Planner<'a> {
    checked: &'a Checked,
    optimize: bool,
    variables: Vec<String>,
    locals: Vec<String>,
    depth: usize,
}

type Planned<T = Node> = Result<T, EvaluationError>;

impl Planner<'_> {
    fn node(&mut self, expr: &Expr) -> Planned {
        deeper(|| self.plan(expr))
    }

    fn plan(&mut self, expr: &Expr) -> Planned {
        match self.checked.references.get(&expr.id) {
            Some(Reference::Variable(name)) => return Ok(Node::Variable(self.variable(name))),
            Some(Reference::Type(name)) if !matches!(expr.kind, Kind::Struct { .. }) => {
                return Ok(Node::Constant(Value::Type(name.as_str().into())));
            }
            _ => {}
        }
        match &expr.kind {
            Kind::Literal(literal) => Ok(Node::Constant(constant(literal))),
            Kind::Ident(name) => {
                let slot = self.locals.iter().rposition(|local| local == name);
                Ok(slot.map_or_else(|| Node::Variable(self.variable(name)), Node::Local))
            }
            Kind::Select { operand, field, test } => {
                let (operand, field) = (Box::new(self.node(operand)?), field.clone());
                Ok(if *test { Node::Has { operand, field } } else { Node::Select { operand, field } })
            }
            Kind::Call { target, args, .. } => self.call(expr, target.as_deref(), args),
            Kind::List(items) => {
                let mut planned = Vec::new();
                for item in items {
                    planned.push((self.node(&item.value)?, item.optional));
                }
                Ok(self.list(planned))
            }
            Kind::Map(entries) => {
                let mut planned = Vec::new();
                for entry in entries {
                    planned.push((self.node(&entry.key)?, self.node(&entry.value)?, entry.optional));
                }
                Ok(self.map(planned))
            }
            Kind::Struct { name, fields } => {
                let name = match self.checked.references.get(&expr.id) {
                    Some(Reference::Type(name)) => name.clone(),
                    _ => name.clone(),
                };
                let mut planned = Vec::new();
                for field in fields {
                    planned.push((field.name.clone(), self.node(&field.value)?, field.optional));
                }
                Ok(Node::Struct { name, fields: planned })
            }
            Kind::Comprehension(fold) if Expr::is_bind(fold) => self.bind(fold),
            Kind::Comprehension(fold) => self.fold(fold),
        }
    }

    fn variable(&mut self, name: &str) -> usize {
        self.variables.iter().position(|known| known == name).unwrap_or_else(|| {
            self.variables.push(name.into());
            self.variables.len() - 1
        })
    }

    fn list(&self, items: Vec<(Node, bool)>) -> Node {
        let fixed =
            self.optimize && items.iter().all(|(item, optional)| !optional && item.constant().is_some());
        if !fixed {
            return Node::List(items);
        }
        let values = items.into_iter().filter_map(|(item, _)| match item {
            Node::Constant(value) => Some(value),
            _ => None,
        });
        Node::Constant(values.collect())
    }

    fn map(&self, entries: Vec<(Node, Node, bool)>) -> Node {
        let mut map = OwnedMap::default();
        let fixed = self.optimize
            && entries.iter().all(|(key, value, optional)| match (key, value) {
                (Node::Constant(key), Node::Constant(value)) if !optional => {
                    map.insert(key.clone(), value.clone())
                }
                _ => false,
            });
        if fixed { Node::Constant(Value::Map(Map::Owned(Arc::new(map)))) } else { Node::Map(entries) }
    }

    fn call(&mut self, expr: &Expr, target: Option<&Expr>, args: &[Expr]) -> Planned {
        let Some(Reference::Function { name, overloads, member }) = self.checked.references.get(&expr.id)
        else {
            return Err(EvaluationError::no_overload());
        };
        let (name, overload) = (*name, if let [one] = overloads.as_slice() { *one } else { "" });
        if let Some(node) = self.accumulate(name, args)? {
            return Ok(node);
        }
        let mut planned = Vec::new();
        for arg in target.filter(|_| *member).into_iter().chain(args) {
            planned.push(self.node(arg)?);
        }
        let mut taken = planned.into_iter().map(Box::new);
        let mut next = || taken.next().expect("the checker counted the arguments");
        Ok(match name {
            "_&&_" | "_||_" => Node::Logical { left: next(), right: next(), decides: name == "_||_" },
            "_?_:_" => Node::Conditional { condition: next(), yes: next(), no: next() },
            "@not_strictly_false" => Node::NotFalse(next()),
            "_==_" | "_!=_" => Node::Equal { left: next(), right: next(), negated: name == "_!=_" },
            "_[_]" | "_[?_]" => Node::Index { operand: next(), index: next(), optional: name == "_[?_]" },
            "_?._" => {
                let (operand, field) = (next(), next());
                match *field {
                    Node::Constant(Value::String(field)) => {
                        Node::SelectOptional { operand, field: field.to_string() }
                    }
                    _ => return Err(EvaluationError::no_overload()),
                }
            }
            "or" | "orValue" => Node::Or { optional: next(), otherwise: next(), unwrap: name == "orValue" },
            _ => return self.function(name, overload, taken.map(|node| *node).collect()),
        })
    }

    fn function(&self, name: &'static str, overload: &'static str, mut args: Vec<Node>) -> Planned {
        let native = library::native(name).ok_or_else(EvaluationError::no_overload)?;
        if self.optimize
            && overload == "in_list"
            && let Some(Value::List(List::Owned { items, .. })) = args[1].constant()
        {
            if items.is_empty() {
                return Ok(Node::Constant(Value::Bool(false)));
            }
            if items.iter().all(is_plain) {
                let list = items.to_vec();
                return Ok(Node::InConstant { needle: Box::new(args.swap_remove(0)), list });
            }
        }
        let conversion = matches!(
            name,
            "bool"
                | "bytes"
                | "double"
                | "dyn"
                | "duration"
                | "int"
                | "string"
                | "timestamp"
                | "type"
                | "uint"
        );
        if self.optimize
            && conversion
            && args.len() == 1
            && let Some(value) = args[0].constant()
        {
            return Ok(Node::Constant(native(&library::Call {
                args: std::slice::from_ref(value),
                overload,
                regex: None,
            })?));
        }
        let regex = match (name, args.get(1).and_then(Node::constant)) {
            ("matches" | "find" | "findAll", Some(Value::String(pattern))) => {
                Some(library::regex::compile(pattern).map_err(EvaluationError::Failed)?)
            }
            _ => None,
        };
        Ok(Node::Call { name, overload, native, args, regex })
    }

    /// `@result + [item]` and `cel.@mapInsert(@result, …)`, which take their accumulator instead of copying it.
    fn accumulate(&mut self, name: &str, args: &[Expr]) -> Planned<Option<Node>> {
        let first = match args.first().map(|arg| &arg.kind) {
            Some(Kind::Ident(name)) if name == crate::ast::ACCUMULATOR => name,
            _ => return Ok(None),
        };
        let Some(slot) = self.locals.iter().rposition(|local| local == first) else { return Ok(None) };
        match (name, args.get(1).map(|arg| &arg.kind)) {
            ("_+_", Some(Kind::List(items))) if items.len() == 1 => {
                let item = self.node(&items[0].value)?;
                // The accumulator and the sum; the list of one costs too unless it is a constant.
                let cost = if self.optimize && item.constant().is_some() { 2 } else { 12 };
                Ok(Some(Node::Append { slot, item: Box::new(item), cost }))
            }
            ("cel.@mapInsert", _) => {
                let entry = args[1..].iter().map(|arg| self.node(arg)).collect::<Planned<_>>()?;
                Ok(Some(Node::Insert { slot, entry }))
            }
            _ => Ok(None),
        }
    }

    fn push(&mut self, name: &str) -> usize {
        self.locals.push(name.into());
        self.depth = self.depth.max(self.locals.len());
        self.locals.len() - 1
    }

    fn bind(&mut self, fold: &Comprehension) -> Planned {
        let value = Box::new(self.node(&fold.init)?);
        let slot = self.push(&fold.accumulator);
        let body = Box::new(self.node(&fold.result)?);
        self.locals.truncate(slot);
        Ok(Node::Bind { slot, cost: if self.optimize { 0 } else { 10 }, value, body })
    }

    fn fold(&mut self, fold: &Comprehension) -> Planned {
        let range = self.node(&fold.range)?;
        let init = self.node(&fold.init)?;
        let base = self.push(&fold.accumulator);
        self.push(&fold.variable);
        if let Some(second) = &fold.second {
            self.push(second);
        }
        let condition = self.node(&fold.condition)?;
        let step = self.node(&fold.step)?;
        self.locals.truncate(base + 1);
        let result = self.node(&fold.result)?;
        self.locals.truncate(base);
        Ok(Node::Fold(Box::new(Fold {
            range,
            base,
            two: fold.second.is_some(),
            init,
            condition,
            step,
            result,
        })))
    }
}

fn constant(literal: &Literal) -> Value<'static> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(value) => Value::Bool(*value),
        Literal::Int(value) => Value::Int(*value),
        Literal::Uint(value) => Value::Uint(*value),
        Literal::Double(value) => Value::Double(*value),
        Literal::String(text) => text.clone().into(),
        Literal::Bytes(bytes) => Value::Bytes(bytes.as_slice().into()),
    }
}

/// Whether membership of a list of such values is decided beforehand.
fn is_plain(value: &Value<'_>) -> bool {
    matches!(
        value,
        Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Double(_) | Value::String(_) | Value::Null
    )
}

/// Whether a constant list holds a value.
pub fn holds<'a>(list: &'a [Value<'static>], needle: &Value<'a>) -> bool {
    list.iter().any(|item| {
        let item: &Value<'a> = item;
        equal(item, needle) == Ok(true)
    })
}
