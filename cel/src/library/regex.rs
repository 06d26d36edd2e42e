//! Regular expressions, written as RE2 has them.

use std::borrow::Cow;

use ::regex::Regex;

use super::{Call, Native, Result};
use crate::error::EvaluationError;
use crate::value::{Text, Value};

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "matches" => |call| Ok(Value::Bool(pattern(call, "")?.is_match(call.text(0)?))),
        "find" => |call| {
            let found = pattern(call, "Illegal regex: ")?.find(call.text(0)?);
            Ok(found.map_or("", |found| found.as_str()).to_owned().into())
        },
        "findAll" => find_all,
        _ => return None,
    })
}

/// Compiles a pattern. What is a class of ASCII in RE2 is one here too.
pub(crate) fn compile(pattern: &str) -> std::result::Result<Regex, String> {
    if let Some(wrong) = refused(pattern) {
        return Err(format!("error parsing regexp: {wrong}"));
    }
    Regex::new(&ascii_classes(pattern)).map_err(|error| {
        let why = error.to_string();
        let last = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        format!("error parsing regexp: {last}")
    })
}

/// What RE2 refuses and Rust takes: a repetition of a repetition, and more than a thousand.
fn refused(pattern: &str) -> Option<String> {
    let mut rest = pattern;
    let mut repeated: Option<&str> = None;
    let mut class = false;
    while let Some(character) = rest.chars().next() {
        let length = match character {
            '\\' => rest.chars().take(2).map(char::len_utf8).sum(),
            '[' if !class => {
                class = true;
                // A bracket right after the beginning stands for itself.
                let inner = rest[1..].strip_prefix('^').unwrap_or(&rest[1..]);
                rest.len() - inner.strip_prefix(']').unwrap_or(inner).len()
            }
            ']' if class => {
                class = false;
                1
            }
            '*' | '+' | '?' if !class => 1 + usize::from(rest[1..].starts_with('?')),
            '{' if !class => match counted(rest) {
                Some((length, most)) if most <= 1000 => length + usize::from(rest[length..].starts_with('?')),
                Some((length, _)) => return Some(format!("invalid repeat count: `{}`", &rest[..length])),
                None => 1,
            },
            other => other.len_utf8(),
        };
        let repeats = !class && (matches!(character, '*' | '+' | '?') || (character == '{' && length > 1));
        if repeats && let Some(before) = repeated {
            let both = &before[..before.len() - rest.len() + length];
            return Some(format!("invalid nested repetition operator: `{both}`"));
        }
        repeated = repeats.then_some(rest);
        // A question mark that opens a group repeats nothing.
        let opens = !class && rest.starts_with("(?");
        rest = &rest[if opens { 2 } else { length }..];
    }
    None
}

/// `{n}`, `{n,}` or `{n,m}`: its length and the largest number in it.
fn counted(text: &str) -> Option<(usize, u64)> {
    let end = text.find('}')?;
    let mut most = 0;
    for (place, number) in text[1..end].split(',').enumerate() {
        if place > 1 || (number.is_empty() && place == 0) || !number.bytes().all(|c| c.is_ascii_digit()) {
            return None;
        }
        most = most.max(if number.is_empty() { 0 } else { number.parse().unwrap_or(u64::MAX) });
    }
    Some((end + 1, most))
}

/// `\d`, `\w` and `\s` are Unicode's in Rust and ASCII's in RE2.
fn ascii_classes(pattern: &str) -> Cow<'_, str> {
    if !pattern.contains('\\') {
        return Cow::Borrowed(pattern);
    }
    let mut written = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(character) = chars.next() {
        if character != '\\' {
            written.push(character);
            continue;
        }
        match chars.next() {
            Some('d') => written.push_str("[0-9]"),
            Some('D') => written.push_str("[^0-9]"),
            Some('w') => written.push_str("[0-9A-Za-z_]"),
            Some('W') => written.push_str("[^0-9A-Za-z_]"),
            Some('s') => written.push_str(r"[\t\n\f\r ]"),
            Some('S') => written.push_str(r"[^\t\n\f\r ]"),
            Some('z') => written.push_str(r"\z"),
            // Between \Q and \E everything stands for itself.
            Some('Q') => {
                let rest = chars.as_str();
                let end = rest.find(r"\E").unwrap_or(rest.len());
                written.push_str(&::regex::escape(&rest[..end]));
                chars = rest.get(end + 2..).unwrap_or("").chars();
            }
            Some(other) => {
                written.push('\\');
                written.push(other);
            }
            None => written.push('\\'),
        }
    }
    Cow::Owned(written)
}

fn pattern<'c>(call: &'c Call<'_, '_>, before: &str) -> Result<Cow<'c, Regex>> {
    if let Some(compiled) = call.regex {
        return Ok(Cow::Borrowed(compiled));
    }
    let compiled = compile(call.text(1)?);
    compiled.map(Cow::Owned).map_err(|why| EvaluationError::Failed(format!("{before}{why}")))
}

fn find_all<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    let limit = usize::try_from(call.int_or(2, -1)?).unwrap_or(usize::MAX);
    let found = pattern(call, "Illegal regex: ")?;
    let matches = found.find_iter(call.text(0)?).take(limit);
    Ok(matches.map(|found| Value::String(Text::Shared(found.as_str().into()))).collect())
}
