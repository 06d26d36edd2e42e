//! The formats that `format.named` knows.

use skiff_api::name;

use super::url;
use super::{Call, Library, Native, Result};
use crate::error::EvaluationError;
use crate::time;
use crate::value::Value;

use super::operators::texts;

/// A format.
#[derive(Debug)]
pub struct NamedFormat {
    /// Its name.
    pub name: &'static str,
    /// How long a pattern for it would be; what a validation costs is counted by it.
    pub pattern_length: u64,
    check: fn(&str) -> Vec<String>,
}

macro_rules! formats {
    ($($key:literal $name:literal $length:literal $check:expr;)*) => {
        /// Each with the name by which expressions call it.
        static FORMATS: &[(&str, NamedFormat)] =
            &[$(($key, NamedFormat { name: $name, pattern_length: $length, check: $check })),*];

        /// The functions `format.NAME()`, which need no name to look up.
        fn constant(function: &str) -> Option<Native> {
            match function {
                $(concat!("format.", $key) => Some(|_| Ok(find($key))),)*
                _ => None,
            }
        }
    };
}

formats! {
    "dns1123Label" "DNS1123Label" 30 name::dns1123_label;
    "dns1123Subdomain" "DNS1123Subdomain" 60 name::dns1123_subdomain;
    "dns1035Label" "DNS1035Label" 30 name::dns1035_label;
    "qualifiedName" "QualifiedName" 60 name::qualified;
    "dns1123LabelPrefix" "DNS1123LabelPrefix" 30 |text| name::by_rule("dns1123-label", text, true);
    "dns1123SubdomainPrefix" "DNS1123SubdomainPrefix" 60 |text| name::by_rule("dns1123-subdomain", text, true);
    "dns1035LabelPrefix" "DNS1035LabelPrefix" 30 |text| name::by_rule("dns1035-label", text, true);
    "labelValue" "LabelValue" 40 name::label_value;
    "uri" "URI" 1103 uri;
    "uuid" "uuid" 70 |text| told(is_uuid(text), "does not match the UUID format");
    "byte" "byte" 84 |text| told(is_base64(text), "invalid base64");
    "date" "date" 71 |text| told(time::parse_timestamp(&format!("{text}T00:00:00Z")).is_some(), "invalid date");
    "datetime" "datetime" 71 |text| told(time::parse_date_time(text).is_some(), "invalid datetime");
}

pub(super) fn native(name: &str) -> Option<Native> {
    match name {
        "format.named" => Some(|call| {
            let name = call.text(0)?;
            let known = FORMATS.iter().find(|(key, _)| *key == name);
            Ok(known.map_or(Value::Optional(None), |(_, format)| Value::from(Library::Format(format)).some()))
        }),
        "validate" => Some(validate),
        _ => constant(name),
    }
}

fn find<'a>(name: &str) -> Value<'a> {
    let known = FORMATS.iter().find(|(key, _)| *key == name);
    known.map_or(Value::Null, |(_, format)| Library::Format(format).into())
}

fn validate<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>> {
    let Library::Format(format) = call.library(0)? else { return Err(EvaluationError::no_overload()) };
    let problems = (format.check)(call.text(1)?);
    Ok(if problems.is_empty() { Value::Optional(None) } else { texts(problems).some() })
}

fn told(fits: bool, otherwise: &str) -> Vec<String> {
    if fits { Vec::new() } else { vec![otherwise.to_owned()] }
}

fn uri(text: &str) -> Vec<String> {
    match url::parse(text) {
        Ok(_) => Vec::new(),
        Err(why) => vec![format!("parse {text:?}: {why}")],
    }
}

fn is_uuid(text: &str) -> bool {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    let dashes = matches!(lengths.as_slice(), [8, 4, 4, 4, 12] | [32]);
    dashes && digits.len() == 32 && digits.bytes().all(|c| c.is_ascii_hexdigit())
}

fn is_base64(text: &str) -> bool {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text).is_ok()
}
