//! From text to [`Template`].

use serde_json::Value;

use super::{Operand, Operator, Part, Path, Step, Template};

/// Parses a whole template.
pub(super) fn template(text: &str) -> Result<Template, String> {
    // The parts of each open range, innermost last, under the path that opened it.
    let mut open: Vec<(Option<Path>, Vec<Part>)> = vec![(None, Vec::new())];
    let mut rest = text;
    while !rest.is_empty() {
        let Some(brace) = rest.find('{') else {
            push(&mut open, Part::Text(rest.to_owned()));
            break;
        };
        if brace > 0 {
            push(&mut open, Part::Text(rest[..brace].to_owned()));
        }
        let inside = &rest[brace + 1..];
        let end = action_end(inside)?;
        action(inside[..end].trim(), &mut open)?;
        rest = &inside[end + 1..];
    }
    match open.as_slice() {
        [(None, parts)] => Ok(Template(parts.clone())),
        _ => Err("unterminated range: {end} is missing".to_owned()),
    }
}

/// A path as columns, sort keys and `wait` take it: with or without braces and leading dot.
/// Upstream: `cmd/get/customcolumn.go`, `RelaxedJSONPathExpression`.
pub fn relaxed(text: &str) -> Result<Template, String> {
    let bare = text.trim();
    let bare = bare.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')).unwrap_or(bare);
    if bare.is_empty() {
        return Ok(Template(vec![Part::Path(Path { root: false, steps: Vec::new() })]));
    }
    let bare = if bare.starts_with(['.', '[', '$', '@']) { bare.to_owned() } else { format!(".{bare}") };
    template(&format!("{{{bare}}}"))
}

fn push(open: &mut [(Option<Path>, Vec<Part>)], part: Part) {
    if let Some((_, parts)) = open.last_mut() {
        parts.push(part);
    }
}

/// Where the closing brace is: not inside quotes.
fn action_end(text: &str) -> Result<usize, String> {
    let (mut quote, mut escaped) = (None, false);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (_, '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '}') => return Ok(at),
            _ => {}
        }
    }
    Err(if quote.is_some() { "unterminated quoted string" } else { "unclosed action: } is missing" }
        .to_owned())
}

/// One pair of braces may hold several pieces: `{.a "text" .b}`.
fn action(text: &str, open: &mut Vec<(Option<Path>, Vec<Part>)>) -> Result<(), String> {
    let mut cursor = Cursor { rest: text };
    loop {
        cursor.skip_blanks();
        match cursor.peek() {
            None => return Ok(()),
            Some('"' | '\'') => {
                let text = cursor.quoted()?;
                push(open, Part::Text(text));
            }
            Some(_) => {
                let word_end = cursor.rest.find(char::is_whitespace).unwrap_or(cursor.rest.len());
                match &cursor.rest[..word_end] {
                    "range" => {
                        cursor.rest = &cursor.rest[word_end..];
                        cursor.skip_blanks();
                        let path = cursor.path()?;
                        open.push((Some(path), Vec::new()));
                    }
                    "end" => {
                        cursor.rest = &cursor.rest[word_end..];
                        match open.pop() {
                            Some((Some(path), parts)) => push(open, Part::Range(path, parts)),
                            _ => return Err("{end} is not in range".to_owned()),
                        }
                    }
                    _ => {
                        let path = cursor.path()?;
                        push(open, Part::Path(path));
                    }
                }
            }
        }
    }
}

struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// A quoted string with the usual escapes.
    fn quoted(&mut self) -> Result<String, String> {
        let mut chars = self.rest.char_indices();
        let Some((_, quote)) = chars.next() else { return Err("expected a quoted string".to_owned()) };
        let mut text = String::new();
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.rest = &self.rest[at + c.len_utf8()..];
                    return Ok(text);
                }
                '\\' => match chars.next().map(|(_, escaped)| escaped) {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some(other) => text.push(other),
                    None => break,
                },
                c => text.push(c),
            }
        }
        Err("unterminated quoted string".to_owned())
    }

    fn path(&mut self) -> Result<Path, String> {
        let mut path = Path { root: false, steps: Vec::new() };
        if self.eat("$") {
            path.root = true;
        } else if !self.eat("@") && self.peek().is_some_and(|c| !matches!(c, '.' | '[')) {
            path.steps.push(self.field()?);
        }
        loop {
            if self.eat("..") {
                path.steps.push(Step::Recursive);
                if self.peek().is_some_and(is_field_char) {
                    path.steps.push(self.field()?);
                }
            } else if self.eat(".") {
                if self.eat("*") {
                    path.steps.push(Step::Wildcard);
                } else if self.peek().is_some_and(is_field_char) {
                    path.steps.push(self.field()?);
                }
            } else if self.eat("[") {
                path.steps.push(self.bracket()?);
            } else {
                return Ok(path);
            }
        }
    }

    /// A bare name; a backslash keeps the next character, so that `a\.b` is one name.
    fn field(&mut self) -> Result<Step, String> {
        let (mut name, mut escaped, mut end) = (String::new(), false, self.rest.len());
        for (at, c) in self.rest.char_indices() {
            if escaped {
                name.push(c);
                escaped = false;
            } else if c == '\\' {
                escaped = true;
            } else if is_field_char(c) {
                name.push(c);
            } else {
                end = at;
                break;
            }
        }
        if name.is_empty() {
            return Err(format!("unrecognized character in action: {:?}", self.peek().unwrap_or(' ')));
        }
        self.rest = &self.rest[end..];
        Ok(Step::Field(name))
    }

    /// What stands between brackets; the opening one is read already.
    fn bracket(&mut self) -> Result<Step, String> {
        if self.eat("?(") {
            return self.filter();
        }
        let mut members = Vec::new();
        loop {
            self.skip_blanks();
            members.push(self.member()?);
            self.skip_blanks();
            if self.eat("]") {
                break;
            }
            if !self.eat(",") {
                return Err(match self.peek() {
                    None => "unterminated array: ] is missing".to_owned(),
                    Some(_) => format!("invalid array index {:?}", self.rest),
                });
            }
        }
        Ok(if members.len() == 1 { members.swap_remove(0) } else { Step::Union(members) })
    }

    fn member(&mut self) -> Result<Step, String> {
        match self.peek() {
            None => Err("unterminated array: ] is missing".to_owned()),
            Some('\'' | '"') => Ok(Step::Field(self.quoted()?)),
            Some('*') => {
                self.eat("*");
                Ok(Step::Wildcard)
            }
            Some(_) => {
                let end = self.rest.find([',', ']']).ok_or("unterminated array: ] is missing")?;
                let text = self.rest[..end].trim();
                self.rest = &self.rest[end..];
                index_or_slice(text)
            }
        }
    }

    fn filter(&mut self) -> Result<Step, String> {
        self.skip_blanks();
        let left = self.operand()?;
        self.skip_blanks();
        const OPERATORS: [(&str, Operator); 6] = [
            ("==", Operator::Equal),
            ("!=", Operator::NotEqual),
            ("<=", Operator::LessOrEqual),
            (">=", Operator::GreaterOrEqual),
            ("<", Operator::Less),
            (">", Operator::Greater),
        ];
        let operator = OPERATORS.iter().find(|(token, _)| self.eat(token)).map(|(_, operator)| *operator);
        let comparison = match operator {
            Some(operator) => {
                self.skip_blanks();
                let right = self.operand()?;
                self.skip_blanks();
                Some((operator, right))
            }
            None => None,
        };
        if !self.eat(")") {
            return Err("unterminated filter: ) is missing".to_owned());
        }
        self.skip_blanks();
        if !self.eat("]") {
            return Err("unterminated array: ] is missing".to_owned());
        }
        Ok(Step::Filter(left, comparison))
    }

    fn operand(&mut self) -> Result<Operand, String> {
        match self.peek() {
            Some('\'' | '"') => Ok(Operand::Literal(Value::String(self.quoted()?))),
            Some('@' | '$' | '.') => Ok(Operand::Path(self.path()?)),
            _ => {
                let end = self
                    .rest
                    .find(|c: char| c.is_whitespace() || ")=!<>".contains(c))
                    .unwrap_or(self.rest.len());
                let text = &self.rest[..end];
                self.rest = &self.rest[end..];
                serde_json::from_str(text)
                    .map(Operand::Literal)
                    .map_err(|_| format!("unrecognized value {text:?} in filter"))
            }
        }
    }
}

fn is_field_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '/' | '\\')
}

fn index_or_slice(text: &str) -> Result<Step, String> {
    let bad = || format!("invalid array index {text:?}");
    let number = |part: &str| match part.trim() {
        "" => Ok(None),
        part => part.parse::<i64>().map(Some).map_err(|_| bad()),
    };
    match text.split(':').collect::<Vec<_>>().as_slice() {
        // A name without quotes is taken as one, as upstream does.
        [one] => match one.parse::<i64>() {
            Ok(index) => Ok(Step::Index(index)),
            Err(_) if !one.is_empty() && one.chars().all(is_field_char) => Ok(Step::Field((*one).to_owned())),
            Err(_) => Err(bad()),
        },
        [from, to] => Ok(Step::Slice(number(from)?, number(to)?, 1)),
        [from, to, step] => match number(step)?.unwrap_or(1) {
            step if step > 0 => Ok(Step::Slice(number(from)?, number(to)?, step)),
            _ => Err("step must be > 0".to_owned()),
        },
        _ => Err(bad()),
    }
}
