//! Macros: calls that become other trees while they are parsed (`parser/macro.go`, `ext/comprehensions.go`,
//! `ext/lists.go`, `cel/library.go`).

use super::Parser;
use crate::ast::{
    ACCUMULATOR, Comprehension, Element, Entry, Expr, FieldInit, Kind, Literal, OLD_ACCUMULATOR, deeper,
};
use crate::error::Mistake;

/// How many nodes an expression may have once its macros are expanded.
const NODES: usize = 200_000;

/// A call that may be a macro.
pub struct Call {
    /// Where it stands.
    pub offset: usize,
    /// The receiver.
    pub target: Option<Expr>,
    /// The function.
    pub function: String,
    /// The arguments.
    pub args: Vec<Expr>,
}

/// What became of a call.
pub enum Expansion {
    /// It is no macro.
    None(Call),
    /// The tree in its place.
    Done(Expr),
    /// It is a macro with wrong arguments.
    Failed(Mistake),
}

/// Expands a call if it is a macro.
pub fn expand(parser: &mut Parser, call: Call) -> Expansion {
    let known = matches!(
        (call.target.is_some(), call.function.as_str(), call.args.len()),
        (false, "has", 1)
            | (true, "all" | "exists" | "exists_one" | "existsOne" | "map" | "filter" | "sortBy", 2)
            | (true, "optMap" | "optFlatMap", 2)
            | (true, "map" | "all" | "exists" | "existsOne" | "exists_one", 3)
            | (true, "transformList" | "transformMap" | "transformMapEntry", 3 | 4)
    );
    if !known {
        return Expansion::None(call);
    }
    let offset = call.offset;
    let mut maker = Maker { parser, offset };
    let made = match call.target {
        None => maker.has(call.args),
        Some(target) => maker.member(target, &call.function, call.args),
    };
    match made {
        Ok(expr) => Expansion::Done(expr),
        Err(mistake) => Expansion::Failed(mistake),
    }
}

struct Maker<'a> {
    parser: &'a mut Parser,
    offset: usize,
}

