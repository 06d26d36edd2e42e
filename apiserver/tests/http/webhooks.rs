//! Admission webhooks that answer as they should: who is asked, with what, and what becomes of it.

use serde_json::{Value, json};

use crate::hook::{Act, Hook, allowed, patched};
use crate::server::{CONFIG_MAPS, Client, PODS, Server, config_map, make_account, pod};

pub const REGISTRATION: &str = "/apis/admissionregistration.k8s.io/v1";

/// Which writes of which resources.
pub fn rule(operations: &[&str], group: &str, resources: &[&str]) -> Value {
    json!({"operations": operations, "apiGroups": [group], "apiVersions": ["*"], "resources": resources})
}

/// A webhook.
pub fn webhook(name: &str, client: Value, rule: Value) -> Value {
    json!({"name": format!("{name}.example.com"), "clientConfig": client, "rules": [rule],
        "sideEffects": "None", "admissionReviewVersions": ["v1"]})
}

/// Makes a configuration of one webhook; from then on it counts.
pub async fn configure(admin: &Client, sort: &str, name: &str, webhooks: &[Value]) {
    let configuration = json!({"metadata": {"name": name}, "webhooks": webhooks});
    let path = format!("{REGISTRATION}/{sort}webhookconfigurations");
    admin.post(&path, &configuration).await.expect(201);
    // A read is answered when the server knows all that was written before.
    admin.get(&format!("{path}/{name}")).await.expect(200);
}

#[tokio::test]
async fn mutating_webhooks_change_what_is_written_in_the_order_of_their_names() {
    let server = Server::start().await;
    let admin = server.admin();
    let second = Hook::serve(&["127.0.0.1"], |asked| {
        let seen = asked.body["request"]["object"]["data"]["first"].clone();
        patched(&json!([{"op": "add", "path": "/data/second", "value": format!("after {seen}")}]))
    })
    .await;
    let first = Hook::serve(&["127.0.0.1"], |_| {
        let Act::Review(mut response) = patched(&json!([
            {"op": "add", "path": "/data/first", "value": "1"},
            {"op": "add", "path": "/unknown", "value": "x"},
            {"op": "replace", "path": "/metadata/uid", "value": "mine"},
        ])) else {
            unreachable!()
        };
        response["warnings"] = json!(["mind the gap"]);
        Act::Review(response)
    })
    .await;
    let rules = || rule(&["CREATE"], "", &["configmaps"]);
    configure(&admin, "mutating", "b", &[webhook("second", second.client("/b"), rules())]).await;
    configure(&admin, "mutating", "a", &[webhook("first", first.client("/a"), rules())]).await;

    let made = admin.post(&format!("{CONFIG_MAPS}?fieldManager=me"), &config_map("c")).await;
    assert_eq!(made.warnings(), ["299 - \"mind the gap\""]);
    let made = made.expect(201);
    assert_eq!(made["data"], json!({"a": "1", "first": "1", "second": "after \"1\""}));
    assert!(made.get("unknown").is_none() && made["metadata"]["uid"] != "mine");
    let owned = &made["metadata"]["managedFields"][0];
    assert_eq!(
        (&owned["manager"], &owned["fieldsV1"]["f:data"]),
        (&json!("me"), &json!({".": {}, "f:a": {}}))
    );

    let asked = first.asked().pop().unwrap();
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("POST", "/a?timeout=10s"));
    assert_eq!(asked.headers["user-agent"], "kube-apiserver-admission");
    let mut request = asked.body["request"].clone();
    assert_eq!(asked.body["apiVersion"], "admission.k8s.io/v1");
    assert!(request["uid"].as_str().unwrap().len() == 36);
    let object = request["object"].take();
    assert_eq!((&object["kind"], &object["apiVersion"]), (&json!("ConfigMap"), &json!("v1")));
    request["uid"].take();
    request["userInfo"].as_object_mut().unwrap().remove("extra").expect("the credentials' id");
    let gvk = json!({"group": "", "version": "v1", "kind": "ConfigMap"});
    let gvr = json!({"group": "", "version": "v1", "resource": "configmaps"});
    assert_eq!(
        request,
        json!({
            "uid": null, "object": null, "oldObject": null, "kind": gvk, "resource": gvr, "requestKind": gvk,
            "requestResource": gvr, "name": "c", "namespace": "default", "operation": "CREATE", "dryRun": false,
            "userInfo": {"username": "admin", "groups": ["system:masters", "system:authenticated"]},
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "me"},
        })
    );

    // Connections are used again.
    for index in 0..5 {
        admin.post(CONFIG_MAPS, &config_map(&format!("again-{index}"))).await.expect(201);
    }
    assert_eq!(first.connections(), 1);
}

