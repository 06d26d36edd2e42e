//! Upstream's own objects, each field set, in JSON, YAML and protobuf.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use skiff_api::schema::definition_of_kind;
use skiff_api::{protobuf, walk, yaml};

use crate::{difference, is_stable, reference};

/// What defaulting changes in upstream's objects although every field is set: kind, then a line of
/// [`difference::between`].
const DEFAULTED: &str = include_str!("defaulted.txt");

#[test]
fn upstreams_objects_come_back_equal() {
    let Some(directory) = reference().map(|directory| directory.join("testdata")) else { return };
    let mut lines = Vec::new();
    let mut kinds = 0;
    let mut names: Vec<String> = std::fs::read_dir(&directory)
        .unwrap()
        .filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.strip_suffix(".json")?.to_owned()))
        .filter(|name| name.rsplit('.').nth(1).is_some_and(is_stable))
        .collect();
    names.sort();
    for name in names {
        kinds += 1;
        if name == "core.v1.WatchEvent" {
            watch_event(&directory);
            continue;
        }
        for line in compare(&directory, &name) {
            lines.push(format!("{name} {line}"));
        }
    }
    println!("{kinds} stable kinds, {} differences", lines.len());
    lines.iter().for_each(|line| println!("{line}"));
    assert_eq!(lines.len(), 0);
    assert!(kinds > 80, "{kinds}");
}

/// An event of a watch does not say what it is: only its frame can be compared.
fn watch_event(directory: &Path) {
    let event: Value =
        serde_json::from_slice(&std::fs::read(directory.join("core.v1.WatchEvent.json")).unwrap()).unwrap();
    let theirs = std::fs::read(directory.join("core.v1.WatchEvent.pb")).unwrap();
    let ours = protobuf::frame(event["type"].as_str().unwrap(), event["object"].to_string().as_bytes());
    assert!(theirs.windows(ours.len() - 4).any(|part| part == &ours[4..]));
}

fn compare(directory: &Path, name: &str) -> Vec<String> {
    let file = |ending: &str| std::fs::read(directory.join(format!("{name}.{ending}"))).unwrap();
    let object: Value = serde_json::from_slice(&file("json")).unwrap();
    let text = |key: &str| object[key].as_str().unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let Some(schema) = definition_of_kind(api_version, kind) else {
        return vec![format!("no definition of {kind} in {api_version}")];
    };
    let mut lines = Vec::new();
    let mut note = |step: &str, value: &Value| {
        lines.extend(difference::between(value, &object).into_iter().map(|line| format!("{step} {line}")));
    };
    let (mut read, _) = yaml::decode_one(&file("json"), false).unwrap();
    let unknown = walk::prune(schema, &mut read);
    note("pruned", &read);
    walk::normalise(schema, &mut read);
    note("JSON", &read);
    let (mut read, _) = yaml::decode_one(&file("yaml"), true).unwrap();
    walk::normalise(schema, &mut read);
    note("YAML", &read);
    let (read, _) = yaml::decode_one(serde_saphyr::to_string(&object).unwrap().as_bytes(), true).unwrap();
    note("written YAML", &read);
    match protobuf::decode(&file("pb")) {
        Ok(mut read) => {
            walk::normalise(schema, &mut read);
            note("protobuf", &read);
        }
        Err(error) => lines.push(format!("protobuf cannot be read: {error}")),
    }
    match protobuf::encode(&object) {
        Ok(bytes) if bytes == file("pb") => {}
        Ok(bytes) => {
            let theirs = file("pb");
            let at =
                bytes.iter().zip(&theirs).position(|(a, b)| a != b).unwrap_or(bytes.len().min(theirs.len()));
            lines.push(format!("protobuf differs from byte {at} of {} and {}", bytes.len(), theirs.len()));
        }
        Err(error) => lines.push(format!("protobuf cannot be written: {error}")),
    }
    lines.extend(unknown.into_iter().map(|path| format!("unknown {path}")));
    lines.extend(walk::decode_error(kind, "v1", schema, &object).map(|status| status.message));
    lines.extend(defaulted(name, schema, &object));
    lines
}

/// Differences by defaulting that are not the expected ones, or expected ones that do not come.
fn defaulted(name: &str, schema: &skiff_api::schema::Schema, object: &Value) -> Vec<String> {
    let mut complete = object.clone();
    walk::default(schema, &mut complete);
    walk::normalise(schema, &mut complete);
    let mut found: BTreeMap<String, i32> = BTreeMap::new();
    for line in difference::between(&complete, object) {
        *found.entry(line).or_default() += 1;
    }
    for line in DEFAULTED.lines().filter(|line| !line.starts_with('#')) {
        if let Some(line) = line.strip_prefix(name).and_then(|rest| rest.strip_prefix(' ')) {
            *found.entry(line.into()).or_default() -= 1;
        }
    }
    found.retain(|_, count| *count != 0);
    found.into_keys().map(|line| format!("defaulted {line}")).collect()
}
