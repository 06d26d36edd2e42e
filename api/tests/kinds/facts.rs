//! The table of facts accounts for every stable definition, and agrees with upstream's `swagger.json`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use skiff_api::builtin;
use skiff_api::schema::{self, Schema, Shape, definition};

use crate::{is_stable, reference};

const TABLE: &str = include_str!("../../overlay/fields.txt");
const DEFAULTS: &str = include_str!("../../overlay/defaults.txt");

/// Fields that say what an object is; no table needs them.
const SELF: [&str; 2] = ["apiVersion", "kind"];

#[derive(Default)]
struct Definition<'a> {
    atomic: bool,
    fields: BTreeMap<&'a str, Vec<&'a str>>,
}

fn table() -> BTreeMap<&'static str, Definition<'static>> {
    let mut table: BTreeMap<&str, Definition> = BTreeMap::new();
    let mut at = "";
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        match line.strip_prefix(' ') {
            None => {
                let (name, flag) = line.split_once(' ').unwrap_or((line, ""));
                at = name;
                let known =
                    table.insert(name, Definition { atomic: flag == "atomic", ..Definition::default() });
                assert!(known.is_none(), "{name} is there twice");
            }
            Some(line) => {
                let mut words = line.split(' ');
                let field = words.next().unwrap();
                let known = table.get_mut(at).unwrap().fields.insert(field, words.collect());
                assert!(known.is_none(), "{at} {field} is there twice");
            }
        }
    }
    table
}

