//! `FieldsV1` as text.

use serde_json::{Value, json};

use crate::ownership::Set;

fn set(text: &str) -> Set {
    Set::from_fields(&serde_json::from_str::<Value>(text).unwrap()).unwrap()
}

fn check(text: &str, printed: &str, paths: &str) {
    let set = set(text);
    assert_eq!(set.to_text(), printed, "{text}");
    assert_eq!(set.to_string().replace('\n', " "), paths, "{text}");
    assert_eq!(Set::from_fields(&set.to_fields()).unwrap(), set, "{text}");
}

#[test]
fn sets_are_read_and_printed_in_upstreams_order() {
    let same = |text: &str, paths: &str| check(text, text, paths);
    same("{}", "");
    same(r#"{"f:a":{}}"#, ".a");
    same(r#"{"f:a":{".":{},"f:b":{}}}"#, ".a .a.b");
    same(r#"{"f:a":{"f:b":{},"f:c":{}}}"#, ".a.b .a.c");
    same(r#"{"i:1":{},"i:2":{"f:x":{}}}"#, "[1] [2].x");
    same(r#"{"v:1":{},"v:\"a\"":{},"v:true":{}}"#, r#"[=1] [="a"] [=true]"#);
    same(r#"{"k:{\"name\":\"a\"}":{".":{},"f:x":{}}}"#, r#"[name="a"] [name="a"].x"#);
    // Fields, keys, values, places; numbers by size.
    check(
        r#"{"i:0":{},"v:10":{},"v:9":{},"k:{\"port\":443}":{},"k:{\"port\":80}":{},"f:z":{}}"#,
        r#"{"f:z":{},"k:{\"port\":80}":{},"k:{\"port\":443}":{},"v:9":{},"v:10":{},"i:0":{}}"#,
        ".z [port=80] [port=443] [=9] [=10] [0]",
    );
    // Keys by name, whatever order they came in.
    check(
        r#"{"k:{\"protocol\":\"TCP\",\"port\":80}":{}}"#,
        r#"{"k:{\"port\":80,\"protocol\":\"TCP\"}":{}}"#,
        r#"[port=80,protocol="TCP"]"#,
    );
    // What is not known is left out; an empty value is a member.
    check(r#"{"f:a":{"x:b":{}},"q:r":{"f:b":{}}}"#, r#"{"f:a":{}}"#, ".a");
    check(r#"{"f:a":{".":{}}}"#, r#"{"f:a":{}}"#, ".a");
    // What HTML would take for markup is escaped.
    assert!(set(r#"{"v:\"a<b\"":{}}"#).to_text().contains(r#""v:\"a\\u003cb\"""#));
}

#[test]
fn steps_that_cannot_be_read_are_refused_in_upstreams_words() {
    let check = |key: &str, why: &str| {
        assert_eq!(Set::from_fields(&json!({key: {}})).unwrap_err(), why, "{key}");
    };
    check("f", "key must be 2 characters long:");
    check("fa:", "missing colon: fa:");
    check("i:a", "strconv.Atoi: parsing \"a\": invalid syntax");
    assert!(Set::from_fields(&json!({"v:{": {}})).is_err());
    assert!(Set::from_fields(&json!({"k:1": {}})).is_err());
}
