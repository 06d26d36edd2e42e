//! Evaluation, and the counting of its cost (`interpreter/interpretable.go`, `attributes.go`, `runtimecost.go`).
//!
//! Cost is counted as cel-go counts it, quirks included: a chain such as `self.a.b` costs one and one a step; the
//! branch of a conditional that is such a chain costs only its steps; `has` costs its steps.

mod activation;
mod containers;

use std::sync::Arc;

use crate::ast::deeper;
use crate::cost::runtime;
use crate::error::EvaluationError;
use crate::library::Call;
use crate::plan::{self, Fold, Node};
use crate::program::Program;
use crate::value::{List, Map, OwnedMap, Value, equal};

pub use activation::{Activation, Variables};

pub(crate) type Result<T> = std::result::Result<T, EvaluationError>;

/// One evaluation.
pub(crate) struct Frame<'e, 'a> {
    program: &'a Program,
    activation: &'e Activation<'a>,
    /// The variables that were asked for, by their place in the plan.
    variables: Vec<Option<Value<'a>>>,
    locals: Vec<Result<Value<'a>>>,
    cost: u64,
    limit: u64,
    /// What lazily evaluated variables cost; it does not count against the limit of this evaluation.
    beside: u64,
}

impl<'e, 'a> Frame<'e, 'a> {
    pub(crate) fn new(program: &'a Program, activation: &'e Activation<'a>, limit: u64) -> Self {
        let variables = vec![None; program.variable_count()];
        let locals = vec![Ok(Value::Null); program.depth()];
        Self { program, activation, variables, locals, cost: 0, limit, beside: 0 }
    }

    pub(crate) fn run(&mut self, root: &'a Node) -> Result<Value<'a>> {
        self.eval(root)
    }

    pub(crate) fn spent(&self) -> u64 {
        self.cost.saturating_add(self.beside)
    }

    fn charge(&mut self, cost: u64) -> Result<()> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > self.limit { Err(EvaluationError::CallLimit) } else { Ok(()) }
    }

