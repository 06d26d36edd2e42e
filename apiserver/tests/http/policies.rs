//! Admission policies in CEL: what they refuse, warn of, record and change, and what is wrong with one that is written.

use std::time::Duration;

use serde_json::{Value, json};
use skiff_apiserver::audit::{LogOptions, Options, Policy};

use crate::server::{CONFIG_MAPS, Client, Server, config_map};

const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";

fn about(resources: &[&str]) -> Value {
    json!({"resourceRules": [{"apiGroups": ["", "apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": resources}]})
}

async fn validating(admin: &Client, name: &str, mut spec: Value, binding: Value) {
    if spec["matchConstraints"].is_null() {
        spec["matchConstraints"] = about(&["configmaps"]);
    }
    let policy = json!({"metadata": {"name": name}, "spec": spec});
    admin.post(&format!("{ADMISSION}/validatingadmissionpolicies"), &policy).await.expect(201);
    bind(admin, "validatingadmissionpolicybindings", name, binding).await;
}

async fn bind(admin: &Client, plural: &str, name: &str, mut spec: Value) {
    spec["policyName"] = name.into();
    let binding = json!({"metadata": {"name": format!("{name}-binding")}, "spec": spec});
    admin.post(&format!("{ADMISSION}/{plural}"), &binding).await.expect(201);
}

fn with(name: &str, data: Value) -> Value {
    json!({"metadata": {"name": name}, "data": data})
}

#[tokio::test]
async fn what_a_policy_denies_is_refused_with_its_message_reason_and_code() {
    let server = Server::start().await;
    let admin = server.admin();
    let spec = json!({"variables": [{"name": "size", "expression": "object.?data.orValue({}).size()"}], "validations": [
        {"expression": "variables.size < 3", "messageExpression": "'has ' + string(variables.size) + ' entries'"},
        {"expression": "!object.metadata.name.startsWith('bad')", "message": "bad names are not wanted", "reason": "Forbidden"},
        {"expression": "request.operation == 'CREATE' || has(oldObject.data)"},
    ]});
    validating(&admin, "small", spec, json!({"validationActions": ["Deny"]})).await;
    admin.post(CONFIG_MAPS, &with("a", json!({"a": "1"}))).await.expect(201);
    let large = admin.post(CONFIG_MAPS, &with("b", json!({"a": "", "b": "", "c": ""}))).await;
    let denied = "ValidatingAdmissionPolicy 'small' with binding 'small-binding' denied request: ";
    large.refused(422, "Invalid", &format!("configmaps \"b\" is forbidden: {denied}has 3 entries"));
    assert_eq!(large.json()["details"]["causes"], json!([{"message": format!("{denied}has 3 entries")}]));
    let bad = admin.post(CONFIG_MAPS, &with("bad-one", json!({}))).await;
    bad.refused(
        403,
        "Forbidden",
        &format!("configmaps \"bad-one\" is forbidden: {denied}bad names are not wanted"),
    );
    admin.post(CONFIG_MAPS, &with("none", Value::Null)).await.expect(201);
    let update = admin.put(&format!("{CONFIG_MAPS}/none"), &with("none", json!({"a": "1"}))).await;
    let failed = format!("{denied}failed expression: request.operation == 'CREATE' || has(oldObject.data)");
    update.refused(422, "Invalid", &format!("configmaps \"none\" is forbidden: {failed}"));
    // Other kinds, and what the policy is not bound for, are not its business.
    admin.post("/api/v1/namespaces", &json!({"metadata": {"name": "bad-space"}})).await.expect(201);
    admin.delete(&format!("{ADMISSION}/validatingadmissionpolicybindings/small-binding")).await.expect(200);
    admin.post(CONFIG_MAPS, &with("bad-two", json!({}))).await.expect(201);
}

#[tokio::test]
async fn failures_are_warned_of_and_recorded_as_the_binding_says() {
    let dir = tempfile::tempdir().unwrap();
    let text = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata, resources: [{resources: [configmaps]}]}]\n";
    let log = LogOptions { path: dir.path().join("audit.log"), ..LogOptions::default() };
    let audit = Options { policy: Some(Policy::read(text).unwrap()), log: Some(log), webhook: None };
    let server = Server::configured(|config| config.audit = audit).await;
    let admin = server.admin();
    let spec = json!({"validations": [{"expression": "false", "message": "never"}], "auditAnnotations": [
        {"key": "who", "valueExpression": "request.userInfo.username"}, {"key": "nothing", "valueExpression": "null"}]});
    validating(&admin, "watcher", spec, json!({"validationActions": ["Warn", "Audit"]})).await;
    let made = admin.post(CONFIG_MAPS, &config_map("a")).await;
    made.expect(201);
    let warning = "299 - \"Validation failed for ValidatingAdmissionPolicy 'watcher' with binding 'watcher-binding': never\"";
    assert_eq!(made.warnings(), [warning]);
    let line = std::fs::read_to_string(dir.path().join("audit.log")).unwrap();
    let event: Value = serde_json::from_str(line.lines().last().unwrap()).unwrap();
    let annotations = &event["annotations"];
    assert_eq!(annotations["watcher/who"], "admin");
    assert!(annotations.get("watcher/nothing").is_none());
    let failure: Value = serde_json::from_str(
        annotations["validation.policy.admission.k8s.io/validation_failure"].as_str().unwrap(),
    )
    .unwrap();
    let expected = json!([{"message": "never", "policy": "watcher", "binding": "watcher-binding", "expressionIndex": 0,
        "validationActions": ["Warn", "Audit"]}]);
    assert_eq!(failure, expected);
}

