//! Writes: preconditions, deletion in all its ways, and what is not written.

use serde_json::{Value, json};

use crate::server::{CONFIG_MAPS, Client, PODS, Server, config_map, make_account, names, pod, version};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn deployment(name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    }})
}

#[tokio::test]
async fn a_write_from_an_old_version_or_another_object_is_a_conflict() {
    let server = Server::start().await;
    let admin = server.admin();
    let made = admin.post(CONFIG_MAPS, &config_map("a")).await.expect(201);
    let one = format!("{CONFIG_MAPS}/a");
    let mut newer = made.clone();
    newer["data"]["a"] = "2".into();
    admin.put(&one, &newer).await.expect(200);
    let modified = "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply \
                    your changes to the latest version and try again";
    admin.put(&one, &newer).await.refused(409, "Conflict", modified);
    let patch = json!({"metadata": {"resourceVersion": version(&made)}, "data": {"a": "3"}});
    for sort in ["merge-patch", "strategic-merge-patch"] {
        admin.patch(&one, sort, &patch).await.refused(409, "Conflict", modified);
    }
    newer["metadata"]["resourceVersion"] = "".into();
    newer["metadata"]["uid"] = "other".into();
    let uid = made["metadata"]["uid"].as_str().unwrap();
    let why = format!(
        "Operation cannot be fulfilled on configmaps \"a\": StorageError: invalid object, Code: 4, Key: \
         /registry/configmaps/default/a, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in \
         precondition: other, UID in object meta: {uid}"
    );
    admin.put(&one, &newer).await.refused(409, "Conflict", &why);

    for (preconditions, why) in [
        (
            json!({"uid": "other"}),
            format!(
                "the UID in the precondition (other) does not match the UID in record ({uid}). The object might have been deleted and then recreated"
            ),
        ),
        (
            json!({"uid": uid, "resourceVersion": version(&made)}),
            format!(
                "the ResourceVersion in the precondition ({}) does not match the ResourceVersion in record ({}). The object might have been modified",
                version(&made),
                version(&admin.get(&one).await.expect(200)),
            ),
        ),
    ] {
        let answer = admin.delete_with(&one, &json!({"preconditions": preconditions})).await;
        answer.refused(409, "Conflict", &format!("Operation cannot be fulfilled on ConfigMap \"a\": {why}"));
    }
    admin.delete_with(&one, &json!({"preconditions": {"uid": uid}})).await.expect(200);

    let mut versioned = config_map("b");
    versioned["metadata"]["resourceVersion"] = "5".into();
    let message = "resourceVersion should not be set on objects to be created";
    admin.post(CONFIG_MAPS, &versioned).await.refused(500, "", message);
    let again = admin.post(CONFIG_MAPS, &config_map("c")).await;
    again.expect(201);
    admin.post(CONFIG_MAPS, &config_map("c")).await.refused(
        409,
        "AlreadyExists",
        "configmaps \"c\" already exists",
    );
    let elsewhere = json!({"metadata": {"name": "d", "namespace": "kube-system"}});
    admin.post(CONFIG_MAPS, &elsewhere).await.refused(
        400,
        "BadRequest",
        "the namespace of the provided object does not match the namespace sent on the request",
    );
    admin.put(&format!("{CONFIG_MAPS}/c"), &config_map("x")).await.refused(
        400,
        "BadRequest",
        "the name of the object (x) does not match the name on the URL (c)",
    );
    admin.put(&format!("{CONFIG_MAPS}/nope"), &config_map("nope")).await.refused(
        404,
        "NotFound",
        "configmaps \"nope\" not found",
    );
}

