//! Every decoder of this crate, fed with what is almost right, and held to its oracle: what it accepts must come back
//! the same, what it refuses must be told. `make fuzz TIME=600` gives each target that many seconds.

#![allow(clippy::unwrap_used)]

mod mutate;

use mutate::run;
use serde_json::{Value, json};
use skiff_api::patch;
use skiff_api::quantity::{self, Quantity};
use skiff_api::schema::definition;
use skiff_api::selector::{FieldSelector, LabelSelector};
use skiff_api::{go_json, protobuf, yaml};

const POD: &[u8] = br#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","labels":{"a":"b"},"creationTimestamp":"2026-01-01T00:00:00Z","finalizers":["x/y"]},"spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":80}],"resources":{"limits":{"cpu":"500m","memory":"1Gi"}},"env":[{"name":"A","value":"\u00e4\n"}]}],"volumes":[{"name":"v","emptyDir":{}}],"tolerations":[{"operator":"Exists"}]},"status":{"podIP":null}}"#;
const NUMBERS: &[u8] =
    br#"[0,-0,1,-1,1.5,1e3,1E-7,9223372036854775807,18446744073709551615,1e308,true,false,null,"",{}]"#;
const JSON_WORDS: [&str; 14] = [
    "null",
    "true",
    "\"a\":",
    "{\"a\":1}",
    "[1,2]",
    "\\u0000",
    "\\ud800",
    "1e999",
    "-0",
    "0.1",
    "\"\"",
    ",",
    "}",
    "]",
];

fn same(before: &Value, after: &Value) -> Result<(), String> {
    if before == after { Ok(()) } else { Err(format!("{before} became {after}")) }
}

#[test]
fn json() {
    run("json", &[POD, NUMBERS, b"{\"a\":1,\"a\":2}"], &JSON_WORDS, |input| {
        match yaml::decode_one(input, false) {
            Ok((value, _)) => {
                let (again, twice) = yaml::decode_one(value.to_string().as_bytes(), false)?;
                same(&value, &again)?;
                if twice.is_empty() { Ok(()) } else { Err(format!("written with {twice:?} twice")) }
            }
            Err(why) if why.is_empty() => Err("a refusal says nothing".into()),
            Err(_) => match std::str::from_utf8(input) {
                // Go's words are there for whatever is no JSON.
                Ok(text) if serde_json::from_str::<Value>(text).is_ok() => Err("JSON was refused".into()),
                _ => go_json::syntax_error(input).map(drop).ok_or_else(|| "Go would take it".into()),
            },
        }
    });
}