#[tokio::test]
async fn who_missed_a_change_is_asked_again_if_it_wants_to() {
    let server = Server::start().await;
    let admin = server.admin();
    let counting = || {
        Hook::serve(&["127.0.0.1"], |asked| {
            let object = &asked.body["request"]["object"];
            let times: usize = object["data"]["times"].as_str().map_or(0, |text| text.parse().unwrap());
            let op = if times == 0 { "add" } else { "replace" };
            patched(&json!([{"op": op, "path": "/data/times", "value": (times + 1).to_string()}]))
        })
    };
    let (eager, once) = (counting().await, counting().await);
    let rules = || rule(&["CREATE"], "", &["configmaps"]);
    let mut again = webhook("eager", eager.client("/"), rules());
    again["reinvocationPolicy"] = "IfNeeded".into();
    configure(&admin, "mutating", "a", &[again, webhook("once", once.client("/"), rules())]).await;
    let made = admin.post(CONFIG_MAPS, &config_map("c")).await.expect(201);
    assert_eq!(made["data"]["times"], "3", "twice by the first, once by the second");
    assert_eq!((eager.reviews().len(), once.reviews().len()), (2, 1));
}

#[tokio::test]
async fn validating_webhooks_are_asked_at_once_and_each_may_refuse() {
    let server = Server::start().await;
    let admin = server.admin();
    // Neither answers before both were asked.
    let both = std::sync::Arc::new(tokio::sync::Barrier::new(2));
    let waiting = |answer: fn() -> Act| {
        let both = both.clone();
        Hook::serve_later(&["127.0.0.1"], move |asked| {
            let both = both.clone();
            async move {
                if asked.body["request"]["name"] == "c" {
                    both.wait().await;
                }
                answer()
            }
        })
    };
    let lenient = waiting(allowed).await;
    let strict = waiting(|| {
        Act::Review(
            json!({"allowed": false, "status": {"code": 418, "message": "I am a teapot", "reason": "Tea",
            "details": {"causes": [{"message": "tea"}]}}}),
        )
    })
    .await;
    let rules = || rule(&["CREATE", "UPDATE", "DELETE"], "", &["configmaps"]);
    let mut hooks =
        [webhook("lenient", lenient.client("/"), rules()), webhook("strict", strict.client("/"), rules())];
    hooks[1]["objectSelector"] = json!({"matchLabels": {"tea": "yes"}});
    hooks[0]["objectSelector"] = json!({"matchLabels": {"tea": "yes"}});
    configure(&admin, "validating", "v", &hooks).await;
    let mut tea = config_map("c");
    tea["metadata"]["labels"] = json!({"tea": "yes"});
    let refused = admin.post(CONFIG_MAPS, &tea).await;
    let message = "admission webhook \"strict.example.com\" denied the request: I am a teapot";
    refused.refused(418, "Tea", message);
    assert_eq!(refused.json()["details"]["causes"][0]["message"], "tea");
    assert_eq!(admin.get(&format!("{CONFIG_MAPS}/c")).await.code, 404);

    // What loses its label was selected before it did; deletions show what goes.
    admin.post(CONFIG_MAPS, &config_map("d")).await.expect(201);
    assert_eq!(strict.reviews().len(), 1);
    let label = |value: Value| json!({"metadata": {"labels": {"tea": value}}});
    let path = format!("{CONFIG_MAPS}/d");
    let labelled = admin.patch(&path, "merge-patch", &label(json!("yes"))).await;
    labelled.refused(418, "Tea", message);
    let update = strict.reviews().pop().unwrap();
    assert_eq!(
        (&update["operation"], &update["options"]["kind"]),
        (&json!("UPDATE"), &json!("UpdateOptions"))
    );
    assert!(update["oldObject"]["metadata"].get("labels").is_none());
    assert_eq!(admin.delete(&path).await.code, 200, "it has no label");
}

