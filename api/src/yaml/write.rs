//! YAML as kube-apiserver writes it: the order of keys, the quotes and the blocks of Go's `yaml.v2`.

use std::cmp::Ordering;
use std::fmt::Write;

use serde_json::{Map, Number, Value};

/// A text is folded behind this column.
const WIDTH: usize = 80;
/// A longer key stands behind a `?`, in bytes.
const SIMPLE_KEY: usize = 128;
/// What an unquoted text of these letters would be read as: a truth, nothing, or not a number.
const WORDS: &[&str] = &[
    "", "~", "null", "Null", "NULL", "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON",
    "n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF", ".nan", ".NaN", ".NAN",
    ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF",
];

/// One document.
pub fn to_string(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => mapping(map, 0, &mut out),
        Value::Array(list) if !list.is_empty() => sequence(list, 0, &mut out),
        other => {
            line(other, 0, &mut out);
            out.remove(0);
        }
    }
    out
}

fn mapping(map: &Map<String, Value>, indent: usize, out: &mut String) {
    let mut members: Vec<_> = map.iter().collect();
    members.sort_by(|(a, _), (b, _)| natural(a, b));
    for (index, (key, value)) in members.into_iter().enumerate() {
        // The first member of an item stands behind its dash.
        if index > 0 || out.is_empty() || out.ends_with('\n') {
            pad(indent, out);
        }
        let key_text = text(key, Place { indent, column: indent, key: true });
        if key.len() > SIMPLE_KEY || key.contains('\n') {
            let _ = write!(out, "? {key_text}\n{:indent$}:", "");
        } else {
            let _ = write!(out, "{key_text}:");
        }
        match value {
            Value::Object(map) if !map.is_empty() => {
                out.push('\n');
                mapping(map, indent + 2, out);
            }
            Value::Array(list) if !list.is_empty() => {
                out.push('\n');
                sequence(list, indent, out);
            }
            other => line(other, indent + 2, out),
        }
    }
}

fn sequence(list: &[Value], indent: usize, out: &mut String) {
    for (index, item) in list.iter().enumerate() {
        if index > 0 || out.is_empty() || out.ends_with('\n') {
            pad(indent, out);
        }
        out.push('-');
        match item {
            Value::Object(map) if !map.is_empty() => {
                out.push(' ');
                mapping(map, indent + 2, out);
            }
            Value::Array(list) if !list.is_empty() => {
                out.push(' ');
                sequence(list, indent + 2, out);
            }
            other => line(other, indent + 2, out),
        }
    }
}

fn line(value: &Value, indent: usize, out: &mut String) {
    out.push(' ');
    let column = out.rsplit('\n').next().unwrap_or_default().chars().count();
    let scalar = scalar(value, Place { indent, column, key: false });
    out.push_str(&scalar);
    if !scalar.ends_with('\n') {
        out.push('\n');
    }
}

fn pad(indent: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', indent));
}

fn scalar(value: &Value, at: Place) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => number(value),
        Value::String(value) => text(value, at),
        Value::Array(_) => "[]".into(),
        Value::Object(_) => "{}".into(),
    }
}

