//! `'…%s…'.format([…])` (`ext/formatting.go`), with the digits of English.

use super::{Call, Result};
use crate::error::EvaluationError;
use crate::value::{List, Map, Value};

/// How many digits stand after the point unless it is said.
const PRECISION: usize = 6;
/// The largest number of digits.
const MOST_DIGITS: usize = 1000;

pub(super) fn format<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    let (text, args) = (call.text(0)?, call.list(1)?);
    let mut made = String::new();
    let mut place = 0;
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        made.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            made.push('%');
            rest = after;
            continue;
        }
        let arg = match args.get(place) {
            Some(arg) => arg?,
            None => return Err(EvaluationError::Failed(format!("index {place} out of range"))),
        };
        place += 1;
        if rest.is_empty() {
            return Err(EvaluationError::failed("unexpected end of string"));
        }
        let clause =
            |why: String| EvaluationError::Failed(format!("could not parse formatting clause: {why}"));
        let precision = match rest.strip_prefix('.') {
            None => PRECISION,
            Some(after) => {
                let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
                rest = &after[end..];
                let digits = after[..end].parse().ok().filter(|digits| *digits <= MOST_DIGITS);
                digits.ok_or_else(|| clause("error while parsing precision: no digits after '.'".into()))?
            }
        };
        let letter = rest.chars().next().ok_or_else(|| {
            clause("error while parsing precision: could not find end of precision specifier".into())
        })?;
        rest = &rest[letter.len_utf8()..];
        let shown = match letter {
            's' => shown(&arg),
            'd' => decimal(&arg),
            'f' => fixed(&arg, precision),
            'e' => scientific(&arg, precision),
            'b' => binary(&arg),
            'x' => hex(&arg),
            'X' => hex(&arg).map(|text| text.to_uppercase()),
            'o' => octal(&arg),
            other => return Err(clause(format!("unrecognized formatting clause \"{other}\""))),
        };
        made.push_str(
            &shown.map_err(|why| EvaluationError::Failed(format!("error during formatting: {why}")))?,
        );
    }
    made.push_str(rest);
    Ok(made.into())
}

type Shown = std::result::Result<String, String>;

fn refused(what: &str, value: &Value<'_>) -> Shown {
    Err(format!("{what}, was given {}", value.type_name()))
}

/// As `%s` shows a value.
fn shown(value: &Value<'_>) -> Shown {
    Ok(match value {
        Value::Null => "null".into(),
        Value::Double(double) => super::conversions::show_double(*double),
        Value::String(_)
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Uint(_)
        | Value::Bytes(_)
        | Value::Timestamp(_)
        | Value::Duration(_)
        | Value::Type(_) => value.to_string(),
        Value::List(list) => list_shown(list)?,
        Value::Map(map) => map_shown(map)?,
        other => {
            let what = "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, \
                        durations, and timestamps";
            return refused(what, other);
        }
    })
}

/// A value within a list or a map.
fn inner(value: &Value<'_>) -> Shown {
    Ok(match value {
        Value::String(text) => format!("{:?}", &**text),
        Value::Bytes(bytes) => format!("b{:?}", String::from_utf8_lossy(bytes)),
        Value::Double(double) if double.is_nan() || double.is_infinite() => {
            format!("{:?}", super::conversions::show_double(*double))
        }
        Value::Double(double) => format!("{double:.PRECISION$}"),
        Value::Timestamp(_) => format!("timestamp(\"{value}\")"),
        Value::Duration(_) => format!("duration(\"{value}\")"),
        Value::Type(name) => format!("type({name})"),
        other => shown(other)?,
    })
}

fn list_shown(list: &List<'_>) -> Shown {
    let mut items = Vec::new();
    for item in list.iter() {
        items.push(inner(&item.map_err(|error| error.to_string())?)?);
    }
    Ok(format!("[{}]", items.join(", ")))
}