    fn eval(&mut self, node: &'a Node) -> Result<Value<'a>> {
        match node {
            Node::Constant(value) => Ok(value.clone()),
            _ => deeper(|| self.eval_node(node)),
        }
    }

    fn eval_node(&mut self, node: &'a Node) -> Result<Value<'a>> {
        match node {
            Node::Constant(value) => Ok(value.clone()),
            Node::Has { .. } | Node::Conditional { .. } => self.attribute(node),
            _ if node.is_attribute() => {
                let value = self.attribute(node);
                self.charge(1)?;
                value
            }
            Node::Logical { left, right, decides } => self.logical(left, right, *decides),
            Node::NotFalse(inner) => {
                let value = self.eval(inner);
                self.charge(1)?;
                match value {
                    Ok(value) => Ok(Value::Bool(!matches!(value, Value::Bool(false)))),
                    Err(EvaluationError::Failed(_)) => Ok(Value::Bool(true)),
                    Err(limit) => Err(limit),
                }
            }
            Node::Equal { left, right, negated } => {
                let [left, right] = self.pair(left, right)??;
                let same = equal(&left, &right);
                self.charge(runtime::equality(&left, &right))?;
                Ok(Value::Bool(same? != *negated))
            }
            Node::InConstant { needle, list } => {
                let needle = self.eval(needle)?;
                Ok(Value::Bool(plan::holds(list, &needle)))
            }
            Node::Or { optional, otherwise, unwrap } => self.or(optional, otherwise, *unwrap),
            Node::Call { name, overload, native, args, regex } => {
                let call = |args: &[Value<'a>]| native(&Call { args, overload, regex: regex.as_ref() });
                let done = |args: &[Value<'a>], result: Result<Value<'a>>, frame: &mut Self| {
                    frame.charge(runtime::call(name, overload, args, result.as_ref().ok()))?;
                    result
                };
                match args.as_slice() {
                    [] => done(&[], call(&[]), self),
                    [one] => match self.eval(one) {
                        Ok(arg) => {
                            let args = [arg];
                            done(&args, call(&args), self)
                        }
                        // A call of what has no value costs too.
                        Err(error) => {
                            self.charge(1)?;
                            Err(error)
                        }
                    },
                    [one, two] => {
                        let args = self.pair(one, two)??;
                        done(&args, call(&args), self)
                    }
                    more => {
                        let args = more.iter().map(|arg| self.eval(arg)).collect::<Result<Vec<_>>>()?;
                        done(&args, call(&args), self)
                    }
                }
            }
            Node::List(items) => self.list(items),
            Node::Map(entries) => self.map(entries),
            Node::Struct { name, fields } => self.structure(name, fields),
            Node::Fold(fold) => self.fold(fold),
            Node::Bind { slot, cost, value, body } => {
                self.charge(*cost)?;
                self.locals[*slot] = Ok(self.eval(value)?);
                let result = self.eval(body);
                self.locals[*slot] = Ok(Value::Null);
                result
            }
            Node::Append { slot, item, cost } => {
                let item = self.eval(item)?;
                self.charge(*cost)?;
                Ok(match std::mem::replace(&mut self.locals[*slot], Ok(Value::Null))? {
                    Value::List(List::Owned { mut items, kind }) => {
                        Arc::make_mut(&mut items).push(item);
                        Value::List(List::Owned { items, kind })
                    }
                    _ => return Err(EvaluationError::no_overload()),
                })
            }
            Node::Insert { slot, entry } => self.insert(*slot, entry),
            _ => self.attribute(node),
        }
    }

    /// The value of a chain of names, fields and indices, without the cost of the chain as a whole.
    fn attribute(&mut self, node: &'a Node) -> Result<Value<'a>> {
        match node {
            Node::Variable(place) => self.variable(*place),
            Node::Local(slot) => self.locals[*slot].clone(),
            Node::Select { operand, field } => {
                let operand = self.operand(operand)?;
                self.charge(1)?;
                self.select(&operand, field)
            }
            Node::Has { operand, field } => {
                let operand = self.operand(operand)?;
                self.charge(1)?;
                containers::has(&operand, field)
            }
            Node::SelectOptional { operand, field } => {
                let operand = self.operand(operand)?;
                let found = containers::find_field(&operand, field)?;
                self.charge(u64::from(found.is_some()))?;
                Ok(Value::Optional(found.map(Arc::new)))
            }
            Node::Index { operand, index, optional } => {
                let operand = self.operand(operand)?;
                let index_cost = u64::from(!matches!(**index, Node::Conditional { .. }));
                let index = self.operand(index)?;
                if *optional {
                    let found = containers::find(&operand, &index)?;
                    self.charge(if found.is_some() { index_cost } else { 0 })?;
                    return Ok(Value::Optional(found.map(Arc::new)));
                }
                self.charge(index_cost)?;
                containers::index(&operand, &index)
            }
            Node::Conditional { condition, yes, no } => match self.eval(condition)? {
                Value::Bool(true) => self.operand(yes),
                Value::Bool(false) => self.operand(no),
                _ => Err(EvaluationError::no_overload()),
            },
            other => self.eval(other),
        }
    }

    fn operand(&mut self, node: &'a Node) -> Result<Value<'a>> {
        if node.is_attribute() { deeper(|| self.attribute(node)) } else { self.eval(node) }
    }

    fn variable(&mut self, place: usize) -> Result<Value<'a>> {
        if let Some(value) = &self.variables[place] {
            return Ok(value.clone());
        }
        let (name, declared) = self.program.variable(place);
        let value = self.activation.value(name, declared)?;
        self.variables[place] = Some(value.clone());
        Ok(value)
    }

    fn select(&mut self, operand: &Value<'a>, field: &str) -> Result<Value<'a>> {
        if matches!(operand, Value::Variables) {
            let (value, cost) = self.activation.variable(field, self.limit);
            self.beside = self.beside.saturating_add(cost);
            return value;
        }
        containers::select(operand, field)
    }

    fn logical(&mut self, left: &'a Node, right: &'a Node, decides: bool) -> Result<Value<'a>> {
        let left = match self.eval(left) {
            Ok(Value::Bool(value)) if value == decides => return Ok(Value::Bool(decides)),
            Ok(Value::Bool(_)) => None,
            Ok(_) => Some(EvaluationError::no_overload()),
            Err(error @ EvaluationError::Failed(_)) => Some(error),
            Err(limit) => return Err(limit),
        };
        match (self.eval(right)?, left) {
            (Value::Bool(value), _) if value == decides => Ok(Value::Bool(decides)),
            (_, Some(error)) => Err(error),
            (Value::Bool(value), None) => Ok(Value::Bool(value)),
            (_, None) => Err(EvaluationError::no_overload()),
        }
    }

    fn or(&mut self, optional: &'a Node, otherwise: &'a Node, unwrap: bool) -> Result<Value<'a>> {
        match self.eval(optional)? {
            Value::Optional(Some(inner)) if unwrap => Ok((*inner).clone()),
            found @ Value::Optional(Some(_)) => Ok(found),
            Value::Optional(None) => self.eval(otherwise),
            _ => Err(EvaluationError::no_overload()),
        }
    }

    fn list(&mut self, items: &'a [(Node, bool)]) -> Result<Value<'a>> {
        let mut made = Vec::with_capacity(items.len());
        for (item, optional) in items {
            match (self.eval(item)?, *optional) {
                (Value::Optional(inner), true) => made.extend(inner.map(|inner| (*inner).clone())),
                (other, true) => return Err(not_optional("", &other)),
                (value, false) => made.push(value),
            }
        }
        self.charge(10)?;
        Ok(made.into_iter().collect())
    }

    fn map(&mut self, entries: &'a [(Node, Node, bool)]) -> Result<Value<'a>> {
        let mut made = OwnedMap::default();
        for (key, value, optional) in entries {
            let key = self.eval(key)?;
            let value = match (self.eval(value)?, *optional) {
                (Value::Optional(None), true) => continue,
                (Value::Optional(Some(inner)), true) => (*inner).clone(),
                (other, true) => return Err(not_optional("", &other)),
                (value, false) => value,
            };
            if !made.insert(key.clone(), value) {
                return Err(containers::bad_key(&key));
            }
        }
        self.charge(30)?;
        Ok(Value::Map(Map::Owned(Arc::new(made))))
    }

    fn structure(&mut self, name: &str, fields: &'a [(String, Node, bool)]) -> Result<Value<'a>> {
        let mut made = Vec::with_capacity(fields.len());
        for (field, value, optional) in fields {
            match (self.eval(value)?, *optional) {
                (Value::Optional(inner), true) => {
                    made.extend(inner.map(|inner| (field.clone(), (*inner).clone())));
                }
                (other, true) => return Err(not_optional(field, &other)),
                (value, false) => made.push((field.clone(), value)),
            }
        }
        self.charge(40)?;
        Ok(Value::Struct(Arc::new(crate::value::Struct { name: name.into(), fields: made })))
    }

    fn insert(&mut self, slot: usize, entry: &'a [Node]) -> Result<Value<'a>> {
        let values = entry.iter().map(|node| self.eval(node)).collect::<Result<Vec<_>>>()?;
        self.charge(2)?;
        let Value::Map(Map::Owned(mut map)) = std::mem::replace(&mut self.locals[slot], Ok(Value::Null))?
        else {
            return Err(EvaluationError::no_overload());
        };
        let into = Arc::make_mut(&mut map);
        let mut add = |key: Value<'a>, value: Value<'a>| match into.insert(key.clone(), value) {
            true => Ok(()),
            false => Err(EvaluationError::Failed(format!("insert failed: key {key} already exists"))),
        };
        match values.as_slice() {
            [key, value] => add(key.clone(), value.clone())?,
            [Value::Map(more)] => {
                for key in more.keys() {
                    if let Some(value) = more.get(&key) {
                        add(key, value?)?;
                    }
                }
            }
            _ => return Err(EvaluationError::no_overload()),
        }
        Ok(Value::Map(Map::Owned(map)))
    }

    fn fold(&mut self, fold: &'a Fold) -> Result<Value<'a>> {
        let range = self.eval(&fold.range)?;
        let base = fold.base;
        self.locals[base] = Ok(self.eval(&fold.init)?);
        match &range {
            Value::List(list) => {
                for index in 0..list.len() {
                    let Some(item) = list.get(index) else { break };
                    #[expect(clippy::cast_possible_wrap, reason = "no list is that long")]
                    let (first, second) =
                        if fold.two { (Value::Int(index as i64), Some(item?)) } else { (item?, None) };
                    if !self.turn(fold, first, second)? {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for key in map.keys() {
                    let second = match (fold.two, map.get(&key)) {
                        (true, Some(value)) => Some(value?),
                        _ => None,
                    };
                    if !self.turn(fold, key, second)? {
                        break;
                    }
                }
            }
            _ => return Err(EvaluationError::no_overload()),
        }
        let result = self.eval(&fold.result);
        self.locals[base] = Ok(Value::Null);
        result
    }

    /// One item of a comprehension: `false` if it ends here. An accumulator may be an error for now: a later item may
    /// decide in spite of it.
    fn turn(&mut self, fold: &'a Fold, first: Value<'a>, second: Option<Value<'a>>) -> Result<bool> {
        self.locals[fold.base + 1] = Ok(first);
        if let Some(second) = second {
            self.locals[fold.base + 2] = Ok(second);
        }
        match self.eval(&fold.condition) {
            Ok(Value::Bool(false)) => return Ok(false),
            Err(limit) if limit.is_limit() => return Err(limit),
            _ => {}
        }
        match self.eval(&fold.step) {
            Err(limit) if limit.is_limit() => return Err(limit),
            after => self.locals[fold.base] = after,
        }
        Ok(true)
    }

    /// Two operands: both are evaluated, whatever the first is.
    fn pair(&mut self, one: &'a Node, two: &'a Node) -> Result<Result<[Value<'a>; 2]>> {
        match (self.eval(one), self.eval(two)) {
            (Ok(one), Ok(two)) => Ok(Ok([one, two])),
            (Err(limit), _) | (_, Err(limit)) if limit.is_limit() => Err(limit),
            (Err(error), _) | (_, Err(error)) => {
                self.charge(1)?;
                Ok(Err(error))
            }
        }
    }
}

fn not_optional(field: &str, found: &Value<'_>) -> EvaluationError {
    let place = if field.is_empty() { String::new() } else { format!("'{field}' ") };
    EvaluationError::Failed(format!(
        "cannot initialize optional {place}entry from non-optional value {found}"
    ))
}