#[test]
fn yaml_documents() {
    let block = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\n  labels: {a: 'b', \"c\": d}\ndata:\n  text: |-\n    one\n\n      two\n  fold: >\n    a\n    b\n  n: '1'\nlist:\n- a: 1\n  b: ~\n- - x\n- &anchor y\n- *anchor\n";
    let words = [
        "- ",
        ": ",
        "\n  ",
        "|\n",
        "'",
        "\"",
        "~",
        "0x1f",
        "1_0",
        "yes",
        "2026-01-01",
        "12:30",
        "<<: ",
        "? ",
        "!!str ",
        "#",
    ];
    run("yaml", &[POD, block, b"---\na: 1e3\nb: .inf\nc: 0o17\n"], &words, |input| {
        match yaml::decode_one(input, true) {
            Ok((value, _)) => {
                let text = yaml::to_string(&value);
                let (again, _) =
                    yaml::decode_one(text.as_bytes(), true).map_err(|why| format!("{why} of {text:?}"))?;
                same(&value, &again)
            }
            Err(why) if why.is_empty() => Err("a refusal says nothing".into()),
            Err(_) => Ok(()),
        }
    });
}

#[test]
fn protobuf_messages() {
    let objects = [
        serde_json::from_slice::<Value>(POD).unwrap(),
        json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": 404, "details": {"name": "x"}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": 3,
            "selector": {"matchLabels": {"a": "b"}}, "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}}}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "AAEC"}}),
    ];
    let seeds: Vec<Vec<u8>> = objects.iter().map(|object| protobuf::encode(object).unwrap()).collect();
    let seeds: Vec<&[u8]> = seeds.iter().map(Vec::as_slice).collect();
    run("protobuf", &seeds, &["k8s\0", "\u{8}\u{1}", "\u{a}\u{2}v1", "\u{12}\u{3}Pod"], |input| {
        let Ok(object) = protobuf::decode(input) else { return Ok(()) };
        // What was left out comes back as nothing, once; then it stays as it is.
        let through = |object: &Value| {
            let written = protobuf::encode(object).map_err(|error| format!("{error} of {object}"))?;
            protobuf::decode(&written).map_err(|error| format!("{error} of {object}"))
        };
        let full = through(&object)?;
        same(&full, &through(&full)?)
    });
}

#[test]
fn json_patches() {
    let live: Value = serde_json::from_slice(POD).unwrap();
    let seeds: [&[u8]; 2] = [
        br#"[{"op":"add","path":"/metadata/labels/x~1y","value":"z"},{"op":"replace","path":"/spec/containers/0/image","value":"j"},{"op":"remove","path":"/status"}]"#,
        br#"[{"op":"test","path":"/kind","value":"Pod"},{"op":"copy","from":"/spec/volumes","path":"/spec/more"},{"op":"move","from":"/spec/more/0","path":"/spec/tolerations/-"}]"#,
    ];
    let words = [
        "\"op\":\"add\"",
        "/spec",
        "/-",
        "/0",
        "~0",
        "~1",
        "\"path\":\"\"",
        "/99999999999",
        "null",
        "{}",
        "[]",
    ];
    run("json-patch", &seeds, &words, |input| match patch::json(&live, input) {
        Ok(object) => {
            // The text of the result is the result.
            same(&object, &serde_json::from_str(&object.to_string()).unwrap())?;
            same(&object, &patch::json(&live, input).map_err(|status| status.message)?)
        }
        Err(status) if matches!(status.code, 400 | 413 | 422) && !status.message.is_empty() => Ok(()),
        Err(status) => Err(format!("refused with {} {}", status.code, status.message)),
    });
}

#[test]
fn merge_patches() {
    let live: Value = serde_json::from_slice(POD).unwrap();
    let seeds: [&[u8]; 2] =
        [br#"{"metadata":{"labels":{"a":null,"c":"d"}},"spec":{"containers":[1],"x":{"y":null}}}"#, POD];
    run("merge-patch", &seeds, &JSON_WORDS, |input| {
        let Ok(once) = patch::merge(&live, input) else { return Ok(()) };
        let twice = patch::merge(&once, input).map_err(|status| status.message)?;
        same(&once, &twice)
    });
}

#[test]
fn strategic_patches() {
    let schema = definition("io.k8s.api.core.v1.Pod").unwrap();
    let live: Value = serde_json::from_slice(POD).unwrap();
    let seeds: [&[u8]; 4] = [
        br#"{"spec":{"containers":[{"name":"c","image":"j"},{"name":"d","$patch":"delete"}],"$setElementOrder/containers":[{"name":"d"},{"name":"c"}]}}"#,
        br#"{"spec":{"volumes":[{"name":"v","$retainKeys":["name","hostPath"],"hostPath":{"path":"/"}}]}}"#,
        br#"{"metadata":{"$deleteFromPrimitiveList/finalizers":["x/y"],"finalizers":["z/w"],"$setElementOrder/finalizers":["z/w"]}}"#,
        br#"{"spec":{"$patch":"replace","nodeName":"n"},"metadata":{"labels":{"$patch":"merge","a":null}}}"#,
    ];
    let words = [
        "\"$patch\":\"delete\"",
        "\"$patch\":\"replace\"",
        "\"$retainKeys\":[]",
        "\"$setElementOrder/containers\":[]",
        "\"name\":\"c\"",
        "null",
        "[]",
        "{}",
        ",",
    ];
    run("strategic-patch", &seeds, &words, |input| match patch::strategic(schema, &live, input) {
        Ok(object) => {
            let text = object.to_string();
            same(&object, &serde_json::from_str(&text).map_err(|error| error.to_string())?)?;
            same(&object, &patch::strategic(schema, &live, input).map_err(|status| status.message)?)
        }
        Err(status) if status.message.is_empty() => Err("a refusal says nothing".into()),
        Err(_) => Ok(()),
    });
}

#[test]
fn label_selectors() {
    let seeds: [&[u8]; 4] = [b"a=b,c!=d,e", b"x in (a,b),y notin (c),!z", b"n>5,m<7", b"example.com/k==v"];
    let words = ["in", "notin", "(", ")", ",", "!", "=", "==", "!=", ">", "<", "1", " "];
    run("label-selector", &seeds, &words, |input| {
        let text = String::from_utf8_lossy(input);
        match LabelSelector::parse(&text) {
            Ok(selector) => {
                let shown = selector.to_string();
                let again = LabelSelector::parse(&shown).map_err(|why| format!("{why} of {shown:?}"))?;
                if again.to_string() == shown { Ok(()) } else { Err(format!("{shown:?} became {again}")) }
            }
            Err(why) if why.to_string().is_empty() => Err("a refusal says nothing".into()),
            Err(_) => Ok(()),
        }
    });
}

#[test]
fn field_selectors() {
    let seeds: [&[u8]; 3] = [b"metadata.name=a,spec.nodeName!=b", b"a==\\=\\,\\\\", b"status.phase="];
    run("field-selector", &seeds, &["=", "==", "!=", ",", "\\", "\\,"], |input| {
        let text = String::from_utf8_lossy(input);
        match FieldSelector::parse(&text) {
            Ok(selector) => {
                // A field that a selector asks for by equality is what matches it.
                let paths: Vec<String> = selector.paths().map(str::to_owned).collect();
                let value = |path: &str| selector.exact(path).unwrap_or("\u{1}").to_owned();
                let clear = paths.iter().all(|path| paths.iter().filter(|other| *other == path).count() == 1);
                if clear && !selector.matches(value) {
                    Err("it does not match itself".into())
                } else {
                    Ok(())
                }
            }
            Err(why) if why.to_string().is_empty() => Err("a refusal says nothing".into()),
            Err(_) => Ok(()),
        }
    });
}

#[test]
fn quantities() {
    let seeds: [&[u8]; 8] =
        [b"0", b"100m", b"1.5Gi", b"-3", b"1e3", b"0.000000001", b"9223372036854775807", b"12E"];
    let words = ["n", "u", "m", "k", "Ki", "Mi", "Ei", "E", "e-9", "e18", ".", "00", "-", "+"];
    run("quantity", &seeds, &words, |input| {
        let text = String::from_utf8_lossy(input);
        let Some(short) = quantity::canonical(&text) else { return Ok(()) };
        if quantity::canonical(&short).as_deref() != Some(&short) {
            return Err(format!("{short:?} is not its own canonical form"));
        }
        match (Quantity::parse(&text), Quantity::parse(&short)) {
            (Some(a), Some(b)) if a == b => Ok(()),
            (a, b) => Err(format!("{a:?} became {b:?} as {short:?}")),
        }
    });
}