impl Maker<'_> {
    fn node(&mut self, kind: Kind) -> Expr {
        self.parser.node(self.offset, kind)
    }

    fn literal(&mut self, literal: Literal) -> Expr {
        self.node(Kind::Literal(literal))
    }

    fn ident(&mut self, name: &str) -> Expr {
        self.node(Kind::Ident(name.into()))
    }

    fn accumulator(&mut self) -> Expr {
        self.ident(ACCUMULATOR)
    }

    fn call(&mut self, function: &str, args: Vec<Expr>) -> Expr {
        self.node(Kind::Call { target: None, function: function.into(), args })
    }

    fn list(&mut self, items: Vec<Expr>) -> Expr {
        self.node(Kind::List(items.into_iter().map(|value| Element { value, optional: false }).collect()))
    }

    fn wrong(&self, at: &Expr, message: impl Into<String>) -> Mistake {
        Mistake { offset: self.parser.offsets[at.id], message: message.into() }
    }

    fn has(&mut self, mut args: Vec<Expr>) -> Result<Expr, Mistake> {
        let arg = args.pop().expect("has takes one argument");
        match arg.kind {
            Kind::Select { operand, field, test: false } => {
                Ok(self.node(Kind::Select { operand, field, test: true }))
            }
            kind => Err(self.wrong(&Expr { id: arg.id, kind }, "invalid argument to has() macro")),
        }
    }

    fn variable(&self, arg: &Expr, otherwise: &str) -> Result<String, Mistake> {
        match &arg.kind {
            Kind::Ident(name) if name == ACCUMULATOR || name == OLD_ACCUMULATOR => {
                Err(self.wrong(arg, "iteration variable overwrites accumulator variable"))
            }
            Kind::Ident(name) if !name.starts_with('.') => Ok(name.clone()),
            _ => Err(self.wrong(arg, otherwise)),
        }
    }

    fn member(&mut self, target: Expr, function: &str, mut args: Vec<Expr>) -> Result<Expr, Mistake> {
        match function {
            "optMap" | "optFlatMap" => return self.optional(target, function, args),
            "sortBy" => return self.sort_by(target, args),
            _ => {}
        }
        let simple = match function {
            "map" | "filter" => "argument is not an identifier",
            _ => "argument must be a simple name",
        };
        let variable = self.variable(&args[0], simple)?;
        let two = match function {
            "all" | "exists" | "exists_one" | "existsOne" => args.len() == 3,
            "map" | "filter" => false,
            _ => true,
        };
        let second = if two { Some(self.variable(&args[1], simple)?) } else { None };
        if second.as_ref() == Some(&variable) {
            return Err(self.wrong(&args[1], format!("duplicate variable name: {variable}")));
        }
        let last = args.pop().expect("every macro takes arguments");
        let filter = if args.len() == 2 + usize::from(two) { args.pop() } else { None };
        let (init, condition, step, result) = match function {
            "all" => {
                let accumulator = self.accumulator();
                let condition = self.call("@not_strictly_false", vec![accumulator]);
                let accumulator = self.accumulator();
                let step = self.call("_&&_", vec![accumulator, last]);
                (self.literal(Literal::Bool(true)), condition, step, self.accumulator())
            }
            "exists" => {
                let accumulator = self.accumulator();
                let not = self.call("!_", vec![accumulator]);
                let condition = self.call("@not_strictly_false", vec![not]);
                let accumulator = self.accumulator();
                let step = self.call("_||_", vec![accumulator, last]);
                (self.literal(Literal::Bool(false)), condition, step, self.accumulator())
            }
            "exists_one" | "existsOne" => {
                let (accumulator, one) = (self.accumulator(), self.literal(Literal::Int(1)));
                let more = self.call("_+_", vec![accumulator, one]);
                let step = self.either(last, more);
                let (accumulator, one) = (self.accumulator(), self.literal(Literal::Int(1)));
                let result = self.call("_==_", vec![accumulator, one]);
                (self.literal(Literal::Int(0)), self.literal(Literal::Bool(true)), step, result)
            }
            "filter" => {
                let item = args.pop().expect("filter takes two arguments");
                let more = self.append(item);
                let step = self.either(last, more);
                (self.list(Vec::new()), self.literal(Literal::Bool(true)), step, self.accumulator())
            }
            "map" | "transformList" => {
                let more = self.append(last);
                let step = self.filtered(filter, more);
                (self.list(Vec::new()), self.literal(Literal::Bool(true)), step, self.accumulator())
            }
            _ => {
                let mut insert = vec![self.accumulator()];
                if function == "transformMap" {
                    insert.push(self.ident(&variable));
                }
                insert.push(last);
                let more = self.call("cel.@mapInsert", insert);
                let step = self.filtered(filter, more);
                (
                    self.node(Kind::Map(Vec::new())),
                    self.literal(Literal::Bool(true)),
                    step,
                    self.accumulator(),
                )
            }
        };
        let accumulator = ACCUMULATOR.into();
        Ok(self.fold(Comprehension {
            range: target,
            variable,
            second,
            accumulator,
            init,
            condition,
            step,
            result,
        }))
    }

    fn fold(&mut self, fold: Comprehension) -> Expr {
        self.node(Kind::Comprehension(Box::new(fold)))
    }

    /// The accumulator and one item more.
    fn append(&mut self, item: Expr) -> Expr {
        let accumulator = self.accumulator();
        let list = self.list(vec![item]);
        self.call("_+_", vec![accumulator, list])
    }

    /// More where the filter says so, else the accumulator as it is.
    fn either(&mut self, filter: Expr, more: Expr) -> Expr {
        let accumulator = self.accumulator();
        self.call("_?_:_", vec![filter, more, accumulator])
    }

    fn filtered(&mut self, filter: Option<Expr>, more: Expr) -> Expr {
        match filter {
            Some(filter) => self.either(filter, more),
            None => more,
        }
    }

    /// A comprehension that walks over nothing and only names a value.
    fn bind(&mut self, variable: &str, value: Expr, result: Expr) -> Expr {
        let (range, condition, step) =
            (self.list(Vec::new()), self.literal(Literal::Bool(false)), self.ident(variable));
        self.fold(Comprehension {
            range,
            variable: "#unused".into(),
            second: None,
            accumulator: variable.into(),
            init: value,
            condition,
            step,
            result,
        })
    }

    fn sort_by(&mut self, target: Expr, args: Vec<Expr>) -> Result<Expr, Mistake> {
        const INPUT: &str = "@__sortBy_input__";
        if matches!(target.kind, Kind::Literal(_) | Kind::Map(_) | Kind::Struct { .. }) {
            let message =
                "sortBy can only be applied to a list, identifier, comprehension, call or select expression";
            return Err(self.wrong(&target, message));
        }
        let input = self.ident(INPUT);
        let keys = self.member(input, "map", args)?;
        let input = self.ident(INPUT);
        let sorted = self.node(Kind::Call {
            target: Some(Box::new(input)),
            function: "@sortByAssociatedKeys".into(),
            args: vec![keys],
        });
        Ok(self.bind(INPUT, target, sorted))
    }

    /// `target.optMap(variable, expression)`.
    fn optional(&mut self, target: Expr, function: &str, mut args: Vec<Expr>) -> Result<Expr, Mistake> {
        let otherwise = match function {
            "optMap" => "optMap() variable name must be a simple identifier",
            _ => "optFlatMap() variable name must be a simple identifier",
        };
        let variable = self.variable(&args[0], otherwise)?;
        let mapped = args.pop().expect("there are two arguments");
        // As in cel-go the target stands twice, and costs twice.
        let again = self.copy(&target)?;
        let has = self.method(target, "hasValue");
        let value = self.method(again, "value");
        let bound = self.bind(&variable, value, mapped);
        let yes = if function == "optMap" { self.call("optional.of", vec![bound]) } else { bound };
        let no = self.call("optional.none", Vec::new());
        Ok(self.call("_?_:_", vec![has, yes, no]))
    }

    /// The same tree with numbers of its own. Copies of copies grow without bound, so they are bounded.
    fn copy(&mut self, of: &Expr) -> Result<Expr, Mistake> {
        deeper(|| self.copy_node(of))
    }

    fn copy_node(&mut self, of: &Expr) -> Result<Expr, Mistake> {
        if self.parser.offsets.len() > NODES {
            return Err(Mistake {
                offset: self.offset,
                message: format!("expression has more than {NODES} nodes"),
            });
        }
        let id = self.parser.id(self.parser.offsets[of.id]);
        let kind = match &of.kind {
            Kind::Literal(_) | Kind::Ident(_) => of.kind.clone(),
            Kind::Select { operand, field, test } => {
                Kind::Select { operand: Box::new(self.copy(operand)?), field: field.clone(), test: *test }
            }
            Kind::Call { target, function, args } => {
                let target = target.as_ref().map(|target| self.copy(target).map(Box::new)).transpose()?;
                let args = args.iter().map(|arg| self.copy(arg)).collect::<Result<_, _>>()?;
                Kind::Call { target, function: function.clone(), args }
            }
            Kind::List(items) => {
                let copy =
                    |item: &Element| Ok(Element { value: self.copy(&item.value)?, optional: item.optional });
                Kind::List(items.iter().map(copy).collect::<Result<_, _>>()?)
            }
            Kind::Map(entries) => {
                let copy = |entry: &Entry| {
                    let (key, value) = (self.copy(&entry.key)?, self.copy(&entry.value)?);
                    let id = self.parser.id(self.parser.offsets[entry.id]);
                    Ok(Entry { id, key, value, optional: entry.optional })
                };
                Kind::Map(entries.iter().map(copy).collect::<Result<_, _>>()?)
            }
            Kind::Struct { name, fields } => {
                let copy = |field: &FieldInit| {
                    let id = self.parser.id(self.parser.offsets[field.id]);
                    let value = self.copy(&field.value)?;
                    Ok(FieldInit { id, name: field.name.clone(), value, optional: field.optional })
                };
                Kind::Struct {
                    name: name.clone(),
                    fields: fields.iter().map(copy).collect::<Result<_, _>>()?,
                }
            }
            Kind::Comprehension(fold) => Kind::Comprehension(Box::new(Comprehension {
                range: self.copy(&fold.range)?,
                variable: fold.variable.clone(),
                second: fold.second.clone(),
                accumulator: fold.accumulator.clone(),
                init: self.copy(&fold.init)?,
                condition: self.copy(&fold.condition)?,
                step: self.copy(&fold.step)?,
                result: self.copy(&fold.result)?,
            })),
        };
        Ok(Expr { id, kind })
    }

    fn method(&mut self, target: Expr, function: &str) -> Expr {
        self.node(Kind::Call { target: Some(Box::new(target)), function: function.into(), args: Vec::new() })
    }
}