#[tokio::test]
async fn params_come_from_what_the_binding_names_or_selects() {
    let server = Server::start().await;
    let admin = server.admin();
    let spec = json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}, "matchConstraints": about(&["secrets"]),
        "validations": [{"expression": "int(params.data.most) >= object.data.size()", "messageExpression": "'at most ' + params.data.most"}]});
    let by_name = json!({"validationActions": ["Deny"], "paramRef": {"name": "limit", "namespace": "default", "parameterNotFoundAction": "Deny"}});
    validating(&admin, "sized", spec, by_name).await;
    let secrets = "/api/v1/namespaces/default/secrets";
    let secret = |name: &str| json!({"metadata": {"name": name}, "stringData": {"a": "1", "b": "2"}});
    let absent = admin.post(secrets, &secret("a")).await;
    let denied = "secrets \"a\" is forbidden: ValidatingAdmissionPolicy 'sized' with binding 'sized-binding' denied request: ";
    let why =
        "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction";
    absent.refused(422, "Invalid", &format!("{denied}{why}"));
    admin.post(CONFIG_MAPS, &with("limit", json!({"most": "1"}))).await.expect(201);
    admin.post(secrets, &secret("a")).await.refused(422, "Invalid", &format!("{denied}at most 1"));
    admin
        .patch(&format!("{CONFIG_MAPS}/limit"), "merge-patch", &json!({"data": {"most": "2"}}))
        .await
        .expect(200);
    admin.post(secrets, &secret("a")).await.expect(201);
    let mut other = with("other", json!({"most": "0"}));
    other["metadata"]["labels"] = json!({"strict": "yes"});
    admin.post(CONFIG_MAPS, &other).await.expect(201);
    let path = format!("{ADMISSION}/validatingadmissionpolicybindings/sized-binding");
    let selects =
        json!({"spec": {"paramRef": {"name": null, "selector": {"matchLabels": {"strict": "yes"}}}}});
    admin.patch(&path, "merge-patch", &selects).await.expect(200);
    let message = admin.post(secrets, &secret("b")).await.expect(422)["message"].as_str().unwrap().to_owned();
    assert!(message.ends_with("at most 0"), "{message}");
}

#[tokio::test]
async fn conditions_failures_and_the_authorizer_decide_as_upstream() {
    let server = Server::start().await;
    let admin = server.admin();
    let spec = json!({"matchConditions": [{"name": "not-system", "expression": "!request.userInfo.username.startsWith('system:')"}],
        "validations": [{"expression": "authorizer.group('').resource('secrets').namespace('default').check('delete').allowed()",
            "message": "only who may delete secrets"}]});
    validating(&admin, "trusted", spec, json!({"validationActions": ["Deny"]})).await;
    let role = json!({"metadata": {"name": "maps"}, "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}]});
    admin.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", &role).await.expect(201);
    let subject = |name: &str| json!({"kind": "User", "name": name, "apiGroup": "rbac.authorization.k8s.io"});
    let bound = json!({"metadata": {"name": "maps"}, "subjects": [subject("jane"), subject("system:robot")],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "maps"}});
    admin.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &bound).await.expect(201);
    let refused = server.user("jane", &[]).post(CONFIG_MAPS, &config_map("a")).await.expect(422);
    assert!(
        refused["message"].as_str().unwrap().ends_with("denied request: only who may delete secrets"),
        "{refused}"
    );
    server.user("system:robot", &[]).post(CONFIG_MAPS, &config_map("b")).await.expect(201);
    admin.post(CONFIG_MAPS, &config_map("c")).await.expect(201);

    // An expression that fails counts as its policy says.
    let broken = |policy: &str| json!({"failurePolicy": policy, "validations": [{"expression": "object.data.absent == 'x'"}]});
    validating(&admin, "lenient", broken("Ignore"), json!({"validationActions": ["Deny"]})).await;
    admin.post(CONFIG_MAPS, &config_map("d")).await.expect(201);
    validating(&admin, "severe", broken("Fail"), json!({"validationActions": ["Deny"]})).await;
    let refused =
        admin.post(CONFIG_MAPS, &config_map("e")).await.expect(422)["message"].as_str().unwrap().to_owned();
    let why = "denied request: expression 'object.data.absent == 'x'' resulted in error: no such key: absent";
    assert!(refused.ends_with(why), "{refused}");
}

