//! Objects that are refused, and every cause in upstream's words, from the tables in `rejected/`.

use serde_json::Value;
use skiff_api::builtin;
use skiff_api::status::FieldError;
use skiff_api::validate::validate;
use skiff_api::walk;

/// Reads `table`; answers with how many objects it refuses, and what differs.
fn check(table: &str) -> (usize, Vec<String>) {
    let registry = builtin::registry();
    let (mut count, mut lines) = (0, Vec::new());
    let mut base = Value::Null;
    let mut kind = None;
    let mut rows = table.lines().filter(|line| !line.starts_with('#')).peekable();
    while let Some(line) = rows.next() {
        if let Some(json) = line.strip_prefix("= ") {
            base = serde_json::from_str(json).unwrap();
            let (api_version, name) = (base["apiVersion"].as_str().unwrap(), base["kind"].as_str().unwrap());
            let group = api_version.split_once('/').map_or("", |(group, _)| group);
            let found = registry.kind(group, name).unwrap().clone();
            let schema = found.stored().schema.clone();
            complete(&schema, &mut base);
            assert_eq!(
                validate(&found, found.stored(), &base, None),
                [],
                "the first object is valid: {base}"
            );
            kind = Some((found, schema));
            continue;
        }
        let (kind, schema) = kind.as_ref().unwrap();
        let mut object = base.clone();
        let mut title = line.to_owned();
        let update = line.starts_with("~ ");
        set(&mut object, line);
        while let Some(line) = rows.next_if(|line| line.starts_with(['/', '~'])) {
            set(&mut object, line);
            title.push_str(line);
        }
        let mut expected = Vec::new();
        while let Some(line) = rows.next_if(|line| line.starts_with(' ')) {
            expected.push(line[1..].to_owned());
        }
        assert!(!expected.is_empty(), "{title} is refused for nothing");
        complete(schema, &mut object);
        let errors = validate(kind, kind.stored(), &object, update.then_some(&base));
        // What a long cause shows below its first line is not compared.
        let first = |error: &FieldError| error.to_string().lines().next().unwrap_or_default().to_owned();
        let mut found: Vec<String> = errors.iter().map(first).collect();
        found.sort();
        expected.sort();
        count += 1;
        if found != expected {
            lines.push(format!("{title}\n  expected {expected:#?}\n  found {found:#?}"));
        }
    }
    (count, lines)
}

fn complete(schema: &skiff_api::schema::Schema, object: &mut Value) {
    walk::default(schema, object);
    walk::normalise(schema, object);
}

/// `POINTER JSON`; parents are made, `null` takes away.
fn set(object: &mut Value, line: &str) {
    let (pointer, json) = line.trim_start_matches("~ ").split_once(' ').unwrap();
    let value: Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{line}: {error}"));
    let mut at = object;
    for part in pointer.split('/').skip(1) {
        at = match part.parse::<usize>() {
            Ok(index) => {
                let list = at.as_array_mut().unwrap();
                if index == list.len() {
                    list.push(Value::Null);
                }
                &mut list[index]
            }
            Err(_) => &mut at[part.replace("~1", "/")],
        };
    }
    *at = value;
}

#[test]
fn pods_are_rejected_in_upstreams_words() {
    let (count, lines) = check(include_str!("rejected/pod.txt"));
    println!("{count} rejected pods");
    assert_eq!(lines.join("\n"), "");
    assert!(count >= 150, "{count}");
}

#[test]
fn other_kinds_and_changes_are_rejected_in_upstreams_words() {
    let (count, lines) = check(include_str!("rejected/kinds.txt"));
    println!("{count} rejected objects of other kinds");
    assert_eq!(lines.join("\n"), "");
}
