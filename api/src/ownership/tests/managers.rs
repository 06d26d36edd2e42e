//! `metadata.managedFields`, read, written, capped, and moved between an object and its Scale.

use serde_json::{Value, json};

use super::apply::{NOW, kind, track};
use crate::ownership::{Element, Managed, Replicas, Reset, Set, is_reset, reset, same_but_times};

fn entry(manager: &str, operation: &str, version: &str, subresource: &str, fields: Value) -> Value {
    let mut entry = json!({"manager": manager, "operation": operation, "apiVersion": version,
        "fieldsType": "FieldsV1", "fieldsV1": fields});
    if !subresource.is_empty() {
        entry["subresource"] = subresource.into();
    }
    entry
}

#[test]
fn entries_that_cannot_be_read_are_refused_in_upstreams_words() {
    let check = |change: Value, why: &str| {
        let mut bad = entry("m", "Apply", "v1", "", json!({}));
        for (key, value) in change.as_object().unwrap() {
            bad[key] = value.clone();
        }
        assert_eq!(Managed::read(&json!([bad])).unwrap_err(), why, "{change}");
    };
    check(json!({"operation": ""}), "operation must be `Apply` or `Update`");
    check(json!({"operation": "Steal"}), "operation must be `Apply` or `Update`");
    check(json!({"apiVersion": ""}), "apiVersion must not be empty");
    check(json!({"fieldsType": ""}), "missing fieldsType in managed fields entry 0");
    check(json!({"fieldsType": "V2"}), "invalid fieldsType \"V2\" in managed fields entry 0");
    let bad = json!([entry("m", "Apply", "v1", "", json!({"f": {}}))]);
    assert!(Managed::read(&bad).unwrap_err().ends_with("error decoding set: key must be 2 characters long:"));
}

#[test]
fn entries_stand_by_operation_time_and_name() {
    let mut entries = vec![
        entry("a", "Apply", "v1", "", json!({"f:a": {}})),
        entry("z", "Apply", "v1", "", json!({"f:a": {}})),
        entry("d", "Update", "v1", "", json!({"f:a": {}})),
        entry("d", "Update", "v2", "", json!({"f:a": {}})),
        entry("d", "Update", "v2", "status", json!({"f:a": {}})),
        entry("b", "Update", "v1", "", json!({"f:a": {}})),
    ];
    entries[5]["time"] = NOW.into();
    let sorted = Value::Array(entries.clone());
    entries.reverse();
    assert_eq!(Managed::read(&Value::Array(entries)).unwrap().write(), sorted);
    assert_eq!(Managed::default().write(), Value::Null);
}

#[test]
fn a_new_start_is_asked_for_by_nothing_or_one_empty_entry() {
    for (entries, asked) in [
        (json!([]), true),
        (json!([{}]), true),
        (Value::Null, false),
        (json!([{}, {}]), false),
        (json!([entry("a", "Apply", "v1", "", json!({}))]), false),
    ] {
        assert_eq!(is_reset(&entries), asked, "{entries}");
    }
    let one = json!([entry("a", "Apply", "v1", "", json!({"f:a": {}}))]);
    let mut later = one.clone();
    later[0]["time"] = NOW.into();
    assert!(same_but_times(&one, &later) && same_but_times(&later, &one));
    later[0]["fieldsV1"] = json!({"f:b": {}});
    assert!(!same_but_times(&one, &later) && !same_but_times(&one, &json!([])));
}

#[test]
fn of_more_than_ten_updaters_the_oldest_become_one() {
    let maps = kind("", "configmaps");
    let mut live = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"uid": "u"}, "data": {}});
    let mut entries = Vec::new();
    for number in 0..10 {
        let mut entry =
            entry(&format!("m{number}"), "Update", "v1", "", json!({"f:data": {format!("f:{number}"): {}}}));
        entry["time"] = format!("2026-01-01T00:00:{number:02}Z").into();
        entries.push(entry);
        live["data"][number.to_string()] = "x".into();
    }
    live["metadata"]["managedFields"] = entries.into();
    let mut new = live.clone();
    new["data"]["new"] = "x".into();
    track(&maps, |tracker| tracker.update(&live, &mut new, "m10", false));
    let entries = new["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(entries.len(), 10);
    let ancient = json!({"f:data": {"f:0": {}, "f:1": {}}});
    assert_eq!((&entries[0]["manager"], &entries[0]["fieldsV1"]), (&json!("ancient-changes"), &ancient));
    assert_eq!((&entries[9]["manager"], &entries[9]["time"]), (&json!("m10"), &json!(NOW)));
}

#[test]
fn entries_of_versions_that_are_gone_are_dropped() {
    let maps = kind("", "configmaps");
    let live = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1", "b": "1"}, "metadata": {"uid": "u",
        "managedFields": [entry("old", "Apply", "v0", "", json!({"f:data": {"f:a": {}}})),
            entry("now", "Apply", "v1", "", json!({"f:data": {"f:b": {}}}))]}});
    let mut new = live.clone();
    new["data"]["c"] = "1".into();
    track(&maps, |tracker| tracker.update(&live, &mut new, "m", false));
    let names: Vec<&str> = new["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|entry| entry["manager"].as_str())
        .collect();
    assert_eq!(names, ["now", "m"]);
}

