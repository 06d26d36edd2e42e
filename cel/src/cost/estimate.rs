//! What an expression may cost, told from its tree and the declared sizes (`checker/cost.go`).

mod sizes;

use std::collections::HashMap;

use super::calls::{self, Result as CallEstimate};
use super::{Estimate, MAKE_LIST, MAKE_MAP, MAKE_STRUCT};
use crate::ast::{Comprehension, Expr, Id, Kind, deeper};
use crate::check::{Checked, Reference};
use crate::shape::Shape;
use crate::types::Type;

/// The cost of a checked expression; `root` gives the declared structure of a variable.
pub(crate) fn estimate<'s>(checked: &Checked, root: impl Fn(&str) -> Option<&'s Shape>) -> Estimate {
    let mut coster = Coster {
        checked,
        root: &root,
        paths: HashMap::new(),
        locals: HashMap::new(),
        sizes: HashMap::new(),
        entries: HashMap::new(),
    };
    coster.cost(&checked.root)
}

/// The way from a variable to a value: names of fields, `@items`, `@keys`, `@values`, `@indices`.
type Path = Vec<String>;

/// The sizes of keys and values.
#[derive(Debug, Clone, Copy)]
struct Entries {
    list: bool,
    key: Estimate,
    value: Estimate,
}

impl Entries {
    fn or(self, other: Self) -> Self {
        Self { list: self.list, key: self.key.or(other.key), value: self.value.or(other.value) }
    }
}

struct Local {
    path: Path,
    size: Option<Estimate>,
    entries: Option<Entries>,
}

/// A node as the costs of calls look at it.
pub(super) struct Sized<'c> {
    pub expr: &'c Expr,
    pub ty: &'c Type,
    path: Path,
    pub size: Option<Estimate>,
}

pub(super) struct Coster<'c, 's> {
    checked: &'c Checked,
    root: &'c dyn Fn(&str) -> Option<&'s Shape>,
    paths: HashMap<Id, Path>,
    locals: HashMap<&'c str, Vec<Local>>,
    sizes: HashMap<Id, Estimate>,
    entries: HashMap<Id, Entries>,
}