/// Every definition that a kind of the registry reaches.
fn reached() -> BTreeSet<String> {
    fn walk(schema: &Schema, found: &mut BTreeSet<String>) {
        if !schema.definition.is_empty() && !found.insert(schema.definition.clone()) {
            return;
        }
        match &schema.shape {
            Shape::Object(fields) => fields.known.values().for_each(|field| walk(&field.schema, found)),
            Shape::Map(inner) | Shape::List { items: inner, .. } => walk(inner, found),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    builtin::registry().iter().for_each(|kind| walk(&kind.stored().schema, &mut found));
    found
}

#[test]
fn every_field_that_a_kind_reaches_has_its_facts() {
    let table = table();
    let mut missing = Vec::new();
    for name in reached() {
        let Shape::Object(fields) = &definition(&name).unwrap().shape else { continue };
        for field in fields.known.keys().filter(|field| !SELF.contains(&field.as_str())) {
            let facts = table.get(name.as_str()).and_then(|definition| definition.fields.get(field.as_str()));
            if facts.is_none() {
                missing.push(format!("{name}.{field}"));
            }
        }
    }
    assert_eq!(missing.join("\n"), "");
}

#[test]
fn numbers_are_unique_and_keys_exist() {
    let known: BTreeSet<&str> = schema::names().collect();
    for (name, definition_of) in table() {
        assert!(known.contains(name), "{name} is no definition");
        let mut numbers = BTreeSet::new();
        let Shape::Object(fields) = &definition(name).unwrap().shape else { continue };
        for (field, words) in &definition_of.fields {
            assert!(fields.known.contains_key(*field), "{name} has no field {field}");
            assert!(
                words[1] == "-" || numbers.insert(words[1]),
                "{name}.{field}: number {} is taken",
                words[1]
            );
            let keys =
                words.iter().filter_map(|word| word.strip_prefix("list=").or(word.strip_prefix("merge=")));
            for key in
                keys.flat_map(|keys| keys.split(',')).filter(|key| !["", "set", "atomic"].contains(key))
            {
                let Shape::List { items, .. } = &fields.known[*field].schema.shape else {
                    panic!("{name}.{field} is no list")
                };
                let Shape::Object(item) = &items.shape else { panic!("{name}.{field} has no objects") };
                assert!(item.known.contains_key(key), "{name}.{field}: no key {key}");
            }
        }
    }
}

/// A default completes to a value that the field may have.
#[test]
fn defaults_fit_their_fields() {
    for line in DEFAULTS.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        let Shape::Object(fields) = &definition(words[0]).unwrap().shape else { panic!("{line}") };
        let schema = &fields.known[words[1]].schema;
        let value: Value = serde_json::from_str(words[2]).unwrap();
        assert_eq!(skiff_api::walk::check(schema, &value, ""), [], "{line}");
    }
}

#[test]
fn every_stable_definition_of_upstream_is_accounted_for() {
    let Some(directory) = reference() else { return };
    let swagger: Value =
        serde_json::from_slice(&std::fs::read(directory.join("swagger.json")).unwrap()).unwrap();
    let table = table();
    let mut lines = Vec::new();
    let mut seen: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    for (name, theirs) in swagger["definitions"].as_object().unwrap() {
        let version = name.rsplit('.').nth(1).unwrap_or_default();
        let unstable = version.starts_with('v') && !is_stable(version);
        let list = theirs["properties"].get("items").is_some() && name.ends_with("List");
        if let Some(properties) = theirs["properties"].as_object() {
            for (field, theirs) in properties {
                for (what, key) in [
                    ("list types", "x-kubernetes-list-type"),
                    ("map keys", "x-kubernetes-list-map-keys"),
                    ("merge keys", "x-kubernetes-patch-merge-key"),
                ] {
                    if theirs.get(key).is_some() {
                        seen.entry(what).or_default()[usize::from(unstable)] += 1;
                    }
                }
                if unstable || list || SELF.contains(&field.as_str()) {
                    continue;
                }
                match table.get(name.as_str()).and_then(|definition| definition.fields.get(field.as_str())) {
                    None => lines.push(format!("{name}.{field} is not in the table")),
                    Some(words) => lines.extend(
                        differences(words, theirs).into_iter().map(|line| format!("{name}.{field} {line}")),
                    ),
                }
            }
            let atomic = theirs["x-kubernetes-map-type"] == "atomic";
            if !unstable && !list && table.get(name.as_str()).is_some_and(|ours| ours.atomic != atomic) {
                lines.push(format!("{name}: atomic is {atomic}"));
            }
            for field in table.get(name.as_str()).into_iter().flat_map(|ours| ours.fields.keys()) {
                if !properties.contains_key(*field) {
                    lines.push(format!("{name}.{field} is not upstream's"));
                }
            }
        }
    }
    println!("facts compared with upstream's, of served versions and of others: {seen:?}");
    assert_eq!(lines.join("\n"), "");
}

fn differences(words: &[&str], theirs: &Value) -> Vec<String> {
    let word = |key: &str| words.iter().find_map(|word| word.strip_prefix(key).map(str::to_owned));
    let text = |key: &str| theirs[key].as_str().map(str::to_owned);
    let list = match text("x-kubernetes-list-type").as_deref() {
        Some("map") => {
            let keys = theirs["x-kubernetes-list-map-keys"].as_array().unwrap();
            Some(keys.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","))
        }
        other => other.map(str::to_owned),
    };
    let strategy = text("x-kubernetes-patch-strategy").unwrap_or_default();
    let has = |name: &str| strategy.split(',').any(|part| part == name);
    let merge = has("merge").then(|| text("x-kubernetes-patch-merge-key").unwrap_or_default());
    let pairs = [
        ("list", word("list="), list),
        ("merge", word("merge="), merge),
        ("retain", word("retain"), has("retainKeys").then(String::new)),
        (
            "map type",
            word("atomic").map(|_| "atomic".to_owned()).or(word("granular").map(|_| "granular".into())),
            text("x-kubernetes-map-type"),
        ),
    ];
    let unequal = pairs.into_iter().filter(|(_, ours, theirs)| ours != theirs);
    unequal.map(|(what, ours, theirs)| format!("{what}: {ours:?} != {theirs:?}")).collect()
}