#[tokio::test]
async fn concurrent_patches_are_all_done_and_one_of_concurrent_updates_is() {
    let server = Server::start().await;
    let admin = server.admin();
    let made = admin.post(CONFIG_MAPS, &config_map("a")).await.expect(201);
    let one = format!("{CONFIG_MAPS}/a");
    let patches = (0..6).map(|n| {
        let (admin, one) = (admin.clone(), one.clone());
        tokio::spawn(async move {
            let mut data = serde_json::Map::new();
            data.insert(format!("k{n}"), "v".into());
            admin.patch(&one, "merge-patch", &json!({"data": data})).await.code
        })
    });
    for patch in patches.collect::<Vec<_>>() {
        assert_eq!(patch.await.unwrap(), 200);
    }
    let all = admin.get(&one).await.expect(200);
    assert_eq!(all["data"].as_object().unwrap().len(), 7);
    let updates = (0..6).map(|n| {
        let (admin, one, mut object) = (admin.clone(), one.clone(), all.clone());
        object["data"]["a"] = format!("new-{n}").into();
        tokio::spawn(async move { admin.put(&one, &object).await.code })
    });
    let mut codes = Vec::new();
    for update in updates.collect::<Vec<_>>() {
        codes.push(update.await.unwrap());
    }
    codes.sort_unstable();
    assert_eq!(codes, [200, 409, 409, 409, 409, 409], "from {}", version(&made));
}

#[tokio::test]
async fn what_changes_nothing_is_not_written_and_generations_count_specs() {
    let server = Server::start().await;
    let admin = server.admin();
    let made = admin.post(DEPLOYMENTS, &deployment("d")).await.expect(201);
    let one = format!("{DEPLOYMENTS}/d");
    let same = admin.put(&one, &made).await.expect(200);
    assert_eq!(version(&same), version(&made));
    let same = admin.put(&one, &deployment("d")).await.expect(200);
    assert_eq!(version(&same), version(&made), "defaults make it the same");
    let same = admin.patch(&one, "merge-patch", &json!({"spec": {"replicas": 1}})).await.expect(200);
    assert_eq!(version(&same), version(&made));
    assert_eq!(made["metadata"]["generation"], 1);
    let labelled =
        admin.patch(&one, "merge-patch", &json!({"metadata": {"labels": {"a": "b"}}})).await.expect(200);
    assert_eq!(labelled["metadata"]["generation"], 1);
    assert_ne!(version(&labelled), version(&made));
    let changed = admin.patch(&one, "merge-patch", &json!({"spec": {"replicas": 2}})).await.expect(200);
    assert_eq!(changed["metadata"]["generation"], 2);
    let status = json!({"status": {"replicas": 2}, "spec": {"replicas": 9}});
    let seen = admin.patch(&format!("{one}/status"), "merge-patch", &status).await.expect(200);
    assert_eq!((&seen["metadata"]["generation"], &seen["spec"]["replicas"]), (&json!(2), &json!(2)));
    let kept = json!({"metadata": {"uid": null, "creationTimestamp": null, "generation": 77}});
    let kept = admin.patch(&one, "merge-patch", &kept).await.expect(200);
    assert_eq!(
        (&kept["metadata"]["uid"], &kept["metadata"]["generation"]),
        (&made["metadata"]["uid"], &json!(2))
    );
}

#[tokio::test]
async fn a_dry_run_answers_as_if_and_stores_nothing() {
    let server = Server::start().await;
    let admin = server.admin();
    let made = admin.post(&format!("{DEPLOYMENTS}?dryRun=All"), &deployment("d")).await.expect(201);
    assert_eq!((&made["spec"]["replicas"], made["metadata"]["uid"].is_string()), (&json!(1), true));
    admin.get(&format!("{DEPLOYMENTS}/d")).await.refused(404, "NotFound", "deployments.apps \"d\" not found");
    let made = admin.post(DEPLOYMENTS, &deployment("d")).await.expect(201);
    let one = format!("{DEPLOYMENTS}/d");
    let dry = format!("{one}?dryRun=All");
    let patched = admin.patch(&dry, "merge-patch", &json!({"spec": {"replicas": 5}})).await.expect(200);
    assert_eq!(patched["spec"]["replicas"], 5);
    let mut wrong = made.clone();
    wrong["spec"]["replicas"] = (-1).into();
    assert_eq!(admin.put(&dry, &wrong).await.code, 422);
    assert_eq!(admin.post(&format!("{DEPLOYMENTS}?dryRun=All"), &deployment("d")).await.code, 409);
    admin.delete(&dry).await.expect(200);
    admin.delete_with(&one, &json!({"dryRun": ["All"]})).await.expect(200);
    admin.delete(&format!("{DEPLOYMENTS}?dryRun=All")).await.expect(200);
    assert_eq!(admin.get(&one).await.expect(200), made);
}

