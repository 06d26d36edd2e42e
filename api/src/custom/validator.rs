//! Whether an object of a custom kind is what its OpenAPI schema asks for, in the words of upstream's
//! `kube-openapi/pkg/validation/validate`.

use std::collections::HashMap;

use regex::Regex;
use serde_json::{Map, Value};

use crate::status::{FieldError, Problem};
use crate::walk;

/// A schema with its patterns compiled.
#[derive(Debug)]
pub struct Validator {
    schema: Value,
    patterns: HashMap<String, Regex>,
}

impl Validator {
    /// Of an `openAPIV3Schema`. Patterns that do not compile match everything; definitions with such are refused before.
    pub fn new(schema: &Value) -> Self {
        let mut patterns = HashMap::new();
        collect(schema, &mut patterns);
        Self { schema: schema.clone(), patterns }
    }

    /// The schema as it was given.
    pub fn schema(&self) -> &Value {
        &self.schema
    }

    /// Every mistake of a whole object. Of what an update leaves as it is none is told (KEP-4008): a schema may have
    /// become stricter than its objects.
    pub fn check(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        self.walk(&self.schema, object, old, "", &mut errors);
        errors
    }

    /// `old` is what the value was, where it can be known again.
    fn walk(
        &self,
        schema: &Value,
        value: &Value,
        old: Option<&Value>,
        path: &str,
        errors: &mut Vec<FieldError>,
    ) {
        let before = errors.len();
        self.node(schema, value, old, path, errors);
        if errors.len() > before && old == Some(value) {
            errors.truncate(before);
        }
    }

    fn node(
        &self,
        schema: &Value,
        value: &Value,
        old: Option<&Value>,
        path: &str,
        errors: &mut Vec<FieldError>,
    ) {
        let Some(schema) = schema.as_object() else { return };
        if value.is_null() && (schema.get("nullable") == Some(&Value::Bool(true)) || path.is_empty()) {
            return;
        }
        if let Some(error) = wrong_type(schema, value, path) {
            errors.push(error);
            return;
        }
        match value {
            Value::String(text) => self.string(schema, text, path, errors),
            Value::Number(number) => numbers(schema, number, path, errors),
            Value::Array(items) => self.array(schema, items, old, path, errors),
            Value::Object(members) => self.object(schema, members, old, path, errors),
            _ => {}
        }
        if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
            && !allowed.contains(value)
        {
            let mut shown: Vec<String> = allowed.iter().map(Value::to_string).collect();
            shown.sort();
            let detail = format!("supported values: {}", shown.join(", "));
            errors.push(FieldError::new(Problem::NotSupported, path, value.clone(), detail));
        }
        self.junctors(schema, value, path, errors);
    }

    fn string(&self, schema: &Map<String, Value>, text: &str, path: &str, errors: &mut Vec<FieldError>) {
        let length = text.chars().count() as u64;
        if let Some(max) = count(schema, "maxLength").filter(|max| length > *max) {
            errors.push(FieldError::new(
                Problem::TooLong,
                path,
                text.into(),
                format!("may not be more than {max} bytes"),
            ));
        }
        if let Some(min) = count(schema, "minLength").filter(|min| length < *min) {
            let why = format!("{path} in body should be at least {min} chars long");
            errors.push(FieldError::invalid(path, text, why));
        }
        if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
            && self.patterns.get(pattern).is_some_and(|compiled| !compiled.is_match(text))
        {
            let why = format!("{path} in body should match '{pattern}'");
            errors.push(FieldError::invalid(path, text, why));
        }
        if let Some(format) = schema.get("format").and_then(Value::as_str)
            && !fits(format, text)
        {
            let why = format!("{path} in body must be of type {format}: {text:?}");
            errors.push(FieldError::invalid(path, text, why));
        }
    }

