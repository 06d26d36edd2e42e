//! What operators stand between: constants, names, calls, and the literals of lists, maps and objects.

use super::{OPERAND, Parse, Parser, RESERVED};
use crate::ast::{Element, Entry, FieldInit, Kind, Literal};
use crate::error::Mistake;
use crate::lex::Token;

impl Parser {
    pub(super) fn primary(&mut self) -> Parse {
        let current = self.current().clone();
        match current.token {
            Token::Literal(literal) => {
                self.next();
                Ok(self.node(current.offset, Kind::Literal(literal)))
            }
            Token::Whole(digits) => {
                self.next();
                self.whole_number(current.offset, &digits)
            }
            Token::Sign("-") => {
                self.next();
                match self.current().token.clone() {
                    Token::Whole(digits) => {
                        self.next();
                        self.whole_number(current.offset, &format!("-{digits}"))
                    }
                    Token::Literal(Literal::Double(value)) => {
                        self.next();
                        Ok(self.node(current.offset, Kind::Literal(Literal::Double(-value))))
                    }
                    _ => Err(self.unexpected(OPERAND)),
                }
            }
            Token::Sign("(") => {
                self.next();
                let inner = self.expression()?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Sign("[") => {
                self.next();
                self.list(current.offset)
            }
            Token::Sign("{") => {
                self.next();
                self.map(current.offset)
            }
            Token::Ident(_) => self.name(current.offset, String::new()),
            Token::Sign(".") => {
                self.next();
                match self.current().token {
                    Token::Ident(_) => self.name(current.offset, ".".into()),
                    _ => Err(self.unexpected("IDENTIFIER")),
                }
            }
            _ => Err(self.unexpected(OPERAND)),
        }
    }

    fn whole_number(&mut self, offset: usize, digits: &str) -> Parse {
        let value = if digits.contains("0x") {
            i64::from_str_radix(&digits.replace("0x", ""), 16)
        } else {
            digits.parse()
        };
        match value {
            Ok(value) => Ok(self.node(offset, Kind::Literal(Literal::Int(value)))),
            Err(_) => Err(Mistake { offset, message: "invalid int literal".into() }),
        }
    }

    /// A name, a call, or the literal of a struct.
    fn name(&mut self, start: usize, mut name: String) -> Parse {
        let Token::Ident(word) = self.current().token.clone() else {
            return Err(self.unexpected("IDENTIFIER"));
        };
        let offset = self.next();
        if RESERVED.contains(&word.as_str()) {
            self.mistakes.push(Mistake { offset, message: format!("reserved identifier: {word}") });
        }
        name.push_str(&word);
        if self.is("(") {
            let open = self.next();
            let args = self.arguments()?;
            let id = self.id(open);
            return Ok(self.call(id, None, name, args));
        }
        // `a.b.C{` is a struct; anything else is left to the selections.
        let mut ahead = self.at;
        let mut full = name.clone();
        while let (Token::Sign("."), Some(Token::Ident(word))) =
            (&self.tokens[ahead].token, self.tokens.get(ahead + 1).map(|placed| &placed.token))
        {
            full.push('.');
            full.push_str(word);
            ahead += 2;
        }
        if self.tokens[ahead].token == Token::Sign("{") {
            self.at = ahead;
            let open = self.next();
            return self.structure(open, full);
        }
        Ok(self.node(start, Kind::Ident(name)))
    }

    fn list(&mut self, offset: usize) -> Parse {
        let mut items = Vec::new();
        while !self.is("]") {
            let optional = self.take("?").is_some();
            items.push(Element { value: self.expression()?, optional });
            if self.take(",").is_none() {
                break;
            }
        }
        self.expect("]")?;
        Ok(self.node(offset, Kind::List(items)))
    }

    fn map(&mut self, offset: usize) -> Parse {
        let mut entries = Vec::new();
        while !self.is("}") {
            let optional = self.take("?").is_some();
            let key = self.expression()?;
            let colon = self.expect(":")?;
            let value = self.expression()?;
            entries.push(Entry { id: self.id(colon), key, value, optional });
            if self.take(",").is_none() {
                break;
            }
        }
        self.expect("}")?;
        Ok(self.node(offset, Kind::Map(entries)))
    }

    fn structure(&mut self, offset: usize, name: String) -> Parse {
        let mut fields = Vec::new();
        while !self.is("}") {
            let optional = self.take("?").is_some();
            let Token::Ident(field) = self.current().token.clone() else {
                return Err(self.unexpected("IDENTIFIER"));
            };
            self.next();
            let colon = self.expect(":")?;
            let value = self.expression()?;
            fields.push(FieldInit { id: self.id(colon), name: field, value, optional });
            if self.take(",").is_none() {
                break;
            }
        }
        self.expect("}")?;
        Ok(self.node(offset, Kind::Struct { name, fields }))
    }
}