impl<'c> Coster<'c, '_> {
    fn ty(&self, expr: &Expr) -> &'c Type {
        &self.checked.types[expr.id]
    }

    fn cost(&mut self, expr: &'c Expr) -> Estimate {
        deeper(|| self.cost_node(expr))
    }

    fn cost_node(&mut self, expr: &'c Expr) -> Estimate {
        match &expr.kind {
            Kind::Literal(_) => Estimate::fixed(0),
            Kind::Ident(name) => {
                let path = self.local(name).map_or_else(|| vec![name.clone()], |local| local.path.clone());
                self.paths.insert(expr.id, path);
                Estimate::fixed(1)
            }
            Kind::Select { operand, field, test } => self.select(expr, operand, field, *test),
            Kind::Call { target, args, .. } => self.call(expr, target.as_deref(), args),
            Kind::List(items) => {
                let mut sum = Estimate::fixed(0);
                let mut value = Estimate::between(if items.is_empty() { 0 } else { u64::MAX }, 0);
                for item in items {
                    sum = sum.plus(self.cost(&item.value));
                    value = value.or(self.size_of(&item.value));
                }
                self.entries.insert(expr.id, Entries { list: true, key: Estimate::fixed(1), value });
                sum.plus(Estimate::fixed(MAKE_LIST))
            }
            Kind::Map(entries) => {
                let mut sum = Estimate::fixed(0);
                let start = Estimate::between(if entries.is_empty() { 0 } else { u64::MAX }, 0);
                let (mut key, mut value) = (start, start);
                for entry in entries {
                    sum = sum.plus(self.cost(&entry.key)).plus(self.cost(&entry.value));
                    key = key.or(self.size_of(&entry.key));
                    value = value.or(self.size_of(&entry.value));
                }
                self.entries.insert(expr.id, Entries { list: false, key, value });
                sum.plus(Estimate::fixed(MAKE_MAP))
            }
            Kind::Struct { fields, .. } => {
                let mut sum = Estimate::fixed(MAKE_STRUCT);
                for field in fields {
                    sum = sum.plus(self.cost(&field.value));
                }
                sum
            }
            Kind::Comprehension(fold) if Expr::is_bind(fold) => self.bind(expr, fold),
            Kind::Comprehension(fold) => self.fold(expr, fold),
        }
    }

    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.get(name).and_then(|stack| stack.last())
    }

    fn select(&mut self, expr: &'c Expr, operand: &'c Expr, field: &str, test: bool) -> Estimate {
        // A dotted name that is one variable or a type is a name.
        if let Some(Reference::Variable(name) | Reference::Type(name)) = self.checked.references.get(&expr.id)
        {
            self.paths.insert(expr.id, vec![name.clone()]);
            return Estimate::fixed(1);
        }
        let sum = self.cost(operand);
        if test {
            return sum;
        }
        // Also where the way began somewhere else: upstream looks such a way up from the root, one step late.
        let mut path = self.path(operand);
        path.push(field.to_owned());
        self.paths.insert(expr.id, path);
        let step = match self.ty(operand) {
            Type::Map(_) | Type::Object(_) | Type::Param(_) => 1,
            // The types of libraries are objects too.
            Type::Opaque(name) if !name.starts_with("net.") => 1,
            _ => 0,
        };
        sum.plus(Estimate::fixed(step))
    }

    fn call(&mut self, expr: &'c Expr, target: Option<&'c Expr>, args: &'c [Expr]) -> Estimate {
        let Some(Reference::Function { name, overloads, member }) = self.checked.references.get(&expr.id)
        else {
            return Estimate::fixed(0);
        };
        if *name == "dyn" {
            let Some(arg) = args.first() else { return Estimate::fixed(1) };
            let cost = self.cost(arg);
            self.copy(expr, arg);
            return cost.plus(Estimate::fixed(1));
        }
        let mut costs = Vec::new();
        let mut nodes = Vec::new();
        for arg in args {
            costs.push(self.cost(arg));
            nodes.push(self.sized(arg));
        }
        let mut sum = Estimate::fixed(0);
        let target = target.filter(|_| *member);
        let receiver = target.map(|target| {
            sum = self.cost(target);
            self.sized(target)
        });
        let mut total = Estimate::between(u64::MAX, 0);
        let mut size: Option<Estimate> = None;
        for overload in overloads {
            let one = self.overload(expr, name, overload, receiver.as_ref(), &nodes, &costs);
            total = total.or(one.cost);
            if let Some(found) = one.size {
                size = Some(size.map_or(found, |before| before.or(found)));
            }
            let step = match *overload {
                "index_list" => "@items",
                "index_map" => "@values",
                _ => "",
            };
            if let (false, Some(list)) = (step.is_empty(), args.first()) {
                size = self.entries_of(list).map(|entries| entries.value);
                let mut path = self.path(list);
                path.push(step.into());
                self.paths.insert(expr.id, path);
            }
            if size.is_none() {
                size = self.size(expr);
            }
        }
        if let Some(size) = size {
            self.sizes.insert(expr.id, size);
        }
        sum.plus(total)
    }

    fn overload(
        &mut self,
        expr: &Expr,
        name: &str,
        overload: &str,
        target: Option<&Sized<'c>>,
        args: &[Sized<'c>],
        costs: &[Estimate],
    ) -> CallEstimate {
        let arguments = costs.iter().fold(Estimate::fixed(0), |sum, cost| sum.plus(*cost));
        match (overload, args, costs) {
            ("logical_or" | "logical_and", _, [left, right]) => {
                return CallEstimate { cost: Estimate::between(left.min, left.plus(*right).max), size: None };
            }
            ("conditional", [_, yes, no], [condition, if_yes, if_no]) => {
                let size = calls::known(yes).or(calls::known(no));
                if let (Some(a), Some(b)) = (self.entries_of(yes.expr), self.entries_of(no.expr)) {
                    self.entries.insert(expr.id, a.or(b));
                }
                return CallEstimate { cost: condition.plus(if_yes.or(*if_no)), size: Some(size) };
            }
            ("add_string" | "add_bytes" | "add_list", [left, right], _) => {
                if let (Some(a), Some(b)) = (self.entries_of(left.expr), self.entries_of(right.expr)) {
                    self.entries.insert(expr.id, a.or(b));
                }
            }
            _ => {}
        }
        let one = calls::cost(self, name, overload, target, args);
        CallEstimate { cost: one.cost.plus(arguments), size: one.size }
    }

    fn copy(&mut self, to: &Expr, from: &Expr) {
        if let Some(size) = self.size(from) {
            self.sizes.insert(to.id, size);
        }
        if let Some(entries) = self.entries_of(from) {
            self.entries.insert(to.id, entries);
        }
    }

    fn push(&mut self, name: &'c str, local: Local) {
        self.locals.entry(name).or_default().push(local);
    }

    fn pop(&mut self, name: &str) {
        if let Some(stack) = self.locals.get_mut(name) {
            stack.pop();
        }
    }

    fn push_value(&mut self, name: &'c str, value: &'c Expr) {
        let local = Local { path: self.path(value), entries: self.entries_of(value), size: self.size(value) };
        self.push(name, local);
    }

    fn bind(&mut self, expr: &'c Expr, fold: &'c Comprehension) -> Estimate {
        let mut sum = self.cost(&fold.range).plus(self.cost(&fold.init));
        self.push_value(&fold.accumulator, &fold.init);
        sum = sum.plus(self.cost(&fold.result));
        self.pop(&fold.accumulator);
        self.copy(expr, &fold.result);
        sum
    }

    fn fold(&mut self, expr: &'c Expr, fold: &'c Comprehension) -> Estimate {
        let mut sum = self.cost(&fold.range).plus(self.cost(&fold.init));
        self.push_value(&fold.accumulator, &fold.init);
        let entries = self.entries_of(&fold.range);
        let list =
            entries.map_or_else(|| matches!(self.ty(&fold.range), Type::List(_)), |entries| entries.list);
        let range = self.path(&fold.range);
        let local = |step: &str, size: Option<Estimate>| {
            let mut path = range.clone();
            path.push(step.into());
            Local { path, size, entries: None }
        };
        let (key, value) = (entries.map(|entries| entries.key), entries.map(|entries| entries.value));
        match &fold.second {
            Some(second) => {
                self.push(&fold.variable, local(if list { "@indices" } else { "@keys" }, key));
                self.push(second, local(if list { "@items" } else { "@values" }, value));
            }
            None if list => self.push(&fold.variable, local("@items", value)),
            None => self.push(&fold.variable, local("@keys", key)),
        }
        let turn = self.cost(&fold.condition);
        let turn = self.cost(&fold.step).plus(turn);
        self.pop(&fold.variable);
        if let Some(second) = &fold.second {
            self.pop(second);
        }
        sum = sum.plus(self.cost(&fold.result));
        self.pop(&fold.accumulator);
        let turns = self.size_of(&fold.range);
        match &fold.init.kind {
            Kind::Literal(_) => {
                if let Some(size) = self.size(&fold.init) {
                    self.sizes.insert(expr.id, size);
                }
            }
            Kind::List(_) | Kind::Map(_) => {
                self.sizes.insert(expr.id, turns);
                if let Some(entries) = self.entries_of(&fold.step) {
                    self.entries.insert(expr.id, entries);
                }
            }
            _ => {}
        }
        sum.plus(turns.times(turn))
    }
}