#[tokio::test]
async fn deletions_show_what_goes_and_dry_runs_need_webhooks_without_side_effects() {
    let server = Server::start().await;
    let admin = server.admin();
    let hook = Hook::serve(&["127.0.0.1"], |_| allowed()).await;
    let rules = rule(&["DELETE"], "", &["configmaps"]);
    configure(&admin, "validating", "v", &[webhook("w", hook.client("/"), rules)]).await;
    for name in ["a", "b", "c"] {
        admin.post(CONFIG_MAPS, &config_map(name)).await.expect(201);
    }
    admin.delete_with(&format!("{CONFIG_MAPS}/a?dryRun=All"), &json!({})).await.expect(200);
    let asked = hook.reviews().pop().unwrap();
    assert_eq!(
        (&asked["dryRun"], &asked["object"], &asked["name"]),
        (&json!(true), &Value::Null, &json!("a"))
    );
    assert_eq!(asked["oldObject"]["metadata"]["name"], "a");
    admin
        .delete_with(&format!("{CONFIG_MAPS}/a"), &json!({"propagationPolicy": "Background"}))
        .await
        .expect(200);
    let asked = hook.reviews().pop().unwrap();
    let options =
        json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1", "propagationPolicy": "Background"});
    assert_eq!((&asked["dryRun"], &asked["options"]), (&json!(false), &options));
    hook.forget();
    admin.delete(CONFIG_MAPS).await.expect(200);
    let mut gone: Vec<String> = Vec::new();
    for asked in hook.reviews() {
        assert!(asked.get("name").is_none(), "a deletion of many names none");
        gone.push(asked["oldObject"]["metadata"]["name"].as_str().unwrap().into());
    }
    gone.sort();
    assert_eq!(gone, ["b", "c"]);

    // A configuration with side effects is refused.
    let mut effects = webhook("e", hook.client("/"), rule(&["CREATE"], "", &["configmaps"]));
    effects["sideEffects"] = "Some".into();
    let refused = json!({"metadata": {"name": "e"}, "webhooks": [effects]});
    let refused =
        admin.post(&format!("{REGISTRATION}/validatingwebhookconfigurations"), &refused).await.expect(422);
    assert_eq!(
        refused["message"],
        "ValidatingWebhookConfiguration.admissionregistration.k8s.io \"e\" is invalid: webhooks[0].sideEffects: Unsupported \
         value: \"Some\": supported values: \"None\", \"NoneOnDryRun\""
    );
}

#[tokio::test]
async fn namespaces_are_selected_by_their_labels_and_configurations_are_never_asked_about() {
    let server = Server::start().await;
    let admin = server.admin();
    let hook = Hook::serve(&["127.0.0.1"], |_| Act::Review(json!({"allowed": false}))).await;
    let mut all = webhook(
        "all",
        hook.client("/"),
        json!({
            "operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"],
        }),
    );
    all["namespaceSelector"] = json!({"matchExpressions": [{"key": "free", "operator": "DoesNotExist"}]});
    configure(&admin, "validating", "all", &[all.clone()]).await;
    let denied = "admission webhook \"all.example.com\" denied the request without explanation";
    admin.post(CONFIG_MAPS, &config_map("c")).await.refused(400, "", denied);
    admin.post("/api/v1/namespaces", &json!({"metadata": {"name": "n"}})).await.refused(400, "", denied);
    // The server itself writes too: of its flows' statuses, say.
    let asked =
        hook.reviews().into_iter().find(|asked| asked["resource"]["resource"] == "namespaces").unwrap();
    assert_eq!((&asked["name"], &asked["namespace"]), (&json!("n"), &json!("n")));
    let free = json!({"metadata": {"name": "n", "labels": {"free": ""}}});
    admin.post("/api/v1/namespaces", &free).await.expect(201);
    admin.post("/api/v1/namespaces/n/configmaps", &config_map("c")).await.expect(201);
    // What is the cluster's is never exempt.
    let role = json!({"metadata": {"name": "r"}, "rules": []});
    admin.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", &role).await.refused(400, "", denied);
    // But whoever locked himself out gets in again.
    let path = format!("{REGISTRATION}/validatingwebhookconfigurations/all");
    admin.patch(&path, "merge-patch", &json!({"metadata": {"labels": {"a": "b"}}})).await.expect(200);
    admin.delete(&path).await.expect(200);
    admin.get(&path).await.expect(404);
    admin.post(CONFIG_MAPS, &config_map("c")).await.expect(201);
}

