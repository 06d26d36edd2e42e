//! What Go's JSON decoder says about text that is not JSON: clients and their tests know its words.
//! Runs only when decoding failed already.

/// How deep Go lets values nest.
const DEPTH_MAX: usize = 10_000;

/// Go's error for a text that is no JSON value; `None` if it is one.
pub fn syntax_error(bytes: &[u8]) -> Option<String> {
    let mut scanner = Scanner { bytes, at: 0 };
    match scanner.text() {
        Ok(()) => None,
        Err(Stop::End) => Some("unexpected end of JSON input".into()),
        Err(Stop::Depth) => Some("exceeded max depth".into()),
        Err(Stop::At(context)) => {
            let byte = scanner.bytes[scanner.at];
            let shown = match byte {
                b'\'' => r"'\''".to_owned(),
                b'"' => "'\"'".to_owned(),
                b'\n' => r"'\n'".to_owned(),
                b'\r' => r"'\r'".to_owned(),
                b'\t' => r"'\t'".to_owned(),
                0x20..=0x7e => format!("'{}'", char::from(byte)),
                0..0x20 | 0x7f => format!("'\\x{byte:02x}'"),
                // Go takes the byte for a rune.
                other => format!("'{}'", char::from(other)),
            };
            Some(format!("invalid character {shown} {context}"))
        }
    }
}

enum Stop {
    End,
    Depth,
    At(String),
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

const VALUE: &str = "looking for beginning of value";

impl Scanner<'_> {
    fn text(&mut self) -> Result<(), Stop> {
        // Open brackets instead of recursion: the input decides how deep it goes.
        let mut open: Vec<u8> = Vec::new();
        loop {
            self.skip_space();
            let closes_at_once = match self.peek()? {
                b'{' | b'[' => {
                    let bracket = self.bytes[self.at];
                    open.push(bracket);
                    if open.len() > DEPTH_MAX {
                        return Err(Stop::Depth);
                    }
                    self.at += 1;
                    self.skip_space();
                    let close = if bracket == b'{' { b'}' } else { b']' };
                    if self.peek()? == close {
                        true
                    } else if bracket == b'{' {
                        self.key("looking for beginning of object key string")?;
                        continue;
                    } else {
                        continue;
                    }
                }
                _ => {
                    self.scalar()?;
                    false
                }
            };
            let mut closing = closes_at_once;
            loop {
                if closing {
                    self.at += 1;
                    open.pop();
                }
                self.skip_space();
                let Some(bracket) = open.last().copied() else {
                    return match self.bytes.get(self.at) {
                        None => Ok(()),
                        Some(_) => Err(Stop::At("after top-level value".into())),
                    };
                };
                match (bracket, self.peek()?) {
                    (b'{', b'}') | (b'[', b']') => closing = true,
                    (b'{', b',') => {
                        self.at += 1;
                        self.skip_space();
                        self.peek()?;
                        self.key("looking for beginning of object key string")?;
                        break;
                    }
                    (_, b',') => {
                        self.at += 1;
                        break;
                    }
                    (b'{', _) => return Err(Stop::At("after object key:value pair".into())),
                    _ => return Err(Stop::At("after array element".into())),
                }
            }
        }
    }

    fn peek(&self) -> Result<u8, Stop> {
        self.bytes.get(self.at).copied().ok_or(Stop::End)
    }

    fn skip_space(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn key(&mut self, context: &str) -> Result<(), Stop> {
        if self.peek()? != b'"' {
            return Err(Stop::At(context.into()));
        }
        self.string()?;
        self.skip_space();
        if self.peek()? != b':' {
            return Err(Stop::At("after object key".into()));
        }
        self.at += 1;
        Ok(())
    }

    fn string(&mut self) -> Result<(), Stop> {
        self.at += 1;
        loop {
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => {
                    self.at += 1;
                    match self.peek()? {
                        b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => self.at += 1,
                        b'u' => {
                            self.at += 1;
                            for _ in 0..4 {
                                if !self.peek()?.is_ascii_hexdigit() {
                                    return Err(Stop::At("in \\u hexadecimal character escape".into()));
                                }
                                self.at += 1;
                            }
                        }
                        _ => return Err(Stop::At("in string escape code".into())),
                    }
                }
                0..0x20 => return Err(Stop::At("in string literal".into())),
                _ => self.at += 1,
            }
        }
    }

    fn scalar(&mut self) -> Result<(), Stop> {
        match self.peek()? {
            b'"' => self.string(),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            b'-' | b'0'..=b'9' => self.number(),
            _ => Err(Stop::At(VALUE.into())),
        }
    }

    fn word(&mut self, word: &str) -> Result<(), Stop> {
        self.at += 1;
        for expected in word.bytes().skip(1) {
            if self.peek()? != expected {
                let expected = char::from(expected);
                return Err(Stop::At(format!("in literal {word} (expecting '{expected}')")));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Stop> {
        if self.peek()? == b'-' {
            self.at += 1;
            if !self.peek()?.is_ascii_digit() {
                return Err(Stop::At("in numeric literal".into()));
            }
        }
        let zero = self.peek()? == b'0';
        self.at += 1;
        if !zero {
            self.skip_digits();
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            if !self.peek()?.is_ascii_digit() {
                return Err(Stop::At("after decimal point in numeric literal".into()));
            }
            self.skip_digits();
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.bytes.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if !self.peek()?.is_ascii_digit() {
                return Err(Stop::At("in exponent of numeric literal".into()));
            }
            self.skip_digits();
        }
        Ok(())
    }

    fn skip_digits(&mut self) {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::syntax_error;

    #[test]
    fn mistakes_are_told_in_gos_words() {
        for (text, error) in [
            ("", "unexpected end of JSON input"),
            (r#"{"a":"#, "unexpected end of JSON input"),
            (r#"{"a":1"#, "unexpected end of JSON input"),
            (r#"{"a""#, "unexpected end of JSON input"),
            ("{a:1}", "invalid character 'a' looking for beginning of object key string"),
            (r#"{"a" 1}"#, "invalid character '1' after object key"),
            (r#"{"a":1 "b"}"#, "invalid character '\"' after object key:value pair"),
            (r#"{"a":1,}"#, "invalid character '}' looking for beginning of object key string"),
            ("[1 2]", "invalid character '2' after array element"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("{}x", "invalid character 'x' after top-level value"),
            ("trve", "invalid character 'v' in literal true (expecting 'u')"),
            ("-x", "invalid character 'x' in numeric literal"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            (r#""\x""#, "invalid character 'x' in string escape code"),
            ("\"a\nb\"", r"invalid character '\n' in string literal"),
            ("apiVersion: v1", "invalid character 'a' looking for beginning of value"),
        ] {
            assert_eq!(syntax_error(text.as_bytes()).as_deref(), Some(error), "{text}");
        }
        for text in ["{}", "[]", " 1e5 ", r#"{"a":[{"b":null},-0.5,"\u00e9",[]],"c":{}}"#] {
            assert_eq!(syntax_error(text.as_bytes()), None, "{text}");
        }
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert_eq!(syntax_error(deep(10_000).as_bytes()), None);
        assert_eq!(syntax_error(deep(10_001).as_bytes()).as_deref(), Some("exceeded max depth"));
    }
}