    fn array(
        &self,
        schema: &Map<String, Value>,
        items: &[Value],
        old: Option<&Value>,
        path: &str,
        errors: &mut Vec<FieldError>,
    ) {
        let length = items.len() as u64;
        if let Some(max) = count(schema, "maxItems").filter(|max| length > *max) {
            errors.push(too_many(path, length, max));
        }
        if let Some(min) = count(schema, "minItems").filter(|min| length < *min) {
            let why = format!("{path} in body should have at least {min} items");
            errors.push(FieldError::invalid(path, length, why));
        }
        let kind = schema.get("x-kubernetes-list-type").and_then(Value::as_str);
        let keys: Vec<&str> = match kind {
            Some("map") => {
                let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
                keys.into_iter().flatten().filter_map(Value::as_str).collect()
            }
            _ => Vec::new(),
        };
        if let Some(of) = schema.get("items") {
            let before = old.and_then(Value::as_array).filter(|_| !keys.is_empty());
            for (index, item) in items.iter().enumerate() {
                let same = |other: &&Value| keys.iter().all(|key| other.get(key) == item.get(key));
                let old = before.and_then(|before| before.iter().find(same));
                self.walk(of, item, old, &format!("{path}[{index}]"), errors);
            }
        }
        if !matches!(kind, Some("map" | "set")) {
            return;
        }
        let identity = |item: &Value| match keys.as_slice() {
            [] => item.clone(),
            keys => {
                keys.iter().map(|key| ((*key).to_owned(), item[*key].clone())).collect::<Map<_, _>>().into()
            }
        };
        let mut seen = std::collections::HashSet::new();
        for (index, item) in items.iter().enumerate() {
            let identity = identity(item);
            if !seen.insert(identity.to_string()) {
                errors.push(FieldError::duplicate(format!("{path}[{index}]"), identity));
            }
        }
    }

    fn object(
        &self,
        schema: &Map<String, Value>,
        members: &Map<String, Value>,
        old: Option<&Value>,
        path: &str,
        errors: &mut Vec<FieldError>,
    ) {
        let length = members.len() as u64;
        if let Some(max) = count(schema, "maxProperties").filter(|max| length > *max) {
            errors.push(too_many(path, length, max));
        }
        if let Some(min) = count(schema, "minProperties").filter(|min| length < *min) {
            let why = format!("{path} in body should have at least {min} properties");
            errors.push(FieldError::invalid(path, length, why));
        }
        for name in
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
        {
            if !members.contains_key(name) {
                errors.push(FieldError::required(walk::join(path, name), ""));
            }
        }
        let granular = schema.get("x-kubernetes-map-type").is_none_or(|kind| kind != "atomic");
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties").filter(|others| others.is_object());
        for (name, value) in members {
            // The server checks metadata itself, in every kind alike.
            if path.is_empty() && name == "metadata" {
                continue;
            }
            if let Some(of) = properties.and_then(|properties| properties.get(name)).or(others) {
                // The version and the kind are those of the request, not what was stored.
                let hidden = path.is_empty() && matches!(name.as_str(), "apiVersion" | "kind");
                let old = old.filter(|_| !hidden && granular).and_then(|old| old.get(name));
                self.walk(of, value, old, &walk::join(path, name), errors);
            }
        }
    }

    fn junctors(&self, schema: &Map<String, Value>, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
        let passes = |schema: &Value| {
            let mut found = Vec::new();
            self.walk(schema, value, None, path, &mut found);
            found.is_empty()
        };
        let count = |key: &str| {
            let all = schema.get(key).and_then(Value::as_array)?;
            Some((all.iter().filter(|one| passes(one)).count(), all.len()))
        };
        let mut fail = |why: &str| {
            let place = if path.is_empty() { "<nil>" } else { path };
            errors.push(FieldError::invalid(place, "", format!("{place:?} {why}")));
        };
        if count("anyOf").is_some_and(|(pass, _)| pass == 0) {
            fail("must validate at least one schema (anyOf)");
        }
        if let Some((pass, _)) = count("oneOf").filter(|(pass, _)| *pass != 1) {
            let found = if pass == 0 {
                "Found none valid".to_owned()
            } else {
                format!("Found {pass} valid alternatives")
            };
            fail(&format!("must validate one and only one schema (oneOf). {found}"));
        }
        if count("allOf").is_some_and(|(pass, all)| pass < all) {
            fail("must validate all the schemas (allOf)");
        }
        if schema.get("not").is_some_and(passes) {
            fail("must not validate the schema (not)");
        }
    }
}

fn collect(schema: &Value, patterns: &mut HashMap<String, Regex>) {
    match schema {
        Value::Object(members) => {
            if let Some(pattern) = members.get("pattern").and_then(Value::as_str)
                && let Ok(compiled) = Regex::new(pattern)
            {
                patterns.insert(pattern.to_owned(), compiled);
            }
            members.values().for_each(|value| collect(value, patterns));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, patterns)),
        _ => {}
    }
}