/// Integers as they are; others as Go's shortest `%g`.
fn number(value: &Number) -> String {
    let Some(float) = value.as_f64().filter(|_| value.is_f64()) else { return value.to_string() };
    let scientific = format!("{float:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return float.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// Texts in the order that people count in: `a2` before `a10`, letters after all else.
fn natural(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let Some(at) = a.iter().zip(&b).position(|(a, b)| a != b) else { return a.len().cmp(&b.len()) };
    match (a[at].is_alphabetic(), b[at].is_alphabetic()) {
        (true, true) => return a[at].cmp(&b[at]),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    // Zeros count only behind another digit of the same number.
    let begun = a[..at].iter().rev().take_while(|c| c.is_ascii_digit()).any(|c| *c != '0');
    let lead = i64::from((a[at] == '0' || b[at] == '0') && begun);
    let run = |text: &[char]| {
        let digits: Vec<i64> = text[at..].iter().map_while(|c| c.to_digit(10)).map(i64::from).collect();
        let value = digits.iter().fold(lead, |sum, digit| sum.wrapping_mul(10).wrapping_add(*digit));
        (value, digits.len())
    };
    run(&a).cmp(&run(&b)).then(a[at].cmp(&b[at]))
}

fn text(value: &str, at: Place) -> String {
    let facts = Facts::of(value);
    if value.contains('\n') {
        if facts.block && !at.key { literal(value, at.indent) } else { flow(value, Style::Double, at) }
    } else if resolves(value) || facts.special {
        flow(value, Style::Double, at)
    } else if facts.plain {
        flow(value, Style::Plain, at)
    } else {
        flow(value, Style::Single, at)
    }
}

/// Where a scalar stands.
#[derive(Clone, Copy)]
struct Place {
    /// What its further lines are indented by.
    indent: usize,
    /// The column that it begins in.
    column: usize,
    /// Whether it is a key, which stays on one line.
    key: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Single,
    Double,
}

/// A text on one line, folded at a space behind column 80.
fn flow(value: &str, style: Style, at: Place) -> String {
    let quote = match style {
        Style::Plain => "",
        Style::Single => "'",
        Style::Double => "\"",
    };
    let chars: Vec<char> = value.chars().collect();
    let mut out = String::from(quote);
    let mut column = at.column + quote.len();
    let mut behind_space = false;
    for (index, &c) in chars.iter().enumerate() {
        let inner = style == Style::Plain || (index > 0 && index + 1 < chars.len());
        let doubled = chars.get(index + 1) == Some(&' ');
        if c == ' '
            && !at.key
            && !behind_space
            && column > WIDTH
            && inner
            && (style == Style::Double || !doubled)
        {
            out.push('\n');
            pad(at.indent, &mut out);
            column = at.indent;
            if doubled {
                out.push('\\');
                column += 1;
            }
            behind_space = true;
            continue;
        }
        behind_space = c == ' ';
        let before = out.len();
        match (style, c) {
            (Style::Single, '\'') => out.push_str("''"),
            (Style::Double, c) => escaped(c, &mut out),
            (_, c) => out.push(c),
        }
        column += out[before..].chars().count();
    }
    out.push_str(quote);
    out
}

/// What decides how a text may be written.
struct Facts {
    plain: bool,
    block: bool,
    special: bool,
}

impl Facts {
    fn of(value: &str) -> Self {
        let chars: Vec<char> = value.chars().collect();
        let blank = |at: usize| chars.get(at).is_none_or(|c| matches!(c, ' ' | '\t'));
        let is_break = |c: char| matches!(c, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}');
        let mut indicators = value.starts_with("---") || value.starts_with("...");
        let (mut special, mut breaks, mut space_break) = (false, false, false);
        for (at, &c) in chars.iter().enumerate() {
            indicators |= match c {
                '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@'
                | '`'
                    if at == 0 =>
                {
                    true
                }
                '?' | '-' if at == 0 => blank(1),
                ':' => blank(at + 1),
                '#' => matches!(chars[at - 1], ' ' | '\t' | '\0') || is_break(chars[at - 1]),
                _ => false,
            };
            special |= !printable(c);
            breaks |= is_break(c);
            space_break |= is_break(c) && at > 0 && chars[at - 1] == ' ';
        }
        let edge = |c: Option<&char>| c.is_some_and(|c| *c == ' ' || is_break(*c));
        let edges = edge(chars.first()) || edge(chars.last());
        let special = special || space_break;
        Self {
            plain: !(indicators || special || breaks || edges),
            block: !special && chars.last() != Some(&' '),
            special,
        }
    }
}

fn printable(c: char) -> bool {
    matches!(c, '\n' | '\u{20}'..='\u{7e}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}')
        && c != '\u{feff}'
}

/// Whether the text without quotes would be something else than a text.
fn resolves(value: &str) -> bool {
    let Some(first) = value.chars().next() else { return true };
    if matches!(first, 'y' | 'Y' | 'n' | 'N' | 't' | 'T' | 'f' | 'F' | 'o' | 'O' | '~' | '.' | '+' | '-')
        && WORDS.contains(&value)
    {
        return true;
    }
    match first {
        '.' => float(value),
        '0'..='9' | '+' | '-' => {
            let plain = value.replace('_', "");
            date(value) || sixty(value) || integer(&plain) || float(&plain)
        }
        _ => false,
    }
}

fn integer(text: &str) -> bool {
    let (negative, digits) = match text.strip_prefix(['+', '-']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.get(..2) {
        Some("0x") => (16, &lower[2..]),
        Some("0b") => (2, &lower[2..]),
        Some("0o") => (8, &lower[2..]),
        _ if lower.len() > 1 && lower.starts_with('0') => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    if digits.starts_with(['+', '-']) {
        return false;
    }
    match i128::from_str_radix(digits, radix) {
        Ok(number) if negative || text.starts_with('+') => {
            number <= i128::from(i64::MAX) + i128::from(negative)
        }
        Ok(number) => number <= i128::from(u64::MAX),
        Err(_) => false,
    }
}

fn float(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    let finite = text.parse::<f64>().is_ok_and(f64::is_finite);
    !(whole.is_empty() && fraction.is_empty()) && digits(whole) && digits(fraction) && exponent && finite
}

/// A date, or a time, that a reader of YAML would take for one.
fn date(text: &str) -> bool {
    if text.len() < 5 || !text.bytes().take(4).all(|b| b.is_ascii_digit()) || text.as_bytes()[4] != b'-' {
        return false;
    }
    let day = text.split(['T', 't', ' ']).next().unwrap_or_default();
    let parts: Vec<&str> = day.split('-').collect();
    let short = |part: &str| matches!(part.len(), 1 | 2);
    let padded = |part: &str| format!("{part:0>2}");
    if parts.len() != 3 || !short(parts[1]) || !short(parts[2]) {
        return false;
    }
    let day_text = format!("{}-{}-{}", parts[0], padded(parts[1]), padded(parts[2]));
    if day.len() == text.len() {
        return day_text.parse::<jiff::civil::Date>().is_ok();
    }
    let (zoned, clock) = (&text[day.len()..=day.len()] != " ", &text[day.len() + 1..]);
    if zoned {
        format!("{day_text}T{clock}").parse::<jiff::Timestamp>().is_ok()
    } else {
        format!("{day_text}T{clock}").parse::<jiff::civil::DateTime>().is_ok()
    }
}

/// A number of base sixty, as `12:30`, which older readers know.
fn sixty(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (text, rest) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = text.split(':');
    let first = parts.next().unwrap_or_default();
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    let minute = |part: &str| match part.as_bytes() {
        [one] => one.is_ascii_digit(),
        [ten, one] => (b'0'..=b'5').contains(ten) && one.is_ascii_digit(),
        _ => false,
    };
    let mut count = 0;
    first.starts_with(|c: char| c.is_ascii_digit())
        && digits(first)
        && digits(rest)
        && parts.all(|part| {
            count += 1;
            minute(part)
        })
        && count > 0
}

fn literal(value: &str, indent: usize) -> String {
    let mut out = String::from("|");
    if value.starts_with([' ', '\n']) {
        out.push('2');
    }
    let trimmed = value.strip_suffix('\n');
    match trimmed {
        None => out.push('-'),
        Some(rest) if rest.is_empty() || rest.ends_with('\n') => out.push('+'),
        Some(_) => {}
    }
    out.push('\n');
    for line in trimmed.unwrap_or(value).split('\n') {
        if !line.is_empty() {
            pad(indent, &mut out);
        }
        out.push_str(line);
        out.push('\n');
    }
    out
}

fn escaped(c: char, out: &mut String) {
    let short = match c {
        '\0' => '0',
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\u{b}' => 'v',
        '\u{c}' => 'f',
        '\r' => 'r',
        '\u{1b}' => 'e',
        '"' => '"',
        '\\' => '\\',
        '\u{85}' => 'N',
        '\u{2028}' => 'L',
        '\u{2029}' => 'P',
        c if printable(c) => {
            out.push(c);
            return;
        }
        c => {
            let code = u32::from(c);
            let _ = match code {
                0..=0xff => write!(out, "\\x{code:02X}"),
                0x100..=0xffff => write!(out, "\\u{code:04X}"),
                _ => write!(out, "\\U{code:08X}"),
            };
            return;
        }
    };
    out.push('\\');
    out.push(short);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_are_quoted_where_they_would_be_something_else() {
        for (text, written) in [
            ("f:metadata", "f:metadata"),
            (".", "."),
            (r#"k:{"name":"c"}"#, r#"k:{"name":"c"}"#),
            ("10.0.0.1", "10.0.0.1"),
            ("1.5", "\"1.5\""),
            ("y", "\"y\""),
            ("", "\"\""),
            ("0x1f", "\"0x1f\""),
            ("089", "\"089\""),
            ("1_000", "\"1_000\""),
            ("1e3", "\"1e3\""),
            ("2026-01-01T00:00:00Z", "\"2026-01-01T00:00:00Z\""),
            ("2026-1-1", "\"2026-1-1\""),
            ("2026-13-01", "2026-13-01"),
            ("12:30", "\"12:30\""),
            ("12:99", "12:99"),
            ("*/5 * * * *", "'*/5 * * * *'"),
            ("- a", "'- a'"),
            ("-a", "-a"),
            ("a: b", "'a: b'"),
            ("a #b", "'a #b'"),
            (" a", "' a'"),
            ("it's", "it's"),
            ("'a'", "'''a'''"),
            ("a\tb", "\"a\\tb\""),
            ("ä", "ä"),
            ("😀", "\"\\U0001F600\""),
        ] {
            assert_eq!(super::text(text, Place { indent: 0, column: 0, key: false }), written, "{text}");
        }
    }

    #[test]
    fn documents_stand_as_gos_do() {
        let value = json!({
            "b": [{"x": 1, "a": [["p"], []]}, "two\nlines\n"], "a10": {}, "a9": {"text": "x\n\n  y"}, "1": null,
            "z": 0.5, "big": 1e20, "_": "  lead\n",
        });
        let expected = "_: |2\n    lead\n\"1\": null\na9:\n  text: |-\n    x\n\n      y\na10: {}\nb:\n- a:\n  - - p\n  - []\n  x: 1\n- |\n  two\n  lines\nbig: 1e+20\nz: 0.5\n";
        assert_eq!(to_string(&value), expected);
        assert_eq!(to_string(&json!([])), "[]\n");
    }

    #[test]
    fn long_texts_are_folded_at_spaces() {
        let words = "word ".repeat(20);
        let expected = format!("a:\n- b: {}\n    {}\n", "word ".repeat(16).trim(), "word ".repeat(4).trim());
        assert_eq!(to_string(&json!({"a": [{"b": words.trim()}]})), expected);
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let texts = [
            "a\rb",
            "\u{feff}",
            "a \nb",
            "~",
            "=",
            "\u{a0}x\u{a0}",
            "%",
            "x:",
            "? a",
            "|",
            "\n",
            "a\n ",
            "null",
        ];
        for text in texts {
            let value = json!({"k": text, "l": [text], text: 1});
            let (read, _) = super::super::decode_one(to_string(&value).as_bytes(), true).unwrap();
            assert_eq!(read, value, "{text:?}: {}", to_string(&value));
        }
    }
}