#[tokio::test]
async fn generated_names_are_fresh() {
    let server = Server::start().await;
    let admin = server.admin();
    let wish = json!({"metadata": {"generateName": "job-"}});
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let made = admin.post(CONFIG_MAPS, &wish).await.expect(201);
        let name = made["metadata"]["name"].as_str().unwrap().to_owned();
        assert!(name.starts_with("job-") && name.len() == 9, "{name}");
        assert!(seen.insert(name));
    }
    let long = json!({"metadata": {"generateName": "x".repeat(100)}});
    let made = admin.post(CONFIG_MAPS, &long).await.expect(201);
    assert_eq!(made["metadata"]["name"].as_str().unwrap().len(), 63);
}

#[tokio::test]
async fn finalizers_keep_an_object_until_the_last_is_gone() {
    let server = Server::start().await;
    let admin = server.admin();
    let mut object = config_map("a");
    object["metadata"]["finalizers"] = json!(["example.com/a", "example.com/b"]);
    let made = admin.post(CONFIG_MAPS, &object).await.expect(201);
    let one = format!("{CONFIG_MAPS}/a");
    let mut watch = admin.watch(&format!("{CONFIG_MAPS}?watch=1&resourceVersion={}", version(&made))).await;
    let waiting = admin.delete(&one).await.expect(200);
    assert!(waiting["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(waiting["metadata"]["deletionGracePeriodSeconds"], 0);
    let again = admin.delete(&one).await.expect(200);
    assert_eq!(version(&again), version(&waiting), "deleting twice changes nothing");
    let answer = admin.delete_with(&one, &json!({"orphanDependents": false})).await;
    assert_eq!(answer.code, 202, "who asks in the old way is told that it waits");
    let answer = admin.post(CONFIG_MAPS, &config_map("a")).await;
    answer.refused(409, "AlreadyExists", "object is being deleted: configmaps \"a\" already exists");
    let more = json!({"metadata": {"finalizers": ["example.com/a", "example.com/b", "example.com/c"]}});
    let answer = admin.patch(&one, "merge-patch", &more).await;
    let message = answer.expect(422)["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains(
            "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted"
        ),
        "{message}"
    );
    admin
        .patch(&one, "merge-patch", &json!({"metadata": {"finalizers": ["example.com/b"]}}))
        .await
        .expect(200);
    admin.get(&one).await.expect(200);
    admin.patch(&one, "merge-patch", &json!({"metadata": {"finalizers": null}})).await.expect(200);
    assert_eq!(admin.get(&one).await.code, 404);
    let mut kinds = Vec::new();
    while kinds.last().is_none_or(|kind| kind != "DELETED") {
        kinds.push(watch.event().await.0);
    }
    assert_eq!(kinds, ["MODIFIED", "MODIFIED", "DELETED"]);
}

#[tokio::test]
async fn a_pod_has_time_to_end() {
    let server = Server::start().await;
    let admin = server.admin();
    make_account(&admin).await;
    // One that no node runs goes at once.
    admin.post(PODS, &pod("free")).await.expect(201);
    let gone = admin.delete(&format!("{PODS}/free")).await.expect(200);
    assert_eq!(gone["kind"], "Pod", "a pod's delete answers with the pod");
    assert_eq!(admin.get(&format!("{PODS}/free")).await.code, 404);

    let mut bound = pod("p");
    bound["spec"]["nodeName"] = "n".into();
    admin.post(PODS, &bound).await.expect(201);
    let one = format!("{PODS}/p");
    let going = admin.delete(&one).await.expect(200);
    assert_eq!(going["metadata"]["deletionGracePeriodSeconds"], 30);
    let same = admin.delete(&one).await.expect(200);
    assert_eq!(version(&same), version(&going));
    let longer = admin.delete(&format!("{one}?gracePeriodSeconds=60")).await.expect(200);
    assert_eq!(version(&longer), version(&going), "a grace period never grows");
    let shorter = admin.delete_with(&one, &json!({"gracePeriodSeconds": 10})).await.expect(200);
    assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 10);
    let time = |object: &Value| {
        object["metadata"]["deletionTimestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap()
    };
    assert_eq!((time(&going) - time(&shorter)).get_seconds(), 20);
    admin.delete(&format!("{one}?gracePeriodSeconds=0")).await.expect(200);
    assert_eq!(admin.get(&one).await.code, 404);
    let odd = admin.delete(&format!("{one}?gracePeriodSeconds=soon")).await;
    odd.refused(400, "BadRequest", "strconv.ParseInt: parsing \"soon\": invalid syntax");
}

#[tokio::test]
async fn the_client_says_what_becomes_of_what_an_object_owns() {
    let server = Server::start().await;
    let admin = server.admin();
    let finalizers = |options: Value| {
        let admin = admin.clone();
        async move {
            let name = format!("d-{:x}", options.to_string().bytes().map(u64::from).sum::<u64>());
            admin.post(DEPLOYMENTS, &deployment(&name)).await.expect(201);
            let answer = admin.delete_with(&format!("{DEPLOYMENTS}/{name}"), &options).await.expect(200);
            answer["metadata"]["finalizers"].clone()
        }
    };
    assert_eq!(finalizers(json!({"propagationPolicy": "Orphan"})).await, json!(["orphan"]));
    assert_eq!(finalizers(json!({"propagationPolicy": "Foreground"})).await, json!(["foregroundDeletion"]));
    assert_eq!(finalizers(json!({"propagationPolicy": "Background"})).await, Value::Null);
    assert_eq!(finalizers(json!({"orphanDependents": true})).await, json!(["orphan"]));
    assert_eq!(finalizers(json!({})).await, Value::Null);
    for (options, message) in [
        (
            json!({"propagationPolicy": "Slowly"}),
            r#"propagationPolicy: Unsupported value: "Slowly": supported values: "Foreground", "Background", "Orphan", "nil""#,
        ),
        (
            json!({"propagationPolicy": "Orphan", "orphanDependents": true}),
            r#"propagationPolicy: Invalid value: "Orphan": orphanDependents and deletionPropagation cannot be both set"#,
        ),
    ] {
        let answer = admin.delete_with(&format!("{DEPLOYMENTS}/any"), &options).await;
        answer.refused(422, "Invalid", &format!("DeleteOptions.meta.k8s.io \"\" is invalid: {message}"));
    }
    // Jobs of old leave their pods behind unless told otherwise.
    let job = json!({"metadata": {"name": "j"}, "spec": {"template": {"spec": {
        "restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}});
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    admin.post(jobs, &job).await.expect(201);
    let going = admin.delete(&format!("{jobs}/j")).await.expect(200);
    assert_eq!(going["metadata"]["finalizers"], json!(["orphan"]));
}

#[tokio::test]
async fn a_collection_is_deleted_by_selectors() {
    let server = Server::start().await;
    let admin = server.admin();
    for (name, label) in [("a", "1"), ("b", "1"), ("c", "2"), ("d", "2")] {
        let mut object = config_map(name);
        object["metadata"]["labels"] = json!({"x": label});
        admin.post(CONFIG_MAPS, &object).await.expect(201);
    }
    let left = |admin: Client| async move { names(&admin.get(CONFIG_MAPS).await.expect(200)).join("") };
    admin.delete(&format!("{CONFIG_MAPS}?labelSelector=x%3D3")).await.expect(200);
    assert_eq!(left(admin.clone()).await, "abcd");
    let answer = admin.delete(&format!("{CONFIG_MAPS}?labelSelector=x%3D%3D%3D")).await;
    assert_eq!(
        (answer.code, left(admin.clone()).await.as_str()),
        (400, "abcd"),
        "a bad selector deletes nothing"
    );
    admin.delete(&format!("{CONFIG_MAPS}?fieldSelector=metadata.name%3Da")).await.expect(200);
    assert_eq!(left(admin.clone()).await, "bcd");
    let list = admin.delete(&format!("{CONFIG_MAPS}?labelSelector=x%3D2")).await.expect(200);
    assert_eq!((list["kind"].as_str(), names(&list)), (Some("ConfigMapList"), vec!["c", "d"]));
    assert_eq!(left(admin.clone()).await, "b");
    admin.post("/api/v1/namespaces/kube-system/configmaps", &config_map("kept")).await.expect(201);
    admin.delete(CONFIG_MAPS).await.expect(200);
    assert_eq!(left(admin.clone()).await, "");
    admin.get("/api/v1/namespaces/kube-system/configmaps/kept").await.expect(200);
}

#[tokio::test]
async fn some_kinds_are_made_by_an_update_and_some_must_say_from_which_version() {
    let server = Server::start().await;
    let admin = server.admin();
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let lease = json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "me"}});
    let made = admin.put(&format!("{leases}/l"), &lease).await.expect(201);
    admin.put(&format!("{leases}/l"), &lease).await.refused(
        422,
        "Invalid",
        "leases.coordination.k8s.io \"l\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update",
    );
    admin.put(&format!("{leases}/l"), &made).await.expect(200);
    let mut stale = made.clone();
    stale["metadata"]["name"] = "m".into();
    let answer = admin.put(&format!("{leases}/m"), &stale).await;
    assert_eq!(answer.code, 409, "what had an identity is not made anew: {}", answer.text());

    // An update that makes needs the right to create.
    let role = json!({"metadata": {"name": "r"}, "rules": [
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["update"]}]});
    admin.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", &role).await.expect(201);
    let binding = json!({"metadata": {"name": "r"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}]});
    admin.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await.expect(201);
    let jane = server.user("jane", &[]);
    let mut new = lease.clone();
    new["metadata"]["name"] = "n".into();
    let message = r#"leases.coordination.k8s.io "n" is forbidden: User "jane" cannot create resource "leases" in API group "coordination.k8s.io" in the namespace "default""#;
    loop {
        let answer = jane.put(&format!("{leases}/n"), &new).await;
        // The right to update arrives when the binding is seen.
        if answer.code == 403 && answer.text().contains("cannot update") {
            continue;
        }
        answer.refused(403, "Forbidden", message);
        break;
    }
}

#[tokio::test]
async fn warnings_say_what_was_let_pass() {
    let server = Server::start().await;
    let admin = server.admin();
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u"});
    let mut object = config_map("a");
    object["metadata"]["ownerReferences"] = json!([owner, owner]);
    let answer = admin.post(CONFIG_MAPS, &object).await;
    assert!(answer.warnings()[0].contains("duplicate UID(s) observed: u"), "{:?}", answer.warnings());
    assert_eq!(answer.expect(201)["metadata"]["ownerReferences"], json!([owner]));
    // A kind that nothing acts on says so when it is written.
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "1"}}});
    let quotas = "/api/v1/namespaces/default/resourcequotas";
    let registry = skiff_api::builtin::registry();
    let inert = registry.resource("", "v1", "resourcequotas").unwrap().inert;
    let answer = admin.post(quotas, &quota).await;
    let told = answer.warnings().iter().any(|text| text.contains("nothing in this cluster acts on it yet"));
    assert_eq!((answer.code, told), (201, inert), "{:?}", answer.warnings());
}
