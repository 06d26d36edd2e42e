//! Histories of applies and updates, and what upstream's library makes of them: a table of facts,
//! one history a line (`histories.txt`).

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;

use crate::Object;
use crate::ownership::element;
use crate::ownership::updater::Owners;
use crate::ownership::{
    Manager, Operation, Owned, Refusal, Reset, Set, Updater, Versions, compare, extract, merge,
};
use crate::schema::{Schema, from_json};

/// Versions that differ in their schema at most.
struct SameShape(BTreeMap<String, Schema>);

impl Versions for SameShape {
    fn schema(&self, api_version: &str) -> Option<&Schema> {
        self.0.get(api_version)
    }

    fn convert<'a>(&self, object: &'a Object, _: &str) -> Option<Cow<'a, Object>> {
        Some(Cow::Borrowed(object))
    }
}

fn manager(name: &str) -> Manager {
    Manager {
        name: name.into(),
        operation: Operation::Update,
        api_version: String::new(),
        subresource: String::new(),
    }
}

/// What an update does to the owners, as upstream's library does it.
fn update(updater: &Updater<'_>, live: &Value, new: &Value, owners: &mut Owners, name: &str) {
    let schema = updater.versions.schema(updater.api_version).unwrap();
    updater.reconcile(owners);
    let change = updater.reset.narrow(compare(schema, live, new));
    let own = manager(name);
    let change = updater.take_changed(change, live, new, owners, Some(&own), true).unwrap();
    let before = owners.remove(&own).map(|owned| owned.set).unwrap_or_default();
    let set = before.difference(&change.removed).union(&change.modified).union(&change.added);
    let set = updater.reset.narrow_set(&set);
    if !set.is_empty() {
        owners.insert(own, Owned { set, api_version: updater.api_version.into() });
    }
}

/// Runs one history; says where it ends otherwise than upstream's.
fn run(case: &Value, schemas: &BTreeMap<String, Schema>) -> Result<(), String> {
    let of = |version: &str| schemas[case["schemas"][version].as_str().unwrap()].clone();
    let named = case["schemas"].as_object().unwrap();
    let versions = SameShape(named.keys().map(|version| (version.clone(), of(version))).collect());
    let mut owners = Owners::new();
    let mut live = Value::Null;
    for (index, op) in case["ops"].as_array().unwrap().iter().enumerate() {
        let (version, by) = (op["v"].as_str().unwrap(), op["by"].as_str().unwrap());
        let reset = Reset::Fields(Set::from_fields(&case["reset"][version]).unwrap());
        let reset = if case["reset"][version].is_null() { Reset::NOTHING } else { reset };
        let updater = Updater { versions: &versions, api_version: version, reset: &reset };
        let schema = &versions.0[version];
        let (mut object, force) = (op["object"].clone(), op["op"] != "apply");
        if op["op"] == "update" {
            update(&updater, &live, &object, &mut owners, by);
            live = object;
            continue;
        }
        if op["op"] == "extract" {
            let set = owners.get(&manager(by)).map(|owned| owned.set.leaves()).unwrap_or_default();
            object = merge(schema, &extract(schema, &live, &set, false), &object)?;
        }
        let mut after = owners.clone();
        let outcome = updater.apply(&live, &object, &mut after, &manager(by), force);
        let expected: Vec<&str> =
            op["conflicts"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        match outcome {
            Ok(new) => {
                owners = after;
                live = new.unwrap_or(live);
                if !expected.is_empty() {
                    return Err(format!("op {index}: no conflict, expected {expected:?}"));
                }
            }
            Err(Refusal::Failed(why)) => return Err(format!("op {index}: {why}")),
            Err(Refusal::Conflicts(conflicts)) => {
                let mut found: Vec<String> = conflicts
                    .iter()
                    .map(|one| format!("conflict with {:?}: {}", one.manager.name, element::text(&one.path)))
                    .collect();
                found.sort();
                if found != expected {
                    return Err(format!("op {index}: conflicts {found:?}, expected {expected:?}"));
                }
            }
        }
    }
    // Of an object of which nothing is left, upstream's library keeps null.
    if live.as_object().is_some_and(serde_json::Map::is_empty) {
        live = Value::Null;
    }
    if !element::same(&live, &case["live"]) {
        return Err(format!("the object is {live}, expected {}", case["live"]));
    }
    let found: BTreeMap<&str, (&str, String)> = owners
        .iter()
        .map(|(manager, owned)| (&*manager.name, (&*owned.api_version, owned.set.to_text())))
        .collect();
    let expected = case["owners"].as_object().unwrap().iter().map(|(name, owned)| {
        let set = Set::from_fields(&owned[1]).unwrap();
        (name.as_str(), (owned[0].as_str().unwrap(), set.to_text()))
    });
    let expected: BTreeMap<&str, (&str, String)> = expected.collect();
    if found == expected { Ok(()) } else { Err(format!("owners are {found:?}, expected {expected:?}")) }
}

#[test]
fn histories_end_as_upstreams_do() {
    let table = include_str!("histories.txt");
    let mut schemas = BTreeMap::new();
    let mut count = 0;
    let mut wrong = Vec::new();
    for (line, text) in table.lines().enumerate().filter(|(_, text)| !text.starts_with('#')) {
        if let Some((name, schema)) = text.strip_prefix("schema ").and_then(|rest| rest.split_once(' ')) {
            schemas.insert(name.to_owned(), from_json(&serde_json::from_str(schema).unwrap()));
            continue;
        }
        count += 1;
        let case: Value = serde_json::from_str(text).unwrap();
        if let Err(why) = run(&case, &schemas) {
            wrong.push(format!("line {}: {}: {why}\n  {}", line + 1, case["name"], case["ops"]));
        }
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong[..wrong.len().min(8)].join("\n"));
    assert!(count >= 150, "{count}");
}
