//! The type checker (`checker/checker.go`): which type each node has, which overloads each call may be, and what a
//! dotted name means.

mod aggregates;
mod calls;
mod literals;

use std::collections::HashMap;
use std::sync::Arc;

use crate::ast::{Comprehension, Expr, Id, Kind, Literal, deeper};
use crate::environment::Environment;
use crate::error::{CompileErrors, Mistake};
use crate::library::declarations::opaque;
use crate::parse::Parsed;
use crate::shape::ObjectShape;
use crate::types::{Substitutions, Type};

/// A checked expression.
#[derive(Debug)]
pub struct Checked {
    /// Its root.
    pub root: Expr,
    /// The type of each node.
    pub types: Vec<Type>,
    /// What names and calls mean.
    pub references: HashMap<Id, Reference>,
}

/// What a name or a call means.
#[derive(Debug, Clone)]
pub enum Reference {
    /// A variable, under its whole name.
    Variable(String),
    /// A local variable of a comprehension.
    Local,
    /// The name of a type.
    Type(String),
    /// A function, under its whole name, and the overloads that fit.
    Function {
        /// Its name.
        name: &'static str,
        /// The overloads.
        overloads: Vec<&'static str>,
        /// Whether the receiver is an argument: else it was part of the name.
        member: bool,
    },
}

/// Checks an expression.
pub fn check(environment: &Environment, source: &str, parsed: Parsed) -> Result<Checked, CompileErrors> {
    let count = parsed.offsets.len();
    let mut checker = Checker {
        environment,
        offsets: &parsed.offsets,
        types: vec![Type::Dyn; count],
        references: HashMap::new(),
        substitutions: Substitutions::default(),
        locals: Vec::new(),
        variables: 0,
        mistakes: Vec::new(),
    };
    checker.check(&parsed.root);
    if checker.mistakes.is_empty() {
        literals::check(&mut checker, &parsed.root);
    }
    let Checker { types, references, substitutions, mistakes, .. } = checker;
    if !mistakes.is_empty() {
        return Err(CompileErrors::new(source, mistakes));
    }
    let types = types.iter().map(|of| substitutions.apply(of, true)).collect();
    Ok(Checked { root: parsed.root, types, references })
}

struct Checker<'a> {
    environment: &'a Environment,
    offsets: &'a [usize],
    types: Vec<Type>,
    references: HashMap<Id, Reference>,
    substitutions: Substitutions,
    locals: Vec<(String, Type)>,
    /// How many unknown types were named.
    variables: u32,
    mistakes: Vec<Mistake>,
}