#[test]
fn what_has_become_a_whole_is_owned_as_a_whole() {
    // As an old server wrote it, when a selector was owned key by key.
    let services = kind("", "services");
    let parts = json!({"f:spec": {"f:selector": {"f:app": {}, "f:tier": {}}, "f:type": {}}});
    let live = json!({"apiVersion": "v1", "kind": "Service", "spec": {"selector": {"app": "a", "tier": "b"},
        "type": "ClusterIP"}, "metadata": {"uid": "u", "managedFields": [entry("m", "Apply", "v1", "", parts)]}});
    let mut new = live.clone();
    new["spec"]["type"] = "NodePort".into();
    track(&services, |tracker| tracker.update(&live, &mut new, "other", false));
    assert_eq!(new["metadata"]["managedFields"][0]["fieldsV1"], json!({"f:spec": {"f:selector": {}}}));
}

#[test]
fn a_scale_shows_and_moves_the_owners_of_replicas() {
    let path = [Element::field("spec"), Element::field("replicas")];
    let known = |version: &str| version == "apps/v1";
    let replicas = Replicas { path: &path, known: &known };
    let all = json!({"f:spec": {"f:replicas": {}, "f:selector": {}}});
    let rest = json!({"f:spec": {"f:selector": {}}});
    let only = json!({"f:spec": {"f:replicas": {}}});
    let (apps, scale) = ("apps/v1", "autoscaling/v1");

    // Shown: who owns the replicas, in the Scale's version.
    let parent = json!([
        entry("a", "Apply", apps, "", all.clone()),
        entry("b", "Apply", apps, "", rest.clone()),
        entry("c", "Apply", "apps/v0", "", all.clone()),
        entry("d", "Update", apps, "scale", only.clone()),
    ]);
    let shown = json!([
        entry("a", "Apply", scale, "", only.clone()),
        entry("d", "Update", scale, "scale", only.clone())
    ]);
    assert_eq!(replicas.to_scale(&parent).unwrap(), shown);

    // Moved: from the object's entries and the Scale's after a write.
    let check = |parent: Value, written: Value, expected: Value| {
        assert_eq!(replicas.to_parent(&parent, &written, apps).unwrap(), expected, "{parent} {written}");
    };
    let parent = |operation: &str| json!([entry("test", operation, apps, "", all.clone())]);
    let left = |operation: &str| entry("test", operation, apps, "", rest.clone());
    let by = |operation: &str| json!([entry("scale", operation, scale, "scale", only.clone())]);
    let moved = |operation: &str| entry("scale", operation, apps, "scale", only.clone());
    check(parent("Apply"), by("Update"), json!([left("Apply"), moved("Update")]));
    check(parent("Apply"), by("Apply"), json!([moved("Apply"), left("Apply")]));
    check(parent("Update"), by("Update"), json!([moved("Update"), left("Update")]));
    check(parent("Update"), by("Apply"), json!([moved("Apply"), left("Update")]));
    // Nothing moved: whoever is still there keeps them, in whatever way it came to them.
    for operation in ["Apply", "Update"] {
        let unmoved = json!([entry("test", operation, scale, "", only.clone())]);
        check(parent(operation), unmoved, parent(operation));
    }
    // Shared by one who applies the same.
    let shared = json!([
        entry("test", "Apply", scale, "", only.clone()),
        entry("test", "Apply", scale, "scale", only.clone())
    ]);
    let both = json!([
        entry("test", "Apply", apps, "", all.clone()),
        entry("test", "Apply", apps, "scale", only.clone())
    ]);
    check(parent("Apply"), shared, both);
    // Who had nothing else is gone; who wrote something else owns nothing.
    check(json!([entry("test", "Apply", apps, "", only.clone())]), by("Update"), json!([moved("Update")]));
    let elsewhere = json!([entry("scale", "Update", scale, "scale", json!({"f:status": {}}))]);
    check(parent("Apply"), elsewhere, json!([left("Apply")]));
    check(json!([entry("old", "Apply", "apps/v0", "", all.clone())]), by("Update"), json!([moved("Update")]));
}

#[test]
fn each_view_leaves_alone_what_it_cannot_change() {
    let all = Set::of_fields(&[
        &["metadata", "labels", "a"],
        &["metadata", "ownerReferences"],
        &["spec", "containers", "c", "resources", "limits"],
        &["spec", "containers", "c", "image"],
        &["spec", "ephemeralContainers", "e"],
        &["status", "conditions"],
        &["status", "certificate"],
    ]);
    let check = |group: &str, plural: &str, subresource: &str, expected: &str| {
        let kept = reset(&kind(group, plural), "v1", subresource).narrow_set(&all);
        assert_eq!(kept.to_string().replace('\n', " "), expected, "{plural}/{subresource}");
    };
    let no_status = ".metadata.ownerReferences .metadata.labels.a .spec.containers.c.image \
                     .spec.containers.c.resources.limits .spec.ephemeralContainers.e";
    let status = ".metadata.ownerReferences .metadata.labels.a .status.certificate .status.conditions";
    check("", "pods", "", no_status);
    check("", "pods", "status", ".metadata.labels.a .status.certificate .status.conditions");
    check("", "pods", "ephemeralcontainers", ".spec.ephemeralContainers.e");
    check("", "pods", "resize", ".spec.containers.c.resources.limits");
    check("apps", "deployments", "", no_status);
    check(
        "apps",
        "deployments",
        "status",
        ".metadata.ownerReferences .status.certificate .status.conditions",
    );
    check("apps", "replicasets", "status", status);
    check("", "configmaps", "", &all.to_string().replace('\n', " "));
    let metadata = ".metadata.ownerReferences .metadata.labels.a";
    let requests = ("certificates.k8s.io", "certificatesigningrequests");
    check(requests.0, requests.1, "", metadata);
    check(requests.0, requests.1, "status", &format!("{metadata} .status.certificate"));
    check(requests.0, requests.1, "approval", &format!("{metadata} .status.conditions"));
    assert_eq!(Reset::NOTHING.narrow_set(&all), all);
}
