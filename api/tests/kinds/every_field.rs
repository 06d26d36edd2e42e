//! An object of every kind with every field set, made from the schema, goes through all encodings.

use serde_json::{Map, Value, json};
use skiff_api::schema::{self, Schema, Shape, definition};
use skiff_api::{builtin, protobuf, walk, yaml};

use crate::difference;

/// A value of that schema, with every field set and no two numbers alike. A definition within
/// itself is empty.
fn filled(schema: &Schema, name: &str, count: &mut i64) -> Value {
    fill(schema, name, count, &mut Vec::new())
}

fn fill(schema: &Schema, name: &str, count: &mut i64, within: &mut Vec<String>) -> Value {
    *count += 1;
    let named = !schema.definition.is_empty();
    if named && within.contains(&schema.definition) {
        return json!({});
    }
    if named {
        within.push(schema.definition.clone());
    }
    let mut filled = |schema: &Schema, name: &str, count: &mut i64| fill(schema, name, count, within);
    let value = match &schema.shape {
        Shape::Object(fields) => {
            // What has no number says what an object is; within another, protobuf does not carry it.
            let carried = fields.known.iter().filter(|(_, field)| !field.number.is_empty());
            let each = carried.map(|(name, field)| (name.clone(), filled(&field.schema, name, count)));
            Value::Object(each.collect::<Map<_, _>>())
        }
        Shape::Map(values) => json!({"a.b/c": filled(values, name, count), "": filled(values, name, count)}),
        Shape::List { items, .. } => json!([filled(items, name, count), filled(items, name, count)]),
        Shape::String { format, allowed } => match (format.as_str(), allowed.first()) {
            ("date-time", _) => format!("2024-02-29T23:59:{:02}Z", *count % 60).into(),
            ("date-time-micro", _) => format!("1969-12-31T23:59:59.{:06}Z", *count).into(),
            ("byte", _) => "AAECAw==".into(),
            (_, Some(allowed)) => allowed.as_str().into(),
            _ => format!("{name} \u{e9}: {count}\n- x").into(),
        },
        Shape::Integer { bits: 32 } => (i64::from(i32::MIN) + *count).into(),
        Shape::Integer { .. } => (i64::MAX - *count).into(),
        Shape::Number => json!(0.5),
        Shape::Boolean => true.into(),
        Shape::IntOrString if *count % 2 == 0 => "25%".into(),
        Shape::IntOrString => (*count).into(),
        Shape::Quantity => format!("{}m", *count * 2 + 1).into(),
        Shape::Any => json!({"any": ["thing", null, 1]}),
        Shape::Either(alternatives) => {
            let at = usize::try_from(*count).unwrap() % alternatives.len();
            filled(&alternatives[at].1, name, count)
        }
    };
    if named {
        within.pop();
    }
    value
}

/// Definitions that stand for themselves: they say what they are.
fn whole() -> Vec<(&'static str, &'static Schema)> {
    let mut found: Vec<_> = schema::names()
        .filter_map(|name| Some((name, definition(name)?)))
        .filter(|(_, schema)| match &schema.shape {
            Shape::Object(fields) => {
                fields.known.contains_key("apiVersion") && fields.known.contains_key("kind")
            }
            _ => false,
        })
        .collect();
    found.sort_by_key(|(name, _)| *name);
    found
}

/// `apps/v1` and `Deployment` of the kind that has that definition.
fn named(definition: &str) -> Option<(String, String)> {
    let groups = builtin::registry();
    let mut known: Vec<String> = groups.iter().map(|kind| kind.group.clone()).collect();
    known
        .extend(["authentication.k8s.io", "authorization.k8s.io", "policy", "autoscaling"].map(String::from));
    let mut parts = definition.rsplit('.');
    let (kind, version) = (parts.next()?, parts.next()?);
    let group = known.into_iter().find(|group| schema::definition_of(group, version, kind) == definition)?;
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Some((api_version, kind.to_owned()))
}

#[test]
fn every_field_survives_every_encoding() {
    let mut kinds = 0;
    let mut lines = Vec::new();
    for (name, schema) in whole() {
        let Some((api_version, kind)) = named(name) else { continue };
        let mut object = filled(schema, "top", &mut 0);
        object["apiVersion"] = api_version.as_str().into();
        object["kind"] = kind.as_str().into();
        kinds += 1;

        let text = serde_saphyr::to_string(&object).unwrap();
        let (mut read, duplicates) = yaml::decode_one(text.as_bytes(), true).unwrap();
        assert_eq!(duplicates, Vec::<String>::new(), "{kind}");
        assert_eq!(walk::prune(schema, &mut read), Vec::<String>::new(), "{kind}");
        assert_eq!(walk::decode_error(&kind, "v1", schema, &read), None);
        walk::normalise(schema, &mut read);
        let mut note = |step: &str, value: &Value| {
            for line in difference::between(&object, value) {
                lines.push(format!("{api_version} {kind} {step}: {line}"));
            }
        };
        note("YAML", &read);
        let bytes = protobuf::encode(&read).unwrap_or_else(|error| panic!("{kind}: {error}"));
        let mut back = protobuf::decode(&bytes).unwrap_or_else(|error| panic!("{kind}: {error}"));
        walk::normalise(schema, &mut back);
        note("protobuf", &back);
        assert_eq!(protobuf::encode(&back).unwrap(), bytes, "{kind}");
    }
    println!("{kinds} kinds");
    assert_eq!(lines.join("\n"), "");
    assert!(kinds >= 70, "{kinds}");
}

#[test]
fn an_object_with_no_field_survives_every_encoding() {
    for (name, schema) in whole() {
        let Some((api_version, kind)) = named(name) else { continue };
        let mut object = json!({"apiVersion": api_version, "kind": kind});
        walk::normalise(schema, &mut object);
        let mut back = protobuf::decode(&protobuf::encode(&object).unwrap()).unwrap();
        walk::normalise(schema, &mut back);
        assert_eq!(difference::between(&object, &back), Vec::<String>::new(), "{kind}");
    }
}
