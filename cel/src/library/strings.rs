//! Texts. Places are counted in characters.

use super::format;
use super::operators::texts;
use super::{Call, Native, Result};
use crate::error::EvaluationError;
use crate::value::{Text, Value};

/// What no text may grow beyond: making it would cost more than any evaluation may.
const LONGEST: usize = 64 * 1024 * 1024;

pub(super) fn native(name: &str) -> Option<Native> {
    Some(match name {
        "contains" => |call| Ok(Value::Bool(call.text(0)?.contains(call.text(1)?))),
        "startsWith" => |call| Ok(Value::Bool(call.text(0)?.starts_with(call.text(1)?))),
        "endsWith" => |call| Ok(Value::Bool(call.text(0)?.ends_with(call.text(1)?))),
        "charAt" => char_at,
        "lowerAscii" => |call| Ok(call.text(0)?.to_ascii_lowercase().into()),
        "upperAscii" => |call| Ok(call.text(0)?.to_ascii_uppercase().into()),
        "trim" => |call| Ok(call.text(0)?.trim().to_owned().into()),
        "replace" => replace,
        "split" => split,
        "substring" => substring,
        "join" => join,
        "format" => format::format,
        "strings.quote" => |call| Ok(quote(call.text(0)?).into()),
        "jsonpatch.escapeKey" => |call| Ok(call.text(0)?.replace('~', "~0").replace('/', "~1").into()),
        _ => return None,
    })
}

fn out_of_range<T>(index: i64) -> Result<T> {
    Err(EvaluationError::Failed(format!("index out of range: {index}")))
}

fn char_at<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    let (text, index) = (call.text(0)?, call.int(1)?);
    let length = text.chars().count();
    match usize::try_from(index) {
        Ok(place) if place < length => {
            Ok(text.chars().nth(place).map(String::from).unwrap_or_default().into())
        }
        Ok(place) if place == length => Ok("".into()),
        _ => out_of_range(index),
    }
}

fn position(place: Option<usize>) -> Value<'static> {
    Value::Int(place.and_then(|place| i64::try_from(place).ok()).unwrap_or(-1))
}

pub(super) fn index_of<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    let (text, wanted, offset) = (call.text(0)?, call.text(1)?, call.int_or(2, 0)?);
    if wanted.is_empty() {
        return Ok(Value::Int(offset));
    }
    let Ok(start) = usize::try_from(offset) else { return out_of_range(offset) };
    let Some((from, _)) = text.char_indices().nth(start) else { return Ok(Value::Int(-1)) };
    let found = text[from..].find(wanted).map(|at| start + text[from..from + at].chars().count());
    Ok(position(found))
}

pub(super) fn last_index_of<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    let (text, wanted) = (call.text(0)?, call.text(1)?);
    let length = text.chars().count();
    let end = i64::try_from(length).unwrap_or(i64::MAX);
    let offset = call.int_or(2, end)?;
    if wanted.is_empty() {
        return Ok(Value::Int(offset));
    }
    let Ok(start) = usize::try_from(offset) else { return out_of_range(offset) };
    if call.args.len() > 2 && start >= length {
        return Ok(Value::Int(-1));
    }
    // The last place at or before the offset where it begins.
    let within = wanted.chars().count();
    let last = start.saturating_add(within).min(length);
    let end = text.char_indices().nth(last).map_or(text.len(), |(at, _)| at);
    Ok(position(text[..end].rfind(wanted).map(|at| text[..at].chars().count())))
}

fn replace<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    let (text, old, new, limit) = (call.text(0)?, call.text(1)?, call.text(2)?, call.int_or(3, -1)?);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let count = if old.is_empty() { text.chars().count() + 1 } else { text.matches(old).count() }.min(limit);
    if count.saturating_mul(new.len()) > LONGEST {
        return Err(EvaluationError::CallLimit);
    }
    Ok(text.replacen(old, new, limit).into())
}

fn split<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    let (text, separator, limit) = (call.text(0)?, call.text(1)?, call.int_or(2, -1)?);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut parts: Vec<String> = Vec::new();
    if limit > 0 && separator.is_empty() {
        // Between nothing and nothing stands each character.
        let mut chars = text.char_indices();
        while parts.len() + 1 < limit
            && let Some((_, character)) = chars.next()
        {
            parts.push(character.into());
        }
        let rest = chars.as_str();
        if !rest.is_empty() {
            parts.push(rest.into());
        }
    } else if limit > 0 {
        parts.extend(text.splitn(limit, separator).map(str::to_owned));
    }
    Ok(texts(parts))
}

fn substring<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    let (text, start) = (call.text(0)?, call.int(1)?);
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    let end = call.int_or(2, length)?;
    if call.args.len() > 2 && start > end {
        return Err(EvaluationError::Failed(format!("invalid substring range. start: {start}, end: {end}")));
    }
    if !(0..=length).contains(&start) {
        return out_of_range(start);
    }
    if !(0..=length).contains(&end) {
        return out_of_range(end);
    }
    let (skip, take) = (usize::try_from(start).unwrap_or(0), usize::try_from(end - start).unwrap_or(0));
    Ok(text.chars().skip(skip).take(take).collect::<String>().into())
}

fn join<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    let separator = if call.args.len() > 1 { call.text(1)? } else { "" };
    let mut joined = String::new();
    for (index, item) in call.list(0)?.iter().enumerate() {
        match item? {
            Value::String(text) => {
                if index > 0 {
                    joined.push_str(separator);
                }
                joined.push_str(&text);
            }
            other => return Err(EvaluationError::Failed(format!("join: invalid input: {other}"))),
        }
        if joined.len() > LONGEST {
            return Err(EvaluationError::CallLimit);
        }
    }
    Ok(Value::String(Text::Shared(joined.into())))
}

/// As a literal of the language.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            '\\' => quoted.push_str("\\\\"),
            '"' => quoted.push_str("\\\""),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
