//! What holds for any configuration.

use std::borrow::Cow;
use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::Object;
use crate::ownership::updater::Owners;
use crate::ownership::{Manager, Operation, Reset, Updater, Versions, compare, members, merge};
use crate::schema::{Schema, from_json};

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let text = json!({"type": "string"});
    from_json(&json!({"type": "object", "properties": {
        "text": text, "number": {"type": "integer"},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": text},
        "whole": {"type": "array", "items": text},
        "labels": {"type": "object", "additionalProperties": text},
        "selector": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": text},
        "any": {"x-kubernetes-preserve-unknown-fields": true},
        "items": {"type": "array", "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["port", "protocol"],
            "items": {"type": "object", "properties": {"port": {"type": "integer"}, "name": text,
                "protocol": {"type": "string", "default": "TCP"}}}},
    }}))
});

struct One;

impl Versions for One {
    fn schema(&self, _: &str) -> Option<&Schema> {
        Some(&SCHEMA)
    }

    fn convert<'a>(&self, object: &'a Object, _: &str) -> Option<Cow<'a, Object>> {
        Some(Cow::Borrowed(object))
    }
}

fn word() -> impl Strategy<Value = Value> {
    prop_oneof![Just(json!("a")), Just(json!("b")), Just(json!("c")), Just(json!("d"))]
}

fn words() -> impl Strategy<Value = Value> {
    proptest::sample::subsequence(vec!["a", "b", "c", "d"], 1..=4).prop_shuffle().prop_map(|list| json!(list))
}

fn pairs() -> impl Strategy<Value = Value> {
    proptest::collection::btree_map("[a-c]", "[xy]", 1..3).prop_map(|map| json!(map))
}

fn ports() -> impl Strategy<Value = Value> {
    let item = (0..3_usize, proptest::option::of(word()));
    let items = proptest::collection::vec(item, 3);
    (items, proptest::sample::subsequence(vec![80, 443, 8080], 1..=3).prop_shuffle()).prop_map(
        |(items, ports)| {
            let item = |(port, (protocol, name)): (i32, (usize, Option<Value>))| {
                let mut item = json!({"port": port});
                if protocol > 0 {
                    item["protocol"] = ["TCP", "UDP"][protocol - 1].into();
                }
                if let Some(name) = name {
                    item["name"] = name;
                }
                item
            };
            ports.into_iter().zip(items).map(item).collect()
        },
    )
}

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![word(), words(), Just(json!(1)), Just(json!(true))];
    leaf.prop_recursive(3, 8, 3, |inner| {
        proptest::collection::btree_map("[k-m]", inner, 1..3).prop_map(|map| json!(map))
    })
}

/// No list and no map of it is empty: of those, as upstream, only the map is a field of its own.
fn configuration() -> impl Strategy<Value = Value> {
    let field = |name: &'static str, value: BoxedStrategy<Value>| {
        proptest::option::of(value).prop_map(move |value| value.map(|value| (name.to_owned(), value)))
    };
    let fields = vec![
        field("text", word().boxed()).boxed(),
        field("number", (0..3).prop_map(Value::from).boxed()).boxed(),
        field("set", words().boxed()).boxed(),
        field("whole", words().boxed()).boxed(),
        field("labels", pairs().boxed()).boxed(),
        field("selector", pairs().boxed()).boxed(),
        field("any", anything().boxed()).boxed(),
        field("items", ports().boxed()).boxed(),
    ];
    fields.prop_map(|fields| Value::Object(fields.into_iter().flatten().collect::<Map<String, Value>>()))
}

fn manager(name: &str) -> Manager {
    Manager::new(name, Operation::Apply, "", "")
}

proptest! {
    #[test]
    fn applying_twice_is_applying_once_and_owns_exactly_what_was_applied(
        configurations in proptest::collection::vec((0..3_usize, configuration()), 1..6)
    ) {
        let updater = Updater { versions: &One, api_version: "v1", reset: &Reset::NOTHING };
        let mut live = json!({});
        let mut owners = Owners::new();
        for (who, applied) in configurations {
            let who = manager(["a", "b", "c"][who]);
            live = updater.apply(&live, &applied, &mut owners, &who, true).unwrap().unwrap_or(live);
            let owned = owners.get(&who).map(|owned| owned.set.clone()).unwrap_or_default();
            prop_assert_eq!(&owned, &members(&SCHEMA, &applied));
            // What is applied is there.
            prop_assert_eq!(&merge(&SCHEMA, &live, &applied).unwrap(), &live);
            // Again, and not forced: nothing to do, nothing to fight about.
            let before = owners.clone();
            prop_assert_eq!(updater.apply(&live, &applied, &mut owners, &who, false).unwrap(), None);
            prop_assert_eq!(&before, &owners);
        }
    }

    #[test]
    fn sets_obey_the_laws_of_sets(one in configuration(), two in configuration()) {
        let (a, b) = (members(&SCHEMA, &one), members(&SCHEMA, &two));
        let (both, only) = (a.intersection(&b), a.difference(&b));
        prop_assert_eq!(&both.union(&only), &a);
        prop_assert!(both.intersection(&only).is_empty());
        prop_assert_eq!(&a.union(&b), &b.union(&a));
        prop_assert_eq!(both.len() + only.len(), a.len());
        prop_assert!(a.paths().iter().all(|path| a.has(path)));
        // What is gone below a member is what a parent does not stand for.
        prop_assert!(a.without(&b).difference(&only).is_empty());
        let change = compare(&SCHEMA, &one, &two);
        prop_assert!(change.added.intersection(&a).is_empty());
        prop_assert!(compare(&SCHEMA, &one, &one).is_same());
    }
}
