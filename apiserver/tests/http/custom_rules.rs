//! Rules of custom kinds (`x-kubernetes-validations`): said of when a definition is written, and held to on every write.

use serde_json::{Value, json};

use crate::custom::{DEFINITIONS, condition};
use crate::server::{Client, Server};

const DOCKS: &str = "/apis/example.com/v1/namespaces/default/docks";

fn definition(spec: &Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "docks.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "docks", "kind": "Dock"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object",
                    "x-kubernetes-validations": [{"rule": "self.metadata.name.startsWith('d')", "message": "docks begin with d"}],
                    "properties": {"spec": spec, "status": {"type": "object",
                        "x-kubernetes-validations": [{"rule": "self.used >= oldSelf.used", "message": "it only fills"}],
                        "properties": {"used": {"type": "integer"}}}}}}}],
        },
    })
}

fn dock(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Dock", "metadata": {"name": name}, "spec": spec})
}

async fn serve(admin: &Client, spec: &Value) {
    admin.post(DEFINITIONS, &definition(spec)).await.expect(201);
    condition(admin, "docks.example.com", "Established", "True").await;
}

fn message(answer: &Value) -> &str {
    answer["message"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn rules_hold_on_create_update_and_status() {
    let server = Server::start().await;
    let admin = server.admin();
    serve(&admin, &json!({
        "type": "object", "required": ["min"],
        "x-kubernetes-validations": [
            {"rule": "self.min <= self.max", "messageExpression": "'min %d is more than max %d'.format([self.min, self.max])"},
            {"rule": "self.max < 100", "reason": "FieldValueForbidden", "fieldPath": ".max", "message": "too many"},
            {"rule": "self.?replicas.orValue(0) <= self.max", "message": "replicas do not fit"},
        ],
        "properties": {
            "min": {"type": "integer"}, "max": {"type": "integer", "default": 10}, "replicas": {"type": "integer"},
            "owner": {"type": "string", "x-kubernetes-validations": [
                {"rule": "self == oldSelf", "message": "owner is immutable"},
            ]},
            "size": {"type": "integer", "x-kubernetes-validations": [
                {"rule": "!oldSelf.hasValue() || self >= oldSelf.value()", "optionalOldSelf": true, "message": "only grows"},
            ]},
            "ports": {"type": "array", "maxItems": 10, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "required": ["name"], "properties": {
                    "name": {"type": "string", "maxLength": 10},
                    "port": {"type": "integer", "x-kubernetes-validations": [
                        {"rule": "self > 0", "message": "a port is positive"},
                        {"rule": "self == oldSelf", "message": "a port stays"},
                    ]},
                }}},
        },
    })).await;

    let made = admin.post(DOCKS, &dock("d", &json!({"min": 1, "owner": "me", "size": 2}))).await;
    assert!(made.warnings().is_empty());
    let made = made.expect(201);
    assert_eq!(made["spec"]["max"], 10, "rules see what is defaulted");

    let refused = admin.post(DOCKS, &dock("e", &json!({"min": 200, "max": 150}))).await.expect(422);
    assert_eq!(
        message(&refused),
        "Dock.example.com \"e\" is invalid: [<nil>: Invalid value: docks begin with d, spec: Invalid value: min 200 is more than \
         max 150, spec.max: Forbidden: too many]"
    );
    let refused = admin
        .post(DOCKS, &dock("d2", &json!({"min": 1, "ports": [{"name": "a", "port": 0}]})))
        .await
        .expect(422);
    assert_eq!(
        message(&refused),
        "Dock.example.com \"d2\" is invalid: spec.ports[0].port: Invalid value: 0: a port is positive"
    );
    // What is not even of the schema's form is not evaluated.
    let refused = admin.post(DOCKS, &dock("d3", &json!({"max": 5}))).await.expect(422);
    assert!(message(&refused).contains("spec.min: Required value"), "{refused}");
    assert!(message(&refused).contains("some validation rules were not checked"), "{refused}");

    // Transitions.
    let path = format!("{DOCKS}/d");
    let refused =
        admin.patch(&path, "merge-patch", &json!({"spec": {"owner": "you", "size": 1}})).await.expect(422);
    assert_eq!(
        message(&refused),
        "Dock.example.com \"d\" is invalid: [spec.owner: Invalid value: \"you\": owner is immutable, spec.size: Invalid \
         value: 1: only grows]"
    );
    let ports =
        |first: i64| json!({"spec": {"ports": [{"name": "b", "port": 2}, {"name": "a", "port": first}]}});
    admin
        .patch(&path, "merge-patch", &json!({"spec": {"ports": [{"name": "a", "port": 1}]}}))
        .await
        .expect(200);
    let refused = admin.patch(&path, "merge-patch", &ports(7)).await.expect(422);
    assert!(message(&refused).contains("spec.ports[1].port: Invalid value: 7: a port stays"), "{refused}");
    admin.patch(&path, "merge-patch", &ports(1)).await.expect(200);

    // Status.
    let status = |used: i64| json!({"status": {"used": used}});
    admin.patch(&format!("{path}/status"), "merge-patch", &status(5)).await.expect(200);
    let refused = admin.patch(&format!("{path}/status"), "merge-patch", &status(4)).await.expect(422);
    assert_eq!(message(&refused), "Dock.example.com \"d\" is invalid: status: Invalid value: it only fills");

    // An apply is a write like any other.
    let applied = dock("d", &json!({"min": 50, "max": 20}));
    let headers = [("content-type", "application/apply-patch+yaml")];
    let apply = format!("{path}?fieldManager=m&force=true");
    let refused = admin.send("PATCH", &apply, &headers, applied.to_string()).await.expect(422);
    assert!(message(&refused).contains("min 50 is more than max 20"), "{refused}");
}

#[tokio::test]
async fn what_was_wrong_before_and_is_not_changed_is_told_and_taken() {
    let server = Server::start().await;
    let admin = server.admin();
    let loose = json!({"type": "object", "properties": {
        "a": {"type": "string"}, "b": {"type": "string"}, "c": {"type": "string"}, "n": {"type": "integer"}}});
    serve(&admin, &loose).await;
    admin.post(DOCKS, &dock("d", &json!({"a": "long", "b": "long", "n": 1}))).await.expect(201);
    let strict = json!({"type": "object", "properties": {
        "a": {"type": "string", "maxLength": 3},
        "b": {"type": "string", "x-kubernetes-validations": [{"rule": "size(self) < 4", "message": "b is short"}]},
        "c": {"type": "string", "maxLength": 3},
        "n": {"type": "integer", "x-kubernetes-validations": [{"rule": "self > oldSelf", "message": "n grows"}]}}});
    let change = json!({"spec": {"versions": definition(&strict)["spec"]["versions"]}});
    admin.patch(&format!("{DEFINITIONS}/docks.example.com"), "merge-patch", &change).await.expect(200);
    let path = format!("{DOCKS}/d");
    // Until the new schema is served, the old one says nothing.
    let warned = loop {
        let answer = admin.patch(&path, "merge-patch", &json!({"spec": {"n": null}})).await;
        answer.expect(200);
        if !answer.warnings().is_empty() {
            break answer.warnings();
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(warned, ["299 - \"spec.b: Invalid value: \\\"long\\\": b is short\""]);
    let refused = admin.patch(&path, "merge-patch", &json!({"spec": {"b": "other"}})).await.expect(422);
    assert_eq!(
        message(&refused),
        "Dock.example.com \"d\" is invalid: spec.b: Invalid value: \"other\": b is short"
    );
    let refused = admin.patch(&path, "merge-patch", &json!({"spec": {"c": "other"}})).await.expect(422);
    assert!(message(&refused).contains("spec.c: Too long"), "{refused}");
    admin.patch(&path, "merge-patch", &json!({"spec": {"n": 2}})).await.expect(200);
    // A rule that compares with what was there is no less strict.
    let refused = admin.patch(&path, "merge-patch", &json!({"spec": {"c": "c"}})).await.expect(422);
    assert_eq!(message(&refused), "Dock.example.com \"d\" is invalid: spec.n: Invalid value: 2: n grows");
}

#[tokio::test]
async fn rules_that_do_not_compile_or_cost_too_much_are_refused_where_they_stand() {
    let server = Server::start().await;
    let admin = server.admin();
    let at = "spec.validation.openAPIV3Schema.properties[spec]";
    for (spec, expected) in [
        (
            json!({"type": "object", "x-kubernetes-validations": [{"rule": "self.foo < 1"}]}),
            format!(
                "{at}.x-kubernetes-validations[0].rule: Invalid value: {{\"Rule\":\"self.foo \\u003c 1\",\"Message\":\"\",\
                 \"MessageExpression\":\"\",\"Reason\":null,\"FieldPath\":\"\",\"OptionalOldSelf\":null}}: compilation failed: \
                 ERROR: <input>:1:5: undefined field 'foo'\n | self.foo < 1\n | ....^"
            ),
        ),
        (
            json!({"type": "object", "x-kubernetes-validations": [{"rule": "1 + 1"}]}),
            "cel expression must evaluate to a bool".into(),
        ),
        (
            json!({"type": "object", "x-kubernetes-validations": [{"rule": "true", "messageExpression": "1"}]}),
            format!("{at}.x-kubernetes-validations[0].messageExpression: Invalid value: "),
        ),
        (
            json!({"type": "array", "items": {"type": "array", "items": {"type": "string"}},
                   "x-kubernetes-validations": [{"rule": "self.all(x, x.all(y, self.exists(z, z == x)))"}]}),
            format!(
                "{at}.x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more than \
                 100x (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and \
                 strings are declared)"
            ),
        ),
        (
            json!({"type": "array", "items": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}}),
            format!(
                "{at}.items.x-kubernetes-validations[0].rule: Invalid value: \"self == oldSelf\": oldSelf cannot be used on \
                 the uncorrelatable portion of the schema within {at}"
            ),
        ),
        (
            json!({"type": "object", "x-kubernetes-validations": [{"rule": "true", "optionalOldSelf": true}]}),
            format!(
                "{at}.x-kubernetes-validations[0].optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used \
                 in rule"
            ),
        ),
        (
            json!({"type": "object", "x-kubernetes-validations": [{"rule": " "}]}),
            format!("{at}.x-kubernetes-validations[0].rule: Required value: rule is not specified"),
        ),
        (
            json!({"type": "object", "x-kubernetes-validations": [{"rule": "true", "fieldPath": ".nowhere", "reason": "Odd"}]}),
            format!(
                "{at}.x-kubernetes-validations[0].fieldPath: Invalid value: \".nowhere\": must be a valid path"
            ),
        ),
    ] {
        let refused = admin.post(DEFINITIONS, &definition(&spec)).await.expect(422);
        assert!(message(&refused).contains(&expected), "{}\n    lacks {expected}", message(&refused));
    }
    assert_eq!(admin.get("/apis/example.com").await.code, 404, "nothing is half installed");
}

#[tokio::test]
async fn an_evaluation_that_costs_too_much_refuses_the_object() {
    let server = Server::start().await;
    let admin = server.admin();
    serve(&admin, &json!({"type": "object", "properties": {
        "list": {"type": "array", "maxItems": 100, "items": {"type": "string", "maxLength": 5},
            "x-kubernetes-validations": [{"rule": "self.all(a, self.all(b, self.all(c, true)))", "message": "never"}]},
        "any": {"type": "string", "x-kubernetes-validations": [{"rule": "self == dyn(1)", "message": "is a number"}]},
    }})).await;
    let list: Vec<String> = (0..100).map(|index| format!("i{index}")).collect();
    admin.post(DOCKS, &dock("d", &json!({"list": list[..9]}))).await.expect(201);
    let refused = admin.post(DOCKS, &dock("d2", &json!({"list": list}))).await.expect(422);
    assert!(message(&refused).contains("call cost exceeds limit for rule"), "{refused}");
    let refused = admin.post(DOCKS, &dock("d2", &json!({"any": "x"}))).await.expect(422);
    assert!(message(&refused).contains("spec.any: Invalid value: \"x\": is a number"), "{refused}");
}
