//! Characters to tokens, as `parser/gen/CEL.g4` has them.

use crate::ast::Literal;
use crate::error::Mistake;

/// A token.
#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    /// A name or a reserved word.
    Ident(String),
    /// `true`, `false`, `null`, a number, a text or bytes.
    Literal(Literal),
    /// A whole number that has not been read yet: its sign may belong to it.
    Whole(String),
    /// An operator or a bracket.
    Sign(&'static str),
    /// The end.
    End,
}

/// A token, where it begins (in characters), and its text.
#[derive(Debug, Clone)]
pub struct Placed {
    /// The token.
    pub token: Token,
    /// How many characters stand before it.
    pub offset: usize,
    /// Its text, for messages.
    pub text: String,
}

/// Longer signs first.
const SIGNS: &[&str] = &[
    "==", "!=", "<=", ">=", "&&", "||", "[", "]", "{", "}", "(", ")", ".", ",", "-", "!", "?", ":", "+", "*",
    "/", "%", "<", ">",
];

/// The tokens of an expression; the last is [`Token::End`].
pub fn tokens(source: &str) -> Result<Vec<Placed>, Mistake> {
    let chars: Vec<char> = source.chars().collect();
    let mut lexer = Lexer { chars: &chars, at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip();
        let offset = lexer.at;
        let token = lexer.token()?;
        let end = token == Token::End;
        let text = if end { "<EOF>".into() } else { chars[offset..lexer.at].iter().collect() };
        tokens.push(Placed { token, offset, text });
        if end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    chars: &'a [char],
    at: usize,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn skip(&mut self) {
        while let Some(character) = self.peek(0) {
            match character {
                ' ' | '\t' | '\n' | '\r' | '\u{c}' => self.at += 1,
                '/' if self.peek(1) == Some('/') => {
                    while self.peek(0).is_some_and(|character| character != '\n') {
                        self.at += 1;
                    }
                }
                _ => return,
            }
        }
    }

    fn token(&mut self) -> Result<Token, Mistake> {
        let Some(character) = self.peek(0) else { return Ok(Token::End) };
        if let Some(text) = self.text()? {
            return Ok(text);
        }
        if character.is_ascii_digit()
            || (character == '.' && self.peek(1).is_some_and(|next| next.is_ascii_digit()))
        {
            return self.number();
        }
        if character.is_ascii_alphabetic() || character == '_' {
            let start = self.at;
            while self.peek(0).is_some_and(|character| character.is_ascii_alphanumeric() || character == '_')
            {
                self.at += 1;
            }
            let word: String = self.chars[start..self.at].iter().collect();
            return Ok(match word.as_str() {
                "true" => Token::Literal(Literal::Bool(true)),
                "false" => Token::Literal(Literal::Bool(false)),
                "null" => Token::Literal(Literal::Null),
                "in" => Token::Sign("in"),
                _ => Token::Ident(word),
            });
        }
        let starts =
            |sign: &str| sign.chars().enumerate().all(|(index, expected)| self.peek(index) == Some(expected));
        match SIGNS.iter().find(|sign| starts(sign)) {
            Some(sign) => {
                self.at += sign.len();
                Ok(Token::Sign(sign))
            }
            None => Err(Mistake {
                offset: self.at,
                message: format!("Syntax error: token recognition error at: '{character}'"),
            }),
        }
    }

    /// A text or bytes, if one begins here.
    fn text(&mut self) -> Result<Option<Token>, Mistake> {
        let (mut raw, mut bytes, mut ahead) = (false, false, 0);
        while let Some(character) = self.peek(ahead) {
            match character {
                'r' | 'R' if !raw => raw = true,
                'b' | 'B' if !bytes && !raw => bytes = true,
                '"' | '\'' => return self.quoted(ahead, character, raw, bytes).map(Some),
                _ => return Ok(None),
            }
            ahead += 1;
        }
        Ok(None)
    }

    fn quoted(&mut self, ahead: usize, quote: char, raw: bool, bytes: bool) -> Result<Token, Mistake> {
        let start = self.at;
        self.at += ahead;
        let triple = self.peek(1) == Some(quote) && self.peek(2) == Some(quote);
        let width = if triple { 3 } else { 1 };
        self.at += width;
        let mut content = Vec::new();
        loop {
            let ends = (0..width).all(|index| self.peek(index) == Some(quote));
            match self.peek(0) {
                _ if ends => break,
                None => return Err(self.unfinished(start)),
                Some('\n' | '\r') if !triple => return Err(self.unfinished(start)),
                Some('\\') if !raw => self.escape(&mut content, bytes)?,
                Some('\\') => {
                    // Even a raw quote is not ended by one after a backslash.
                    content.extend(b"\\");
                    self.at += 1;
                    if let Some(next) = self.peek(0) {
                        push(&mut content, next);
                        self.at += 1;
                    }
                }
                Some(character) => {
                    push(&mut content, character);
                    self.at += 1;
                }
            }
        }
        self.at += width;
        Ok(Token::Literal(if bytes {
            Literal::Bytes(content)
        } else {
            Literal::String(String::from_utf8_lossy(&content).into_owned())
        }))
    }

    fn unfinished(&self, start: usize) -> Mistake {
        let text: String = self.chars[start..self.at.min(self.chars.len())].iter().collect();
        Mistake { offset: start, message: format!("Syntax error: token recognition error at: '{text}'") }
    }

    fn escape(&mut self, content: &mut Vec<u8>, bytes: bool) -> Result<(), Mistake> {
        let start = self.at;
        let bad =
            Mistake { offset: start, message: "invalid string literal: unable to unescape string".into() };
        let Some(letter) = self.peek(1) else { return Err(bad) };
        self.at += 2;
        let simple = match letter {
            'a' => Some(7),
            'b' => Some(8),
            'f' => Some(12),
            'n' => Some(10),
            'r' => Some(13),
            't' => Some(9),
            'v' => Some(11),
            '\\' | '\'' | '"' | '`' | '?' => Some(letter as u8),
            _ => None,
        };
        if let Some(simple) = simple {
            content.push(simple);
            return Ok(());
        }
        let (digits, radix) = match letter {
            'x' | 'X' => (2, 16),
            'u' => (4, 16),
            'U' => (8, 16),
            '0'..='3' => {
                self.at -= 1;
                (3, 8)
            }
            _ => return Err(bad),
        };
        let text: String = (0..digits).filter_map(|index| self.peek(index)).collect();
        let code = u32::from_str_radix(&text, radix).ok().filter(|_| text.chars().count() == digits);
        let Some(code) = code.filter(|_| !text.starts_with('+')) else { return Err(bad) };
        self.at += digits;
        match u8::try_from(code) {
            Ok(byte) if bytes && !matches!(letter, 'u' | 'U') => content.push(byte),
            _ if bytes && matches!(letter, 'u' | 'U') => return Err(bad),
            _ => push(content, char::from_u32(code).ok_or(bad)?),
        }
        Ok(())
    }

    fn digits(&mut self, allowed: impl Fn(char) -> bool) -> bool {
        let start = self.at;
        while self.peek(0).is_some_and(&allowed) {
            self.at += 1;
        }
        self.at > start
    }

    fn number(&mut self) -> Result<Token, Mistake> {
        let start = self.at;
        let mut double = false;
        if self.peek(0) == Some('0')
            && self.peek(1) == Some('x')
            && self.peek(2).is_some_and(|c| c.is_ascii_hexdigit())
        {
            self.at += 2;
            self.digits(|c| c.is_ascii_hexdigit());
        } else {
            self.digits(|c| c.is_ascii_digit());
            if self.peek(0) == Some('.') && self.peek(1).is_some_and(|c| c.is_ascii_digit()) {
                double = true;
                self.at += 1;
                self.digits(|c| c.is_ascii_digit());
            }
            let signed = usize::from(matches!(self.peek(1), Some('+' | '-')));
            if matches!(self.peek(0), Some('e' | 'E'))
                && self.peek(1 + signed).is_some_and(|c| c.is_ascii_digit())
            {
                double = true;
                self.at += 1 + signed;
                self.digits(|c| c.is_ascii_digit());
            }
        }
        let text: String = self.chars[start..self.at].iter().collect();
        if double {
            let value: f64 = text
                .parse()
                .map_err(|_| Mistake { offset: start, message: "invalid double literal".into() })?;
            return if value.is_finite() {
                Ok(Token::Literal(Literal::Double(value)))
            } else {
                Err(Mistake { offset: start, message: "invalid double literal".into() })
            };
        }
        if matches!(self.peek(0), Some('u' | 'U')) {
            self.at += 1;
            let value = match text.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16),
                None => text.parse(),
            };
            return match value {
                Ok(value) => Ok(Token::Literal(Literal::Uint(value))),
                Err(_) => Err(Mistake { offset: start, message: "invalid uint literal".into() }),
            };
        }
        Ok(Token::Whole(text))
    }
}

fn push(content: &mut Vec<u8>, character: char) {
    content.extend(character.encode_utf8(&mut [0; 4]).as_bytes());
}
