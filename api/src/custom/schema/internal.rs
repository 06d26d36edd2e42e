//! A definition as upstream holds it in memory, which is what its errors show of it, and what it looks at, field by field,
//! where the root of a schema may say only some things.

use serde_json::Value;

/// The fields of `apiextensions.JSONSchemaProps`: name in Go, name in JSON, the zero that is shown, and whether a schema
/// of a version with its status apart may have it at the root.
const FIELDS: [(&str, &str, &str, bool); 44] = [
    ("ID", "id", "\"\"", false),
    ("Schema", "$schema", "\"\"", false),
    ("Ref", "$ref", "null", false),
    ("Description", "description", "\"\"", true),
    ("Type", "type", "\"\"", true),
    ("Nullable", "nullable", "false", false),
    ("Format", "format", "\"\"", true),
    ("Title", "title", "\"\"", true),
    ("Default", "default", "null", false),
    ("Maximum", "maximum", "null", true),
    ("ExclusiveMaximum", "exclusiveMaximum", "false", true),
    ("Minimum", "minimum", "null", true),
    ("ExclusiveMinimum", "exclusiveMinimum", "false", true),
    ("MaxLength", "maxLength", "null", true),
    ("MinLength", "minLength", "null", true),
    ("Pattern", "pattern", "\"\"", true),
    ("MaxItems", "maxItems", "null", true),
    ("MinItems", "minItems", "null", true),
    ("UniqueItems", "uniqueItems", "false", true),
    ("MultipleOf", "multipleOf", "null", true),
    ("Enum", "enum", "null", false),
    ("MaxProperties", "maxProperties", "null", false),
    ("MinProperties", "minProperties", "null", false),
    ("Required", "required", "null", true),
    ("Items", "items", "null", true),
    ("AllOf", "allOf", "null", false),
    ("OneOf", "oneOf", "null", false),
    ("AnyOf", "anyOf", "null", false),
    ("Not", "not", "null", false),
    ("Properties", "properties", "null", true),
    ("AdditionalProperties", "additionalProperties", "null", false),
    ("PatternProperties", "patternProperties", "null", false),
    ("Dependencies", "dependencies", "null", false),
    ("AdditionalItems", "additionalItems", "null", false),
    ("Definitions", "definitions", "null", false),
    ("ExternalDocs", "externalDocs", "null", true),
    ("Example", "example", "null", true),
    ("XPreserveUnknownFields", "x-kubernetes-preserve-unknown-fields", "null", true),
    ("XEmbeddedResource", "x-kubernetes-embedded-resource", "false", false),
    ("XIntOrString", "x-kubernetes-int-or-string", "false", false),
    ("XListMapKeys", "x-kubernetes-list-map-keys", "null", false),
    ("XListType", "x-kubernetes-list-type", "null", false),
    ("XMapType", "x-kubernetes-map-type", "null", false),
    ("XValidations", "x-kubernetes-validations", "null", true),
];

/// Why the root of a schema cannot be checked where the status is apart.
pub(super) enum Refused<'a> {
    /// Its type is this.
    Type(&'a str),
    /// It has a word that it may not have; the whole message.
    Word(String),
}

/// The first thing that is wrong at the root of a schema of a version with its status apart.
pub(super) fn refused_with_status(schema: &Value) -> Option<Refused<'_>> {
    for (name, word, zero, allowed) in FIELDS {
        let given = &schema[word];
        let as_text = given.to_string();
        let zero = given.is_null() || as_text == zero;
        if name == "Type" && !zero && given != "object" {
            return Some(Refused::Type(given.as_str().unwrap_or_default()));
        }
        if !zero && !allowed {
            let all: Vec<&str> = FIELDS.iter().filter(|field| field.3).map(|field| field.0).collect();
            // Upstream's list has its own order.
            let listed = "Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength \
                          Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example \
                          XPreserveUnknownFields XValidations";
            debug_assert_eq!(all.join(" "), listed);
            return Some(Refused::Word(format!(
                "{}: only [{listed}] fields are allowed at the root of the schema if the status subresource is enabled",
                shown(schema)
            )));
        }
    }
    None
}

