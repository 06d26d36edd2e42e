//! Tokens to a tree, by precedence, as `parser/parser.go` builds it.
//!
//! Positions are cel-go's: an operator's own, the bracket of a call, the dot of a selection. Syntax errors carry the
//! place and the kind of cel-go's; the list of what was expected is shorter than what its generated parser gives.

mod macros;
mod primary;

use crate::ast::{self, Expr, Id, Kind, Literal};
use crate::error::{CompileErrors, Mistake};
use crate::lex::{self, Placed, Token};

/// How deep an expression may be. cel-go counts by rule of its grammar; this counts the nodes above a node.
const DEPTH: usize = 250;
/// How long an expression may be, in characters.
const LENGTH: usize = 100_000;
/// What an operand may begin with.
const OPERAND: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, \
                       BYTES, IDENTIFIER}";

const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "package",
    "namespace",
    "null",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// Binary operators: sign, function, how tightly they bind.
const BINARY: &[(&str, &str, u8)] = &[
    ("<", "_<_", 1),
    ("<=", "_<=_", 1),
    (">=", "_>=_", 1),
    (">", "_>_", 1),
    ("==", "_==_", 1),
    ("!=", "_!=_", 1),
    ("in", "@in", 1),
    ("+", "_+_", 2),
    ("-", "_-_", 2),
    ("*", "_*_", 3),
    ("/", "_/_", 3),
    ("%", "_%_", 3),
];

/// A parsed expression.
#[derive(Debug)]
pub struct Parsed {
    /// Its root.
    pub root: Expr,
    /// Where each node stands, by number, in characters.
    pub offsets: Vec<usize>,
}

/// Parses an expression and expands its macros.
pub fn parse(source: &str) -> Result<Parsed, CompileErrors> {
    let failed = |mistakes| CompileErrors::new(source, mistakes);
    let length = source.chars().count();
    if length > LENGTH {
        let message = format!("expression code point size exceeds limit: size: {length}, limit {LENGTH}");
        return Err(CompileErrors::new("", vec![Mistake { offset: 0, message }]));
    }
    let tokens = lex::tokens(source).map_err(|mistake| failed(vec![mistake]))?;
    let mut parser = Parser { tokens, at: 0, offsets: Vec::new(), depth: 0, mistakes: Vec::new() };
    let root = parser.whole();
    match root {
        Ok(root) if parser.mistakes.is_empty() => Ok(Parsed { root, offsets: parser.offsets }),
        Ok(_) => Err(failed(parser.mistakes)),
        Err(mistake) => {
            parser.mistakes.push(mistake);
            Err(failed(parser.mistakes))
        }
    }
}

struct Parser {
    tokens: Vec<Placed>,
    at: usize,
    offsets: Vec<usize>,
    depth: usize,
    /// What is wrong besides the syntax (macros).
    mistakes: Vec<Mistake>,
}

type Parse<T = Expr> = Result<T, Mistake>;

impl Parser {
    fn current(&self) -> &Placed {
        &self.tokens[self.at]
    }

    fn is(&self, sign: &str) -> bool {
        matches!(&self.current().token, Token::Sign(found) if *found == sign)
    }

    /// Takes a token and tells where it stood.
    fn next(&mut self) -> usize {
        let offset = self.current().offset;
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
        offset
    }

    fn take(&mut self, sign: &str) -> Option<usize> {
        self.is(sign).then(|| self.next())
    }

    fn expect(&mut self, sign: &str) -> Parse<usize> {
        match self.take(sign) {
            Some(offset) => Ok(offset),
            None => Err(self.unexpected(&format!("'{sign}'"))),
        }
    }

    fn unexpected(&self, expected: &str) -> Mistake {
        let current = self.current();
        Mistake {
            offset: current.offset,
            message: format!("Syntax error: mismatched input '{}' expecting {expected}", current.text),
        }
    }

    fn id(&mut self, offset: usize) -> Id {
        self.offsets.push(offset);
        self.offsets.len() - 1
    }

    fn node(&mut self, offset: usize, kind: Kind) -> Expr {
        Expr { id: self.id(offset), kind }
    }

    fn operator(&mut self, offset: usize, function: &str, args: Vec<Expr>) -> Expr {
        self.node(offset, Kind::Call { target: None, function: function.into(), args })
    }

    /// Goes one deeper, for nesting and for chains to the left alike: both make a tree that is walked by recursion.
    fn deeper(&mut self) -> Parse<()> {
        self.depth += 1;
        if self.depth > DEPTH {
            let message = format!("expression recursion limit exceeded: {DEPTH}");
            return Err(Mistake { offset: self.current().offset, message });
        }
        Ok(())
    }

    fn whole(&mut self) -> Parse {
        let root = self.expression()?;
        match self.current().token {
            Token::End => Ok(root),
            _ => {
                let current = self.current();
                let message = format!("Syntax error: mismatched input '{}' expecting <EOF>", current.text);
                Err(Mistake { offset: current.offset, message })
            }
        }
    }