fn wrong_type(schema: &Map<String, Value>, value: &Value, path: &str) -> Option<FieldError> {
    let flag = |key: &str| schema.get(key) == Some(&Value::Bool(true));
    let wanted = schema.get("type").and_then(Value::as_str).unwrap_or_default();
    let (fits, wanted) = if flag("x-kubernetes-int-or-string") {
        (value.is_string() || is_whole(value), "integer,string")
    } else {
        let fits = match wanted {
            "string" => value.is_string(),
            "integer" => is_whole(value),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            _ => true,
        };
        (fits, wanted)
    };
    if fits {
        return None;
    }
    let given = match value {
        Value::Bool(_) => "boolean",
        Value::Number(_) if is_whole(value) => "integer",
        Value::Null => "null",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let why = format!("{path} in body must be of type {wanted}: {given:?}");
    Some(FieldError::new(Problem::TypeInvalid, path, given.into(), why))
}

fn is_whole(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

fn numbers(
    schema: &Map<String, Value>,
    number: &serde_json::Number,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let Some(value) = number.as_f64() else { return };
    let limit =
        |key: &str| schema.get(key).and_then(Value::as_f64).map(|limit| (limit, schema[key].to_string()));
    let exclusive = |key: &str| schema.get(key) == Some(&Value::Bool(true));
    let mut fail = |why: String| {
        errors.push(FieldError::invalid(path, number.clone(), format!("{path} in body should be {why}")));
    };
    if let Some((limit, shown)) = limit("maximum") {
        if exclusive("exclusiveMaximum") && value >= limit {
            fail(format!("less than {shown}"));
        } else if value > limit {
            fail(format!("less than or equal to {shown}"));
        }
    }
    if let Some((limit, shown)) = limit("minimum") {
        if exclusive("exclusiveMinimum") && value <= limit {
            fail(format!("greater than {shown}"));
        } else if value < limit {
            fail(format!("greater than or equal to {shown}"));
        }
    }
    if let Some((step, shown)) = limit("multipleOf")
        && step != 0.0
        && (value / step).fract().abs() > f64::EPSILON
    {
        fail(format!("a multiple of {shown}"));
    }
}

fn too_many(path: &str, length: u64, max: u64) -> FieldError {
    let items = if max == 1 { "item" } else { "items" };
    FieldError::new(Problem::TooMany, path, length.into(), format!("must have at most {max} {items}"))
}

fn count(schema: &Map<String, Value>, key: &str) -> Option<u64> {
    schema.get(key).and_then(Value::as_u64)
}

/// The formats that upstream checks and that are common; others are taken as they are.
fn fits(format: &str, text: &str) -> bool {
    match format {
        "date-time" | "datetime" => text.parse::<jiff::Timestamp>().is_ok(),
        "date" => text.parse::<jiff::civil::Date>().is_ok(),
        "ipv4" => text.parse::<std::net::Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<std::net::Ipv6Addr>().is_ok(),
        "cidr" => text.split_once('/').is_some_and(|(address, length)| {
            let bits = |max| length.parse::<u8>().is_ok_and(|length| length <= max);
            match address.parse::<std::net::IpAddr>() {
                Ok(std::net::IpAddr::V4(_)) => bits(32),
                Ok(std::net::IpAddr::V6(_)) => bits(128),
                Err(_) => false,
            }
        }),
        "uuid" | "uuid3" | "uuid4" | "uuid5" => {
            let digits = text.replace('-', "");
            digits.len() == 32 && digits.bytes().all(|c| c.is_ascii_hexdigit())
        }
        "byte" => {
            let bytes = text.trim_end_matches('=').bytes();
            text.len().is_multiple_of(4)
                && bytes.clone().all(|c| c.is_ascii_alphanumeric() || b"+/".contains(&c))
        }
        "email" => text.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty()),
        "uri" => text.split_once(':').is_some_and(|(scheme, _)| {
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.bytes().all(|c| c.is_ascii_alphanumeric() || b"+-.".contains(&c))
        }),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_are_held_to_their_schema_in_upstreams_words() {
        let validator = Validator::new(&json!({"type": "object", "properties": {"spec": {
            "type": "object", "required": ["name"],
            "properties": {
                "name": {"type": "string", "minLength": 2, "maxLength": 4, "pattern": "^[a-z]+$"},
                "size": {"type": "integer", "minimum": 1, "maximum": 5},
                "mode": {"type": "string", "enum": ["fast", "slow"]},
                "when": {"type": "string", "format": "date-time"},
                "port": {"x-kubernetes-int-or-string": true},
                "tags": {"type": "array", "maxItems": 2, "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                "ends": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"],
                         "items": {"type": "object", "properties": {"n": {"type": "integer"}}}},
            },
            "oneOf": [{"required": ["size"]}, {"required": ["mode"]}],
        }}}));
        let said = |spec: Value| {
            let errors = validator.check(&json!({"metadata": {"name": 1}, "spec": spec}), None);
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let good =
            json!({"name": "abc", "size": 3, "port": "http", "tags": ["a"], "ends": [{"n": 1}, {"n": 2}]});
        assert!(said(good).is_empty());
        for (spec, expected) in [
            (json!({"size": 1}), "spec.name: Required value"),
            (
                json!({"name": "a", "size": 1}),
                "spec.name: Invalid value: \"a\": spec.name in body should be at least 2 chars long",
            ),
            (
                json!({"name": "a1", "size": 1}),
                "spec.name: Invalid value: \"a1\": spec.name in body should match '^[a-z]+$'",
            ),
            (
                json!({"name": "ab", "size": 9}),
                "spec.size: Invalid value: 9: spec.size in body should be less than or equal to 5",
            ),
            (
                json!({"name": "ab", "size": "x"}),
                "spec.size: Invalid value: \"string\": spec.size in body must be of type integer: \"string\"",
            ),
            (
                json!({"name": "ab", "mode": "odd"}),
                "spec.mode: Unsupported value: \"odd\": supported values: \"fast\", \"slow\"",
            ),
            (
                json!({"name": "ab", "size": 1, "port": 1.5}),
                "spec.port: Invalid value: \"number\": spec.port in body must be of type integer,string: \"number\"",
            ),
            (json!({"name": "ab", "size": 1, "tags": ["a", "a"]}), "spec.tags[1]: Duplicate value: \"a\""),
            (
                json!({"name": "ab", "size": 1, "ends": [{"n": 1}, {"n": 1}]}),
                "spec.ends[1]: Duplicate value: {\"n\":1}",
            ),
            (
                json!({"name": "ab"}),
                "spec: Invalid value: \"\": \"spec\" must validate one and only one schema (oneOf). Found none valid",
            ),
        ] {
            assert_eq!(said(spec), [expected]);
        }
    }

    #[test]
    fn what_an_update_leaves_as_it_is_is_not_told() {
        let validator = Validator::new(&json!({"type": "object", "properties": {"spec": {"type": "object",
        "required": ["name"], "properties": {
            "name": {"type": "string", "maxLength": 3}, "other": {"type": "string", "maxLength": 3},
            "ends": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"],
                     "items": {"type": "object", "properties": {"n": {"type": "integer"}, "v": {"type": "string", "maxLength": 1}}}},
            "plain": {"type": "array", "items": {"type": "string", "maxLength": 1}},
        }}}}));
        let said = |old: Value, new: Value| {
            let errors = validator.check(&json!({"spec": new}), Some(&json!({"spec": old})));
            errors.into_iter().map(|error| error.path).collect::<Vec<_>>()
        };
        let long = json!({"name": "long", "other": "long"});
        assert!(said(long.clone(), long.clone()).is_empty());
        assert_eq!(said(long.clone(), json!({"name": "long", "other": "longer"})), ["spec.other"]);
        assert_eq!(
            said(json!({}), json!({"other": "a"})),
            ["spec.name"],
            "what is missing is missing from the whole"
        );
        let ends =
            |first: i64, v: &str| json!({"name": "a", "ends": [{"n": first, "v": v}, {"n": 9, "v": "long"}]});
        assert_eq!(said(ends(1, "x"), ends(2, "yy")), ["spec.ends[0].v"], "items are known by their keys");
        let plain = |last: &str| json!({"name": "a", "plain": ["long", last]});
        assert!(said(plain("x"), plain("x")).is_empty());
        assert_eq!(said(plain("x"), plain("y")), ["spec.plain[0]"], "items without keys are not known again");
    }
}