/// The versions of a definition; `schemas` and the others say whether they are shown where they are, since what all
/// versions share stands in the definition.
pub fn versions(spec: &Value, own: impl Fn(&str) -> bool) -> String {
    let Some(versions) = spec["versions"].as_array() else { return "null".into() };
    let each = versions.iter().map(|version| {
        let or = |word: &str, zero: &str| match &version[word] {
            Value::Null => zero.to_owned(),
            given => escaped(given),
        };
        let if_own = |word: &str, text: &dyn Fn(&Value) -> String| match &version[word] {
            given if !given.is_null() && own(word) => text(given),
            _ => "null".to_owned(),
        };
        format!(
            "{{\"Name\":{},\"Served\":{},\"Storage\":{},\"Deprecated\":{},\"DeprecationWarning\":{},\"Schema\":{},\
             \"Subresources\":{},\"AdditionalPrinterColumns\":{},\"SelectableFields\":{}}}",
            or("name", "\"\""),
            or("served", "false"),
            or("storage", "false"),
            or("deprecated", "false"),
            or("deprecationWarning", "null"),
            if_own("schema", &|schema| {
                format!("{{\"OpenAPIV3Schema\":{}}}", shown(&schema["openAPIV3Schema"]))
            }),
            if_own("subresources", &subresources),
            if_own("additionalPrinterColumns", &columns),
            if_own("selectableFields", &|all| {
                each(all, |one| format!("{{\"JSONPath\":{}}}", escaped(&one["jsonPath"])))
            }),
        )
    });
    format!("[{}]", each.collect::<Vec<_>>().join(","))
}

fn each(list: &Value, show: impl Fn(&Value) -> String) -> String {
    let all: Vec<String> = list.as_array().into_iter().flatten().map(show).collect();
    format!("[{}]", all.join(","))
}

fn subresources(all: &Value) -> String {
    let status = if all["status"].is_object() { "{}" } else { "null" };
    let scale = match &all["scale"] {
        Value::Null => "null".to_owned(),
        scale => format!(
            "{{\"SpecReplicasPath\":{},\"StatusReplicasPath\":{},\"LabelSelectorPath\":{}}}",
            text_of(&scale["specReplicasPath"]),
            text_of(&scale["statusReplicasPath"]),
            escaped(&scale["labelSelectorPath"]),
        ),
    };
    format!("{{\"Status\":{status},\"Scale\":{scale}}}")
}

fn columns(all: &Value) -> String {
    each(all, |one| {
        format!(
            "{{\"Name\":{},\"Type\":{},\"Format\":{},\"Description\":{},\"Priority\":{},\"JSONPath\":{}}}",
            text_of(&one["name"]),
            text_of(&one["type"]),
            text_of(&one["format"]),
            text_of(&one["description"]),
            one["priority"].as_i64().unwrap_or_default(),
            text_of(&one["jsonPath"]),
        )
    })
}

fn text_of(text: &Value) -> String {
    if text.is_null() { "\"\"".into() } else { escaped(text) }
}

/// A schema.
fn shown(schema: &Value) -> String {
    if schema.is_null() {
        return "null".into();
    }
    let members = FIELDS.iter().map(|(name, word, zero, _)| {
        let text = match &schema[*word] {
            Value::Null => (*zero).to_owned(),
            given => member(word, given),
        };
        format!("\"{name}\":{text}")
    });
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

fn member(word: &str, given: &Value) -> String {
    match word {
        "not" => shown(given),
        "allOf" | "anyOf" | "oneOf" => each(given, shown),
        "properties" | "patternProperties" | "definitions" => {
            let all = given.as_object().into_iter().flatten();
            let all = all.map(|(name, inner)| format!("{}:{}", escaped(&name.as_str().into()), shown(inner)));
            format!("{{{}}}", all.collect::<Vec<_>>().join(","))
        }
        "items" if given.is_array() => format!("{{\"Schema\":null,\"JSONSchemas\":{}}}", each(given, shown)),
        "items" => format!("{{\"Schema\":{},\"JSONSchemas\":null}}", shown(given)),
        "additionalProperties" | "additionalItems" => match given {
            Value::Bool(allows) => format!("{{\"Allows\":{allows},\"Schema\":null}}"),
            inner => format!("{{\"Allows\":true,\"Schema\":{}}}", shown(inner)),
        },
        "x-kubernetes-validations" => each(given, shown_rule),
        _ => escaped(given),
    }
}

/// As Go writes it.
fn escaped(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// A rule.
fn shown_rule(rule: &Value) -> String {
    format!(
        "{{\"Rule\":{},\"Message\":{},\"MessageExpression\":{},\"Reason\":{},\"FieldPath\":{},\"OptionalOldSelf\":{}}}",
        text_of(&rule["rule"]),
        text_of(&rule["message"]),
        text_of(&rule["messageExpression"]),
        escaped(&rule["reason"]),
        text_of(&rule["fieldPath"]),
        escaped(&rule["optionalOldSelf"]),
    )
}
