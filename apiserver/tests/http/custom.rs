//! Custom kinds: from a definition to objects, and back to nothing.

use std::sync::Arc;

use serde_json::{Value, json};
use skiff_storage::Storage;
use skiff_storage::embedded::{Embedded, Options};

use crate::server::{Client, Server, names};

pub const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const TOWERS: &str = "/apis/example.com/v1/namespaces/default/towers";

fn definition(plural: &str, kind: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.example.com")},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": plural, "kind": kind, "shortNames": ["tw"]},
            "versions": [
                {"name": "v1", "served": true, "storage": true,
                 "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.floors", "statusReplicasPath": ".status.floors"}},
                 "additionalPrinterColumns": [{"name": "Floors", "type": "integer", "jsonPath": ".spec.floors"}],
                 "selectableFields": [{"jsonPath": ".spec.owner"}],
                 "schema": {"openAPIV3Schema": {"type": "object", "description": "A tower.", "properties": {
                    "spec": {"type": "object", "required": ["owner"], "properties": {
                        "floors": {"type": "integer", "default": 3, "minimum": 1, "maximum": 9},
                        "owner": {"type": "string", "description": "Who lives there."},
                    }},
                    "status": {"type": "object", "properties": {"floors": {"type": "integer"}}},
                 }}}},
                {"name": "v1beta1", "served": true, "storage": false,
                 "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}},
            ],
        },
    })
}

fn tower(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Tower", "metadata": {"name": name}, "spec": spec})
}

/// Waits for a condition of a definition, by watching it.
pub async fn condition(admin: &Client, name: &str, wanted: &str, status: &str) -> Value {
    let mut watch =
        admin.watch(&format!("{DEFINITIONS}?watch=true&fieldSelector=metadata.name%3D{name}")).await;
    loop {
        let event = watch.next().await.expect("the watch goes on");
        let conditions = event["object"]["status"]["conditions"].as_array().cloned().unwrap_or_default();
        if let Some(found) =
            conditions.into_iter().find(|one| one["type"] == wanted && one["status"] == status)
        {
            return found;
        }
    }
}

/// Makes a definition and waits until it is served.
pub async fn define(admin: &Client, definition: &Value) {
    let made = admin.post(DEFINITIONS, definition).await.expect(201);
    condition(admin, made["metadata"]["name"].as_str().unwrap(), "Established", "True").await;
}

#[tokio::test]
async fn a_definition_becomes_a_kind_and_goes_with_its_objects() {
    let server = Server::start().await;
    let admin = server.admin();
    admin.post(DEFINITIONS, &definition("towers", "Tower")).await.expect(201);
    condition(&admin, "towers.example.com", "Established", "True").await;

    // Defaults, pruning and the schema's limits.
    let made = admin.post(TOWERS, &tower("a", json!({"owner": "me", "walls": 4}))).await;
    assert_eq!(made.warnings(), ["299 - \"unknown field \\\"spec.walls\\\"\""]);
    let made = made.expect(201);
    assert_eq!(made["spec"], json!({"owner": "me", "floors": 3}));
    assert_eq!(made["metadata"]["generation"], 1);
    let refused = admin.post(TOWERS, &tower("b", json!({"floors": 12}))).await.expect(422);
    assert_eq!(
        refused["message"],
        "Tower.example.com \"b\" is invalid: [spec.owner: Required value, spec.floors: Invalid value: 12: spec.floors in \
         body should be less than or equal to 9]"
    );

    // Subresources, tables, selectors, versions.
    let scale = json!({"spec": {"replicas": 5}});
    let scaled = admin.patch(&format!("{TOWERS}/a/scale"), "merge-patch", &scale).await.expect(200);
    assert_eq!(scaled["spec"]["replicas"], 5);
    let status = json!({"status": {"floors": 2}, "spec": {"owner": "nobody"}});
    let shown = admin.patch(&format!("{TOWERS}/a/status"), "merge-patch", &status).await.expect(200);
    assert_eq!((&shown["status"]["floors"], &shown["spec"]["owner"]), (&json!(2), &json!("me")));
    let table = admin.get_as(TOWERS, "application/json;as=Table;v=v1;g=meta.k8s.io").await.expect(200);
    assert_eq!(table["rows"][0]["cells"], json!(["a", 5]));
    admin.post(TOWERS, &tower("b", json!({"owner": "you"}))).await.expect(201);
    let mine = admin.get(&format!("{TOWERS}?fieldSelector=spec.owner%3Dyou")).await.expect(200);
    assert_eq!(names(&mine), ["b"]);
    let other = admin.get("/apis/example.com/v1beta1/namespaces/default/towers/a").await.expect(200);
    assert_eq!((&other["apiVersion"], &other["spec"]["floors"]), (&json!("example.com/v1beta1"), &json!(5)));

    // It can be found out about.
    let group = admin.get("/apis/example.com").await.expect(200);
    assert_eq!(group["preferredVersion"]["version"], "v1");
    let document = admin.get("/openapi/v3/apis/example.com/v1").await.expect(200);
    let published = &document["components"]["schemas"]["com.example.v1.Tower"];
    assert_eq!(published["properties"]["spec"]["properties"]["owner"]["description"], "Who lives there.");
    assert_eq!(published["x-kubernetes-group-version-kind"][0]["kind"], "Tower");

    // It goes, with its objects, and its watches end.
    let mut watch = admin.watch(&format!("{TOWERS}?watch=true")).await;
    admin.delete(&format!("{DEFINITIONS}/towers.example.com")).await.expect(200);
    let mut gone = Vec::new();
    while let Some(event) = watch.next().await {
        if event["type"] == "DELETED" {
            gone.push(event["object"]["metadata"]["name"].as_str().unwrap().to_owned());
        }
    }
    gone.sort();
    assert_eq!(gone, ["a", "b"]);
    let mut left = admin.watch(&format!("{DEFINITIONS}?watch=true")).await;
    if admin.get(&format!("{DEFINITIONS}/towers.example.com")).await.code == 200 {
        while left.next().await.expect("the watch goes on")["type"] != "DELETED" {}
    }
    assert_eq!(admin.get("/apis/example.com").await.code, 404);
}