fn map_shown(map: &Map<'_>) -> Shown {
    let mut entries = Vec::new();
    for key in map.keys() {
        if let Some(value) = map.get(&key) {
            let value = value.map_err(|error| error.to_string())?;
            entries.push(format!("{}:{}", inner(&key)?, inner(&value)?));
        }
    }
    entries.sort();
    Ok(format!("{{{}}}", entries.join(", ")))
}

fn decimal(value: &Value<'_>) -> Shown {
    match value {
        Value::Int(_) | Value::Uint(_) => Ok(value.to_string()),
        other => refused("decimal clause can only be used on integers", other),
    }
}

fn double(value: &Value<'_>, clause: &str) -> std::result::Result<f64, String> {
    match value {
        Value::Double(double) => Ok(*double),
        Value::String(text) if &**text == "NaN" => Ok(f64::NAN),
        Value::String(text) if &**text == "Infinity" => Ok(f64::INFINITY),
        Value::String(text) if &**text == "-Infinity" => Ok(f64::NEG_INFINITY),
        other => Err(format!("{clause} clause can only be used on doubles, was given {}", other.type_name())),
    }
}

fn special(double: f64) -> Option<String> {
    if double.is_nan() {
        return Some("NaN".into());
    }
    double.is_infinite().then(|| if double > 0.0 { "∞".into() } else { "-∞".into() })
}

fn fixed(value: &Value<'_>, precision: usize) -> Shown {
    let double = double(value, "fixed-point")?;
    if let Some(text) = special(double) {
        return Ok(text);
    }
    let plain = format!("{double:.precision$}");
    let (sign, digits) = match plain.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", plain.as_str()),
    };
    let (whole, fraction) =
        digits.split_once('.').map_or((digits, ""), |(whole, fraction)| (whole, fraction));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let point = if fraction.is_empty() { "" } else { "." };
    Ok(format!("{sign}{grouped}{point}{fraction}"))
}

fn scientific(value: &Value<'_>, precision: usize) -> Shown {
    let double = double(value, "scientific")?;
    if let Some(text) = special(double) {
        return Ok(text);
    }
    let plain = format!("{double:.precision$e}");
    let (mantissa, exponent) = plain.split_once('e').unwrap_or((&plain, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ("⁻", digits),
        None => ("", exponent),
    };
    let padded = format!("{digits:0>2}");
    let raised: String = padded
        .chars()
        .map(|digit| match digit {
            '1' => '¹',
            '2' => '²',
            '3' => '³',
            other => char::from_u32(0x2070 + other.to_digit(10).unwrap_or(0)).unwrap_or(other),
        })
        .collect();
    Ok(format!("{mantissa}×10{sign}{raised}"))
}

fn binary(value: &Value<'_>) -> Shown {
    Ok(match value {
        Value::Int(value) if *value < 0 => format!("-{:b}", value.unsigned_abs()),
        Value::Int(value) => format!("{value:b}"),
        Value::Uint(value) => format!("{value:b}"),
        Value::Bool(value) => u8::from(*value).to_string(),
        other => return refused("only integers and bools can be formatted as binary", other),
    })
}

fn hex(value: &Value<'_>) -> Shown {
    let bytes = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    Ok(match value {
        Value::Int(value) if *value < 0 => format!("-{:x}", value.unsigned_abs()),
        Value::Int(value) => format!("{value:x}"),
        Value::Uint(value) => format!("{value:x}"),
        Value::String(text) => bytes(text.as_bytes()),
        Value::Bytes(content) => bytes(content),
        other => return refused("only integers, byte buffers, and strings can be formatted as hex", other),
    })
}

fn octal(value: &Value<'_>) -> Shown {
    Ok(match value {
        Value::Int(value) if *value < 0 => format!("-{:o}", value.unsigned_abs()),
        Value::Int(value) => format!("{value:o}"),
        Value::Uint(value) => format!("{value:o}"),
        other => return refused("octal clause can only be used on integers", other),
    })
}