#[tokio::test]
async fn subresources_and_streams_are_asked_about_in_their_own_kinds() {
    let server = Server::start().await;
    let admin = server.admin();
    make_account(&admin).await;
    admin.post(PODS, &pod("p")).await.expect(201);
    let replica_sets = "/apis/apps/v1/namespaces/default/replicasets";
    let set = json!({"metadata": {"name": "r"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
        "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    admin.post(replica_sets, &set).await.expect(201);
    let hook =
        Hook::serve(&["127.0.0.1"], |_| Act::Review(json!({"allowed": false, "status": {"message": "no"}})))
            .await;
    let rules = json!({"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"],
        "resources": ["pods/*", "serviceaccounts/token", "*/scale"]});
    configure(&admin, "validating", "v", &[webhook("w", hook.client("/"), rules)]).await;
    let upgrade = [("connection", "Upgrade"), ("upgrade", "websocket")];
    let account = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let scale = json!({"metadata": {"name": "r", "namespace": "default"}, "spec": {"replicas": 3}});
    let target = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    let status = json!({"status": {"message": "x"}});
    let cases = [
        (
            admin
                .send("GET", &format!("{PODS}/p/exec?command=ls&command=-l&stdout=true"), &upgrade, "")
                .await,
            "CONNECT",
            "PodExecOptions",
            "exec",
        ),
        (
            admin.send("GET", &format!("{PODS}/p/attach?stdin=true&tty=true"), &upgrade, "").await,
            "CONNECT",
            "PodAttachOptions",
            "attach",
        ),
        (
            admin.send("POST", &format!("{PODS}/p/portforward?ports=80"), &upgrade, "").await,
            "CONNECT",
            "PodPortForwardOptions",
            "portforward",
        ),
        (admin.get(&format!("{PODS}/p/proxy/a/b")).await, "CONNECT", "PodProxyOptions", "proxy"),
        (admin.post(&format!("{PODS}/p/binding"), &target).await, "CREATE", "Binding", "binding"),
        (
            admin.post(&format!("{PODS}/p/eviction"), &json!({"metadata": {"name": "p"}})).await,
            "CREATE",
            "Eviction",
            "eviction",
        ),
        (admin.patch(&format!("{PODS}/p/status"), "merge-patch", &status).await, "UPDATE", "Pod", "status"),
        (admin.post(account, &json!({"spec": {"audiences": []}})).await, "CREATE", "TokenRequest", "token"),
        (admin.put(&format!("{replica_sets}/r/scale"), &scale).await, "UPDATE", "Scale", "scale"),
    ];
    // What is refused of what the cache showed is looked at again as the store has it.
    let mut asked = hook.reviews();
    asked.dedup_by_key(|asked| asked["subResource"].clone());
    for ((answer, operation, kind, sub), asked) in cases.iter().zip(asked) {
        answer.refused(400, "", "admission webhook \"w.example.com\" denied the request: no");
        let shown = [&asked["operation"], &asked["kind"]["kind"], &asked["subResource"]];
        assert_eq!(shown, [&json!(operation), &json!(kind), &json!(sub)]);
    }
    let reviews = hook.reviews();
    let options =
        |kind: &str| reviews.iter().find(|asked| asked["kind"]["kind"] == kind).unwrap()["object"].clone();
    assert_eq!(
        options("PodExecOptions"),
        json!({"kind": "PodExecOptions", "apiVersion": "v1", "stdout": true, "command": ["ls", "-l"]})
    );
    assert_eq!(options("PodProxyOptions")["path"], "a/b");
    let scaled = reviews.iter().rev().find(|asked| asked["kind"]["kind"] == "Scale").unwrap();
    assert_eq!(scaled["kind"], json!({"group": "autoscaling", "version": "v1", "kind": "Scale"}));
    assert_eq!(
        (&scaled["object"]["spec"]["replicas"], &scaled["oldObject"]["spec"]["replicas"]),
        (&json!(3), &json!(1))
    );
    let eviction = reviews.iter().find(|asked| asked["subResource"] == "eviction").unwrap();
    assert_eq!(eviction["kind"]["group"], "policy");
}

#[tokio::test]
async fn a_service_leads_to_its_ready_endpoints_and_its_name_must_be_in_the_certificate() {
    let server = Server::start().await;
    let admin = server.admin();
    let hook = Hook::serve(&["hooks.default.svc"], |_| allowed()).await;
    let client =
        json!({"service": {"namespace": "default", "name": "hooks", "path": "/x"}, "caBundle": hook.bundle});
    let rules = rule(&["CREATE"], "", &["configmaps"]);
    configure(&admin, "validating", "v", &[webhook("w", client, rules)]).await;
    let failed = |why: &str| {
        format!(
            "Internal error occurred: failed calling webhook \"w.example.com\": failed to call webhook: Post \"https://hooks.default.svc:443/x?timeout=10s\": {why}"
        )
    };
    admin.post(CONFIG_MAPS, &config_map("c")).await.refused(
        500,
        "InternalError",
        &failed("service \"hooks\" not found"),
    );
    let service =
        json!({"metadata": {"name": "hooks"}, "spec": {"ports": [{"port": 443, "targetPort": hook.port}]}});
    admin.post("/api/v1/namespaces/default/services", &service).await.expect(201);
    admin.post(CONFIG_MAPS, &config_map("c")).await.refused(
        500,
        "InternalError",
        &failed("no endpoints available for service \"hooks\""),
    );
    let slice = json!({"metadata": {"name": "hooks-1", "labels": {"kubernetes.io/service-name": "hooks"}},
        "addressType": "IPv4", "ports": [{"name": "", "port": hook.port, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": true}}]});
    admin.post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", &slice).await.expect(201);
    admin.get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/hooks-1").await.expect(200);
    admin.post(CONFIG_MAPS, &config_map("c")).await.expect(201);
    assert_eq!(hook.asked().pop().unwrap().headers["host"], "hooks.default.svc:443");
}

#[tokio::test]
async fn a_webhook_sees_the_version_that_its_rules_name() {
    let server = Server::start().await;
    let admin = server.admin();
    let version = |name: &str, storage: bool| {
        json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": {
            "type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
    };
    let definition = json!({"metadata": {"name": "towers.example.com"}, "spec": {
        "group": "example.com", "scope": "Namespaced", "names": {"plural": "towers", "kind": "Tower"},
        "versions": [version("v1", true), version("v1beta1", false)]}});
    crate::custom::define(&admin, &definition).await;
    let hook =
        Hook::serve(&["127.0.0.1"], |_| patched(&json!([{"op": "add", "path": "/seen", "value": "yes"}])))
            .await;
    let rules = json!({"operations": ["CREATE"], "apiGroups": ["example.com"], "apiVersions": ["v1beta1"], "resources": ["towers"]});
    let mut exact = webhook("exact", hook.client("/exact"), rules.clone());
    exact["matchPolicy"] = "Exact".into();
    configure(&admin, "mutating", "m", &[exact, webhook("equivalent", hook.client("/equivalent"), rules)])
        .await;
    let tower = json!({"apiVersion": "example.com/v1", "kind": "Tower", "metadata": {"name": "a"}});
    let made = admin.post("/apis/example.com/v1/namespaces/default/towers", &tower).await.expect(201);
    assert_eq!((&made["apiVersion"], &made["seen"]), (&json!("example.com/v1"), &json!("yes")));
    let [asked] = hook.asked().try_into().expect("only who takes equivalents is asked");
    assert_eq!(asked.path, "/equivalent?timeout=10s");
    let request = &asked.body["request"];
    assert_eq!(request["object"]["apiVersion"], "example.com/v1beta1");
    assert_eq!(
        (&request["kind"]["version"], &request["requestKind"]["version"]),
        (&json!("v1beta1"), &json!("v1"))
    );
}

#[tokio::test]
async fn conditions_decide_before_a_webhook_is_asked() {
    let server = Server::start().await;
    let admin = server.admin();
    let hook = Hook::serve(&["127.0.0.1"], |_| Act::Review(json!({"allowed": false}))).await;
    let conditions = |list: &[(&str, &str)]| -> Value {
        list.iter().map(|(name, expression)| json!({"name": name, "expression": expression})).collect()
    };
    let mut one = webhook("w", hook.client("/"), rule(&["CREATE"], "", &["configmaps"]));
    one["matchConditions"] = conditions(&[
        ("named", "object.metadata.name.startsWith('asked')"),
        ("not-jane", "request.userInfo.username != 'jane'"),
        (
            "no-breakglass",
            "!authorizer.requestResource.check('breakglass').allowed() || request.userInfo.username == 'admin'",
        ),
    ]);
    configure(&admin, "validating", "v", &[one.clone()]).await;
    admin.post(CONFIG_MAPS, &config_map("free")).await.expect(201);
    let denied = "admission webhook \"w.example.com\" denied the request without explanation";
    admin.post(CONFIG_MAPS, &config_map("asked")).await.refused(400, "", denied);
    let jane = server.user("jane", &["system:masters"]);
    jane.post(CONFIG_MAPS, &config_map("asked-by-jane")).await.expect(201);
    let jim = server.user("jim", &["system:masters"]);
    jim.post(CONFIG_MAPS, &config_map("asked-by-jim")).await.expect(201);
    assert_eq!(hook.reviews().len(), 1);

    // One that fails is a failure of the webhook, unless another does not hold.
    let path = format!("{REGISTRATION}/validatingwebhookconfigurations/v");
    let failing = |policy: &str| {
        let mut one = one.clone();
        one["failurePolicy"] = policy.into();
        one["matchConditions"] =
            conditions(&[("fails", "object.data.none == 'x'"), ("named", "object.metadata.name != 'out'")]);
        json!([{"op": "replace", "path": "/webhooks/0", "value": one}])
    };
    admin.patch(&path, "json-patch", &failing("Fail")).await.expect(200);
    admin.get(&path).await.expect(200);
    let refused = admin.post(CONFIG_MAPS, &config_map("in")).await.expect(403);
    assert_eq!(
        refused["message"],
        "configmaps \"in\" is forbidden: expression 'object.data.none == 'x'' resulted in error: no such key: none"
    );
    admin.post(CONFIG_MAPS, &config_map("out")).await.expect(201);
    admin.patch(&path, "json-patch", &failing("Ignore")).await.expect(200);
    admin.get(&path).await.expect(200);
    admin.post(CONFIG_MAPS, &config_map("in")).await.expect(201);
    assert_eq!(hook.reviews().len(), 1);

    let wrong = json!([{"op": "replace", "path": "/webhooks/0/matchConditions", "value": conditions(&[("bad", "object.x ==")])}]);
    let refused = admin.patch(&path, "json-patch", &wrong).await.expect(422);
    assert_eq!(refused["details"]["causes"][0]["field"], "webhooks[0].matchConditions[0].expression");
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("compilation failed: ERROR: <input>:1:12: Syntax error"),
        "{refused}"
    );
}