#[tokio::test]
async fn a_changed_schema_holds_for_what_is_there() {
    let server = Server::start().await;
    let admin = server.admin();
    admin.post(DEFINITIONS, &definition("towers", "Tower")).await.expect(201);
    condition(&admin, "towers.example.com", "Established", "True").await;
    admin.post(TOWERS, &tower("a", json!({"owner": "me"}))).await.expect(201);
    let mut watch = admin.watch(&format!("{TOWERS}?watch=true")).await;
    let properties = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    let patch = json!([{"op": "add", "path": format!("{properties}/colour"), "value": {"type": "string", "default": "red"}}]);
    admin.patch(&format!("{DEFINITIONS}/towers.example.com"), "json-patch", &patch).await.expect(200);
    // Who watches is cut off and looks again.
    while watch.next().await.is_some() {}
    let shown = admin.get(&format!("{TOWERS}/a")).await.expect(200);
    assert_eq!(shown["spec"]["colour"], "red", "defaults hold for what was stored before");
    assert_eq!(shown["metadata"]["generation"], 1);
}

#[tokio::test]
async fn definitions_that_come_together_are_not_given_one_name() {
    let server = Server::start().await;
    let admin = server.admin();
    let (towers, spires) = (definition("towers", "Tower"), definition("spires", "Tower"));
    let (first, second) = tokio::join!(admin.post(DEFINITIONS, &towers), admin.post(DEFINITIONS, &spires));
    first.expect(201);
    second.expect(201);
    let mut accepted = Vec::new();
    for name in ["towers.example.com", "spires.example.com"] {
        let mut watch =
            admin.watch(&format!("{DEFINITIONS}?watch=true&fieldSelector=metadata.name%3D{name}")).await;
        loop {
            let event = watch.next().await.expect("the watch goes on");
            let conditions = event["object"]["status"]["conditions"].as_array().cloned().unwrap_or_default();
            if let Some(found) = conditions.iter().find(|one| one["type"] == "NamesAccepted") {
                accepted.push(found["status"] == "True");
                break;
            }
        }
    }
    accepted.sort();
    assert_eq!(accepted, [false, true]);
}

#[tokio::test]
async fn a_name_is_given_once_in_a_group() {
    let server = Server::start().await;
    let admin = server.admin();
    admin.post(DEFINITIONS, &definition("towers", "Tower")).await.expect(201);
    condition(&admin, "towers.example.com", "Established", "True").await;
    admin.post(DEFINITIONS, &definition("spires", "Tower")).await.expect(201);
    let refused = condition(&admin, "spires.example.com", "NamesAccepted", "False").await;
    assert_eq!(refused["message"], "\"TowerList\" is already in use");
    admin.delete(&format!("{DEFINITIONS}/towers.example.com")).await.expect(200);
    condition(&admin, "spires.example.com", "Established", "True").await;
}