#[tokio::test]
async fn mutations_apply_and_patch_and_are_seen_by_what_comes_after() {
    let server = Server::start().await;
    let admin = server.admin();
    let policy = |name: &str, mutations: Value| {
        json!({"metadata": {"name": name}, "spec": {"matchConstraints": about(&["configmaps", "deployments"]),
            "reinvocationPolicy": "IfNeeded", "mutations": mutations}})
    };
    let apply =
        |text: &str| json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": text}});
    let patch = |text: &str| json!({"patchType": "JSONPatch", "jsonPatch": {"expression": text}});
    let policies = format!("{ADMISSION}/mutatingadmissionpolicies");
    // The first needs what the second makes, and sees it when it is asked again.
    let late = "has(object.metadata.labels) && 'team' in object.metadata.labels ? [JSONPatch{op: 'add', path: '/metadata/labels/owner', \
                value: object.metadata.labels['team'] + '-owner'}] : []";
    admin.post(&policies, &policy("a-late", json!([patch(late)]))).await.expect(201);
    let label = "Object{metadata: Object.metadata{labels: {'team': 'blue'}}}";
    let key = "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('example.com/x'), value: 'y'}]";
    admin.post(&policies, &policy("b-team", json!([apply(label), patch(key)]))).await.expect(201);
    for name in ["a-late", "b-team"] {
        bind(&admin, "mutatingadmissionpolicybindings", name, json!({})).await;
    }
    let made = admin.post(CONFIG_MAPS, &config_map("a")).await.expect(201);
    assert_eq!(
        made["metadata"]["labels"],
        json!({"team": "blue", "owner": "blue-owner", "example.com/x": "y"})
    );
    assert_eq!(made["data"], json!({"a": "1"}));
    let container = "Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{containers: \
                     [Object.spec.template.spec.containers{name: 'side', image: 'side:1'}]}}}}";
    let only = json!({"matchConditions": [{"name": "deployments", "expression": "request.resource.resource == 'deployments'"}]});
    let mut side = policy("c-side", json!([apply(container)]));
    side["spec"]["matchConditions"] = only["matchConditions"].clone();
    admin.post(&policies, &side).await.expect(201);
    bind(&admin, "mutatingadmissionpolicybindings", "c-side", json!({})).await;
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"app": "d"}}, "template": {
        "metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "main", "image": "main:1"}]}}}});
    let made = admin.post("/apis/apps/v1/namespaces/default/deployments", &deployment).await.expect(201);
    let containers = made["spec"]["template"]["spec"]["containers"].as_array().unwrap();
    let told: Vec<_> = containers
        .iter()
        .map(|one| (one["name"].as_str().unwrap(), one["imagePullPolicy"].as_str().unwrap()))
        .collect();
    // What was added has its defaults.
    assert_eq!(told, [("main", "IfNotPresent"), ("side", "IfNotPresent")]);

    admin
        .post(
            &policies,
            &policy("d-wrong", json!([patch("[JSONPatch{op: 'remove', path: '/data/absent'}]")])),
        )
        .await
        .expect(201);
    bind(&admin, "mutatingadmissionpolicybindings", "d-wrong", json!({})).await;
    let refused = admin.post(CONFIG_MAPS, &config_map("b")).await.expect(403);
    let message = refused["message"].as_str().unwrap();
    assert!(
        message.starts_with("policy 'd-wrong' with binding 'd-wrong-binding' denied request: JSON Patch: "),
        "{message}"
    );
    assert_eq!(refused["reason"], "Invalid");
}

#[tokio::test]
async fn a_policy_that_is_wrong_is_refused_and_its_types_are_told() {
    let server = Server::start().await;
    let admin = server.admin();
    let policies = format!("{ADMISSION}/validatingadmissionpolicies");
    let policy = |name: &str, expression: &str| json!({"metadata": {"name": name}, "spec": {"matchConstraints": about(&["deployments"]), "validations": [{"expression": expression}]}});
    let refused = admin.post(&policies, &policy("a", "object.x >")).await.expect(422);
    let cause = &refused["details"]["causes"][0];
    assert_eq!(cause["field"], "spec.validations[0].expression");
    assert!(
        cause["message"].as_str().unwrap().contains("compilation failed: ERROR: <input>:1:11: Syntax error"),
        "{cause}"
    );
    assert_eq!(admin.get(&format!("{policies}/a")).await.code, 404);
    for (name, expression, warned) in
        [("right", "object.spec.replicas > 0", 0), ("wrong", "object.spec.replicaz > 0", 1)]
    {
        admin.post(&policies, &policy(name, expression)).await.expect(201);
        let told = async {
            loop {
                let found = admin.get(&format!("{policies}/{name}")).await.expect(200);
                if found["status"]["observedGeneration"] == 1 {
                    return found["status"]["typeChecking"].clone();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let told = tokio::time::timeout(Duration::from_secs(20), told).await.unwrap();
        let warnings = told["expressionWarnings"].as_array().map_or(0, Vec::len);
        assert_eq!(warnings, warned, "{told}");
    }
}