impl Checker<'_> {
    fn mistake(&mut self, at: Id, message: String) {
        self.mistakes.push(Mistake { offset: self.offsets[at], message });
    }

    fn mismatch(&mut self, at: Id, expected: &Type, found: &Type) {
        let message = format!("expected type '{expected}' but found '{found}'");
        self.mistake(at, message);
    }

    fn undeclared(&mut self, at: Id, name: &str) {
        self.mistake(at, format!("undeclared reference to '{name}' (in container '')"));
    }

    fn known(&self, of: &Type) -> Type {
        self.substitutions.apply(of, false)
    }

    fn type_of(&self, expr: &Expr) -> Type {
        self.types[expr.id].clone()
    }

    fn fresh(&mut self) -> Type {
        self.variables += 1;
        Type::Param(1000 + self.variables)
    }

    fn check(&mut self, expr: &Expr) {
        deeper(|| self.check_node(expr));
    }

    fn check_node(&mut self, expr: &Expr) {
        let ty = match &expr.kind {
            Kind::Literal(literal) => of_literal(literal),
            Kind::Ident(name) => self.ident(expr.id, name),
            Kind::Select { operand, field, test } => self.select(expr, operand, field, *test),
            Kind::Call { target, function, args } => self.call(expr, target.as_deref(), function, args),
            Kind::List(items) => self.list(items),
            Kind::Map(entries) => self.map(entries),
            Kind::Struct { name, fields } => self.structure(expr.id, name, fields),
            Kind::Comprehension(fold) => self.fold(fold),
        };
        self.types[expr.id] = ty;
    }

    /// The meaning of a name.
    fn lookup(&self, name: &str) -> Option<(Reference, Type)> {
        let plain = name.strip_prefix('.').unwrap_or(name);
        if plain == name
            && let Some((_, ty)) = self.locals.iter().rev().find(|(local, _)| local == name)
        {
            return Some((Reference::Local, ty.clone()));
        }
        if let Some(variable) = self.environment.variables.get(plain) {
            return Some((Reference::Variable(plain.into()), variable.ty.clone()));
        }
        let (name, ty) = self.named_type(plain)?;
        Some((Reference::Type(name), Type::Type(Arc::new(ty))))
    }

    fn named_type(&self, name: &str) -> Option<(String, Type)> {
        let dynamic = || Type::Dyn;
        let ty = match name {
            "bool" => Type::Bool,
            "bytes" => Type::Bytes,
            "double" => Type::Double,
            "int" => Type::Int,
            "uint" => Type::Uint,
            "string" => Type::String,
            "null_type" => Type::Null,
            "type" => Type::Type(Arc::new(dynamic())),
            "list" => Type::list(dynamic()),
            "map" => Type::map(dynamic(), dynamic()),
            "dyn" => dynamic(),
            "optional_type" => Type::optional(dynamic()),
            "google.protobuf.Timestamp" => Type::Timestamp,
            "google.protobuf.Duration" => Type::Duration,
            _ => match self.environment.types.get(name) {
                Some(object) => Type::Object(Arc::clone(object)),
                None => self.any_object(name).or_else(|| opaque(name))?,
            },
        };
        Some((name.into(), ty))
    }

    /// Whether a type is `Object` or lies below it, where nothing is known of its fields.
    fn is_open(&self, name: &str) -> bool {
        let root = self.environment.types.get("Object");
        root.is_some_and(|root| root.fields.is_empty()) && (name == "Object" || name.starts_with("Object."))
    }

    /// Such a type.
    fn any_object(&self, name: &str) -> Option<Type> {
        self.is_open(name)
            .then(|| Type::Object(Arc::new(ObjectShape { name: name.into(), ..ObjectShape::default() })))
    }

    fn ident(&mut self, id: Id, name: &str) -> Type {
        match self.lookup(name) {
            Some((reference, ty)) => {
                self.references.insert(id, reference);
                ty
            }
            None => {
                self.undeclared(id, name);
                Type::Error
            }
        }
    }

    fn select(&mut self, expr: &Expr, operand: &Expr, field: &str, test: bool) -> Type {
        // A dotted name may be one variable or the name of a type.
        if !test
            && let Some(name) = expr.qualified_name()
            && let Some((reference, ty)) = self.lookup(&name)
        {
            self.references.insert(expr.id, reference);
            return ty;
        }
        let ty = self.field(expr.id, operand, field, false);
        if test { Type::Bool } else { self.known(&ty) }
    }

    fn field(&mut self, at: Id, operand: &Expr, field: &str, optional: bool) -> Type {
        self.check(operand);
        let (target, wrapped) = self.known(&self.type_of(operand)).unwrap_optional();
        let result = match &target {
            Type::Map(entry) => entry.1.clone(),
            Type::Object(object) => match object.field(field) {
                Some(shape) => shape.cel_type(),
                None if self.is_open(&object.name) => Type::Dyn,
                None => {
                    self.mistake(at, format!("undefined field '{field}'"));
                    Type::Error
                }
            },
            Type::Param(_) => {
                self.substitutions.assignable([(&Type::Dyn, &target)]);
                Type::Dyn
            }
            Type::Dyn | Type::Error => Type::Dyn,
            Type::Opaque(_) => {
                self.mistake(at, format!("undefined field '{field}'"));
                Type::Error
            }
            other => {
                self.mistake(at, format!("type '{other}' does not support field selection"));
                Type::Dyn
            }
        };
        if wrapped || optional { Type::optional(result) } else { result }
    }

    fn fold(&mut self, fold: &Comprehension) -> Type {
        self.check(&fold.range);
        self.check(&fold.init);
        let range = self.known(&self.type_of(&fold.range));
        let accumulator = self.type_of(&fold.init);
        let depth = self.locals.len();
        self.locals.push((fold.accumulator.clone(), accumulator.clone()));
        let (first, second) = match &range {
            Type::List(of) => {
                let of = (**of).clone();
                if fold.second.is_some() { (Type::Int, of) } else { (of, Type::Dyn) }
            }
            Type::Map(entry) => (entry.0.clone(), entry.1.clone()),
            Type::Dyn | Type::Error | Type::Param(_) => {
                self.substitutions.assignable([(&Type::Dyn, &range)]);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.mistake(fold.range.id, message);
                (Type::Error, Type::Error)
            }
        };
        self.locals.push((fold.variable.clone(), first));
        if let Some(name) = &fold.second {
            self.locals.push((name.clone(), second));
        }
        self.check(&fold.condition);
        self.must_be(&fold.condition, &Type::Bool);
        self.check(&fold.step);
        self.must_be(&fold.step, &accumulator);
        self.locals.truncate(depth + 1);
        self.check(&fold.result);
        self.locals.truncate(depth);
        self.known(&self.type_of(&fold.result))
    }

    fn must_be(&mut self, expr: &Expr, expected: &Type) {
        let found = self.type_of(expr);
        if !self.substitutions.assignable([(expected, &found)]) {
            let (expected, found) = (self.known(expected), self.known(&found));
            self.mismatch(expr.id, &expected, &found);
        }
    }
}

fn of_literal(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::String(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
    }
}