    fn expression(&mut self) -> Parse {
        ast::deeper(|| self.ternary())
    }

    fn ternary(&mut self) -> Parse {
        self.deeper()?;
        let condition = self.logical("||", "_||_")?;
        let result = match self.take("?") {
            None => condition,
            Some(offset) => {
                let yes = self.logical("||", "_||_")?;
                self.expect(":")?;
                let no = self.expression()?;
                self.operator(offset, "_?_:_", vec![condition, yes, no])
            }
        };
        self.depth -= 1;
        Ok(result)
    }

    /// `a || b || c`, as a balanced tree: such chains may be long.
    fn logical(&mut self, sign: &str, function: &str) -> Parse {
        let mut terms = Vec::new();
        let mut offsets = Vec::new();
        loop {
            terms.push(if sign == "||" { self.logical("&&", "_&&_")? } else { self.binary(1)? });
            match self.take(sign) {
                Some(offset) => offsets.push(offset),
                None => return Ok(self.balance(function, &mut terms, &offsets)),
            }
        }
    }

    fn balance(&mut self, function: &str, terms: &mut Vec<Expr>, offsets: &[usize]) -> Expr {
        if offsets.is_empty() {
            return terms.pop().expect("there is a term more than operators");
        }
        let middle = offsets.len() / 2;
        let mut right = terms.split_off(middle + 1);
        let left = self.balance(function, terms, &offsets[..middle]);
        let right = self.balance(function, &mut right, &offsets[middle + 1..]);
        self.operator(offsets[middle], function, vec![left, right])
    }

    fn binary(&mut self, least: u8) -> Parse {
        let mut left = self.unary()?;
        let depth = self.depth;
        loop {
            let found = match &self.current().token {
                Token::Sign(sign) => {
                    BINARY.iter().find(|(text, _, binding)| text == sign && *binding >= least)
                }
                _ => None,
            };
            let Some((_, function, binding)) = found else { break };
            self.deeper()?;
            let offset = self.next();
            let right = self.binary(binding + 1)?;
            left = self.operator(offset, function, vec![left, right]);
        }
        self.depth = depth;
        Ok(left)
    }

    fn unary(&mut self) -> Parse {
        for (sign, function) in [("!", "!_"), ("-", "-_")] {
            if !self.is(sign) {
                continue;
            }
            let negative = sign == "-"
                && matches!(
                    self.tokens[self.at + 1].token,
                    Token::Whole(_) | Token::Literal(Literal::Double(_))
                );
            if negative {
                break;
            }
            // An even number of signs is none.
            let offset = self.current().offset;
            let mut count = 0;
            while self.take(sign).is_some() {
                count += 1;
            }
            let operand = self.member()?;
            return Ok(if count % 2 == 0 { operand } else { self.operator(offset, function, vec![operand]) });
        }
        self.member()
    }

    fn member(&mut self) -> Parse {
        let mut value = self.primary()?;
        let depth = self.depth;
        loop {
            if let Some(dot) = self.take(".") {
                self.deeper()?;
                let optional = self.take("?").is_some();
                let Token::Ident(field) = self.current().token.clone() else {
                    return Err(self.unexpected("IDENTIFIER"));
                };
                self.next();
                if optional {
                    let name = self.node(dot, Kind::Literal(Literal::String(field)));
                    value = self.operator(dot, "_?._", vec![value, name]);
                } else if self.is("(") {
                    let open = self.next();
                    let args = self.arguments()?;
                    let id = self.id(open);
                    value = self.call(id, Some(value), field, args);
                } else {
                    value = self.node(dot, Kind::Select { operand: Box::new(value), field, test: false });
                }
            } else if let Some(open) = self.take("[") {
                self.deeper()?;
                let function = if self.take("?").is_some() { "_[?_]" } else { "_[_]" };
                let index = self.expression()?;
                self.expect("]")?;
                value = self.operator(open, function, vec![value, index]);
            } else {
                self.depth = depth;
                return Ok(value);
            }
        }
    }

    fn arguments(&mut self) -> Parse<Vec<Expr>> {
        let mut args = Vec::new();
        if self.take(")").is_some() {
            return Ok(args);
        }
        loop {
            args.push(self.expression()?);
            if self.take(",").is_none() {
                self.expect(")")?;
                return Ok(args);
            }
        }
    }

    /// A call, or what the macro of this name makes of it.
    fn call(&mut self, id: Id, target: Option<Expr>, function: String, args: Vec<Expr>) -> Expr {
        let call = macros::Call { offset: self.offsets[id], target, function, args };
        match macros::expand(self, call) {
            macros::Expansion::None(call) => Expr {
                id,
                kind: Kind::Call {
                    target: call.target.map(Box::new),
                    function: call.function,
                    args: call.args,
                },
            },
            macros::Expansion::Done(expr) => expr,
            macros::Expansion::Failed(mistake) => {
                self.mistakes.push(mistake);
                Expr { id, kind: Kind::Literal(Literal::Null) }
            }
        }
    }
}