#[tokio::test]
async fn servers_on_one_store_agree_on_what_is_defined() {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Storage> = Arc::new(Embedded::open(dir.path(), Options::default()).unwrap());
    let first = Server::on(store.clone(), "", |_| {}).await;
    let early = Server::on(store.clone(), "", |_| {}).await;
    let admin = first.admin();
    admin.post(DEFINITIONS, &definition("towers", "Tower")).await.expect(201);
    condition(&admin, "towers.example.com", "Established", "True").await;
    admin.post(TOWERS, &tower("a", json!({"owner": "me"}))).await.expect(201);
    // One that starts later reads it from the store; one that was there learns of it.
    let late = Server::on(store, "", |_| {}).await;
    assert_eq!(late.admin().get(&format!("{TOWERS}/a")).await.expect(200)["spec"]["owner"], "me");
    condition(&early.admin(), "towers.example.com", "Established", "True").await;
    let learnt = async {
        while early.admin().get(&format!("{TOWERS}/a")).await.code != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), learnt)
        .await
        .expect("the other server learns of it");
}

#[tokio::test]
async fn bad_definitions_are_refused_and_nothing_is_half_installed() {
    let server = Server::start().await;
    let admin = server.admin();
    let mut bad = definition("towers", "Tower");
    bad["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["floors"] =
        json!({});
    let refused = admin.post(DEFINITIONS, &bad).await.expect(422);
    assert_eq!(
        refused["details"]["causes"][0]["field"],
        "spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[floors].type"
    );
    assert_eq!(admin.get("/apis/example.com").await.code, 404);
}

#[tokio::test]
async fn a_definition_is_taken_in_protobuf_and_held_to_the_structure_of_schemas() {
    let server = Server::start().await;
    let admin = server.admin();
    let protobuf = "application/vnd.kubernetes.protobuf";
    let mut given = definition("towers", "Tower");
    let schema = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    let rooms = json!({"type": "object", "additionalProperties": {"type": "array", "maxItems": 3,
        "items": {"type": "string", "enum": ["hall", "attic"], "default": "hall"}}});
    given.pointer_mut(schema).unwrap()["rooms"] = rooms.clone();
    let body = skiff_api::protobuf::encode(&given).unwrap();
    let headers = [("content-type", protobuf), ("accept", protobuf)];
    let made = admin.send("POST", DEFINITIONS, &headers, body).await;
    assert_eq!((made.code, made.header("content-type")), (201, protobuf));
    let made = skiff_api::protobuf::stored(&made.body).unwrap().expect("an object");
    assert_eq!(made.pointer(schema).unwrap()["rooms"], rooms);
    let shown = admin.get(&format!("{DEFINITIONS}/towers.example.com")).await.expect(200);
    assert_eq!(shown["spec"], made["spec"]);
    condition(&admin, "towers.example.com", "Established", "True").await;
    let made = admin.post(TOWERS, &tower("a", json!({"owner": "me", "rooms": {"up": ["attic"]}}))).await;
    assert_eq!(made.expect(201)["spec"]["rooms"]["up"][0], "attic");

    // What upstream reads in one piece is told; what it reads apart is dropped and not told.
    let mut given = definition("houses", "House");
    given.pointer_mut(schema).unwrap()["owner"]["minLenght"] = 1.into();
    given.pointer_mut(schema).unwrap()["walls"] =
        json!({"type": "array", "items": {"type": "string", "colour": "red"}});
    let refused = admin.post(&format!("{DEFINITIONS}?fieldValidation=Strict"), &given).await.expect(400);
    assert_eq!(
        refused["message"],
        "CustomResourceDefinition in version \"v1\" cannot be handled as a CustomResourceDefinition: strict \
         decoding error: unknown field \"spec.versions[0].schema.openAPIV3Schema.properties.spec.properties.owner.minLenght\""
    );
    let made = admin.post(DEFINITIONS, &given).await.expect(201);
    let made = made.pointer(schema).unwrap();
    assert_eq!((made["owner"].get("minLenght"), made["walls"]["items"].get("colour")), (None, None));
}
