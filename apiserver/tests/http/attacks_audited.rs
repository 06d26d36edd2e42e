//! What is tried by those who may not, as a table: each attempt is refused in upstream's words, and stands in the audit log with who it
//! was, what was tried and how it ended.

use std::collections::BTreeMap;

use rcgen::DnType;
use serde_json::{Value, json};
use skiff_apiserver::security::authenticate::anonymous::Anonymous;
use skiff_apiserver::security::authenticate::front_proxy;

use crate::audit::{audited_as, events};
use crate::certificates::request;
use crate::impersonation::grant;
use crate::server::{Ca, Client, PODS, config_map, make_account, pod};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const TOKENS: &str = "/api/v1/namespaces/default/serviceaccounts/default/token";

/// One attempt.
struct Attack {
    client: Client,
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Value,
    /// Code and message of the refusal.
    told: (u16, String),
    /// User, verb and what the authorizers said; `-` for nothing.
    audited: &'static str,
}

impl Attack {
    fn new(
        client: &Client,
        method: &'static str,
        path: &str,
        told: (u16, &str),
        audited: &'static str,
    ) -> Self {
        let told = (told.0, told.1.to_owned());
        let (client, path) = (client.clone(), path.to_owned());
        Self { client, method, path, headers: Vec::new(), body: Value::Null, told, audited }
    }

    fn with(mut self, body: Value) -> Self {
        self.body = body;
        self
    }

    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

/// Makes all attempts, and looks for each in the log.
async fn refused_and_audited(dir: &std::path::Path, attacks: Vec<Attack>) {
    let mut wrong = Vec::new();
    let mut compare = |what: &str, seen: String, wanted: String| {
        if seen != wanted {
            wrong.push(format!("{what}\n   seen: {seen}\n wanted: {wanted}"));
        }
    };
    for (at, attack) in attacks.iter().enumerate() {
        let id = format!("attack-{at}");
        let media = match attack.method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let mut headers = vec![("audit-id", id.as_str()), ("content-type", media)];
        headers.extend(attack.headers.iter().map(|(name, value)| (*name, value.as_str())));
        let body = if attack.body.is_null() { String::new() } else { attack.body.to_string() };
        let answer = attack.client.send(attack.method, &attack.path, &headers, body).await;
        let what = format!("{} {} {:?}", attack.method, attack.path, attack.headers);
        let message = answer.json()["message"].as_str().unwrap_or_default().to_owned();
        compare(&what, format!("{} {message}", answer.code), format!("{} {}", attack.told.0, attack.told.1));
    }
    let mut of: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for event in events(dir) {
        of.entry(event["auditID"].as_str().unwrap().to_owned()).or_default().push(event);
    }
    for (at, attack) in attacks.iter().enumerate() {
        let what = format!("{} {} {:?}", attack.method, attack.path, attack.headers);
        let [event] = of[&format!("attack-{at}")].as_slice() else { panic!("{what}: more than one event") };
        let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let audited = format!(
            "{} {} {}",
            word(&event["user"]["username"]),
            word(&event["verb"]),
            word(&event["annotations"]["authorization.k8s.io/decision"])
        );
        compare(&what, audited, attack.audited.to_owned());
        compare(&what, event["responseStatus"]["code"].to_string(), attack.told.0.to_string());
        compare(&what, word(&event["requestURI"]), attack.path.clone());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn cannot(user: &str, verb: &str, resource: &str, place: &str) -> String {
    let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
    let plural = resource.split('/').next().unwrap();
    let (plural, name) =
        place.split_once(' ').map_or((plural, String::new()), |(name, _)| (plural, format!(" {name:?}")));
    let of_group = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
    let scope = if place.ends_with("cluster") {
        "at the cluster scope".to_owned()
    } else {
        r#"in the namespace "default""#.to_owned()
    };
    format!(
        r#"{of_group}{name} is forbidden: User "{user}" cannot {verb} resource "{resource}" in API group "{group}" {scope}"#
    )
}

#[tokio::test]
async fn credentials_that_are_none() {
    let dir = tempfile::tempdir().unwrap();
    let server = audited_as(dir.path(), |config| config.authentication.anonymous = Anonymous::Always).await;
    let admin = server.admin();
    make_account(&admin).await;
    let foreign = Ca::new();
    let named = |name: &'static str| {
        move |params: &mut rcgen::CertificateParams| {
            params.distinguished_name.push(DnType::CommonName, name);
            params.distinguished_name.push(DnType::OrganizationName, "system:masters");
        }
    };
    let stranger = server.with_certificate(&foreign, named("admin"));
    let expired = server.with_certificate(server.ca(), |params| {
        named("admin")(params);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let early = server.with_certificate(server.ca(), |params| {
        named("admin")(params);
        params.not_before = rcgen::date_time_ymd(2090, 1, 1);
        params.not_after = rcgen::date_time_ymd(2091, 1, 1);
    });
    let serving = server.with_certificate(server.ca(), |params| {
        named("admin")(params);
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    });
    let asked = json!({"spec": {"audiences": ["vault"]}});
    let vault = admin.post(TOKENS, &asked).await.expect(201)["status"]["token"].clone();
    let vault = server.bearer(vault.as_str().unwrap());
    let mut attacks: Vec<Attack> = [stranger, expired, early, serving, vault, server.bearer("guessed")]
        .iter()
        .map(|client| Attack::new(client, "GET", SECRETS, (401, "Unauthorized"), "- list -"))
        .collect();
    let nobody = cannot("system:anonymous", "list", "secrets", "");
    attacks.push(Attack::new(
        &server.nobody(),
        "GET",
        SECRETS,
        (403, &nobody),
        "system:anonymous list forbid",
    ));
    refused_and_audited(dir.path(), attacks).await;
}

#[tokio::test]
async fn headers_that_say_one_is_another() {
    let dir = tempfile::tempdir().unwrap();
    let proxies = Ca::new();
    let ca_file = dir.path().join("front-proxy.crt");
    std::fs::write(&ca_file, &proxies.pem).unwrap();
    let server = audited_as(dir.path(), |config| {
        config.authentication.front_proxy = front_proxy::Options {
            client_ca_file: Some(ca_file),
            allowed_names: vec!["front".into()],
            username_headers: vec!["X-Remote-User".into()],
            group_headers: vec!["X-Remote-Group".into()],
            ..front_proxy::Options::default()
        };
    })
    .await;
    let mallory = server.user("mallory", &[]);
    let impersonating = |what: &str| {
        format!(
            r#"secrets is forbidden: User "mallory" cannot impersonate-on:{what}:list resource "secrets" in API group "" in the namespace "default""#
        )
    };
    let own = cannot("mallory", "list", "secrets", "");
    let another = (403, &*impersonating("user-info"));
    let try_as = |told: (u16, &str)| {
        // As upstream, a refused impersonation is not annotated: the authorizers were not asked about the request itself.
        let audited = if told.1 == own { "mallory list forbid" } else { "mallory list -" };
        Attack::new(&mallory, "GET", SECRETS, told, audited)
    };
    let proxy = |name: &'static str| {
        server.with_certificate(&proxies, move |params| {
            params.distinguished_name.push(DnType::CommonName, name);
        })
    };
    let masters = "system:masters";
    let groups_of_nobody = r#"requested &user.DefaultInfo{Name:"", UID:"", Groups:[]string{"system:masters"}, Extra:map[string][]string(nil)} without impersonating a user name"#;
    refused_and_audited(
        dir.path(),
        vec![
            // A proxy's headers without its certificate, in whatever spelling, are nothing.
            try_as((403, &own)).header("x-remote-user", "admin").header("x-remote-group", masters),
            try_as((403, &own)).header("X-REMOTE-USER", "admin").header("X-Remote-Group", masters),
            try_as((403, &own)).header("x_remote_user", "admin").header("x_remote_group", masters),
            try_as((403, &own)).header("x-forwarded-user", "admin").header("x-user", "admin"),
            // With the certificate of another name, or without saying who it is for.
            Attack::new(&proxy("other"), "GET", SECRETS, (401, "Unauthorized"), "- list -")
                .header("x-remote-user", "admin")
                .header("x-remote-group", masters),
            Attack::new(&proxy("front"), "GET", SECRETS, (401, "Unauthorized"), "- list -")
                .header("x-remote-group", masters),
            // A second token does not help a first that is bad.
            Attack::new(&server.nobody(), "GET", SECRETS, (401, "Unauthorized"), "- list -")
                .header("authorization", "Bearer bad")
                .header("Authorization", "Bearer good"),
            // Another by impersonation, however the header is spelled.
            try_as(another).header("impersonate-user", "admin").header("impersonate-group", masters),
            try_as(another).header("IMPERSONATE-USER", "admin").header("iMPERSONATE-gROUP", masters),
            try_as(another).header("impersonate-user", "mallory").header("impersonate-user", "admin"),
            try_as(another).header("Impersonate-User", "mallory").header("Impersonate-Extra-Scopes", "all"),
            try_as(another).header("impersonate-user", "mallory").header("impersonate-uid", "0"),
            try_as((403, &own)).header("impersonate_user", "admin"),
            try_as((403, &impersonating("arbitrary-node"))).header("impersonate-user", "system:node:n1"),
            try_as((403, &impersonating("serviceaccount")))
                .header("impersonate-user", "system:serviceaccount:kube-system:generic-garbage-collector"),
            Attack::new(&mallory, "GET", SECRETS, (400, groups_of_nobody), "mallory list -")
                .header("impersonate-group", masters),
        ],
    )
    .await;
}

#[tokio::test]
async fn more_rights_than_one_holds() {
    let dir = tempfile::tempdir().unwrap();
    let server = audited_as(dir.path(), |_| {}).await;
    let admin = server.admin();
    make_account(&admin).await;
    admin.post(PODS, &pod("p")).await.expect(201);
    let every = json!(["create", "update", "patch", "get", "list"]);
    let rules = json!([
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["*"], "verbs": every},
        {"apiGroups": ["certificates.k8s.io"], "resources": ["certificatesigningrequests", "certificatesigningrequests/approval",
            "certificatesigningrequests/status"], "verbs": every},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list"]},
    ]);
    grant(&admin, "some", "mallory", rules).await;
    let waiting = request("waiting", "kubernetes.io/kube-apiserver-client", "admin", &["dev"]);
    admin.post(REQUESTS, &waiting).await.expect(201);
    let mallory = server.user("mallory", &[]);
    while mallory.get(PODS).await.code == 403 {
        tokio::task::yield_now().await;
    }
    let granting = |resource: &str, name: &str, what: &str| {
        format!(
            "{resource}.rbac.authorization.k8s.io {name:?} is forbidden: user \"mallory\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{what}"
        )
    };
    let secrets = r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}"#;
    let everything =
        "{APIGroups:[\"*\"], Resources:[\"*\"], Verbs:[\"*\"]}\n{NonResourceURLs:[\"*\"], Verbs:[\"*\"]}";
    let rules = json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]);
    let role = json!({"metadata": {"name": "mine"}, "rules": rules});
    let bind = json!({"metadata": {"name": "mine"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "mallory"}]});
    let condition = |of: &str| json!({"status": {"conditions": [{"type": of, "status": "True", "reason": "r", "message": "m"}]}});
    let post = |path: &str, body: Value, message: &str| {
        Attack::new(&mallory, "POST", path, (403, message), "mallory create allow").with(body)
    };
    let patch = |path: &str, body: Value, message: &str| {
        Attack::new(&mallory, "PATCH", path, (403, message), "mallory patch allow").with(body)
    };
    let (roles, bindings) = (format!("{RBAC}/clusterroles"), format!("{RBAC}/clusterrolebindings"));
    let own = format!("{RBAC}/namespaces/default");
    let masters = request("mine", "kubernetes.io/kube-apiserver-client", "mallory", &["system:masters"]);
    let mut attacks = vec![
        post(&roles, role.clone(), &granting("clusterroles", "mine", secrets)),
        post(&format!("{own}/roles"), role, &granting("roles", "mine", secrets)),
        patch(&format!("{roles}/some"), json!({"rules": rules}), &granting("clusterroles", "some", secrets)),
        post(&bindings, bind.clone(), &granting("clusterrolebindings", "mine", everything)),
        post(&format!("{own}/rolebindings"), bind, &granting("rolebindings", "mine", everything)),
        post(
            REQUESTS,
            masters,
            "certificatesigningrequests.certificates.k8s.io \"mine\" is forbidden: use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed",
        ),
        patch(
            &format!("{REQUESTS}/waiting/approval"),
            condition("Approved"),
            "certificatesigningrequests.certificates.k8s.io \"waiting\" is forbidden: user not permitted to approve requests with signerName \"kubernetes.io/kube-apiserver-client\"",
        ),
        patch(
            &format!("{REQUESTS}/waiting/status"),
            json!({"status": {"certificate": crate::certificates::certificate()}}),
            "certificatesigningrequests.certificates.k8s.io \"waiting\" is forbidden: user not permitted to sign requests with signerName \"kubernetes.io/kube-apiserver-client\"",
        ),
    ];
    // Who reads pods opens no streams into them, and changes nothing of them.
    for (method, verb, sub, audited) in [
        ("GET", "get", "exec", "mallory get forbid"),
        ("POST", "create", "exec", "mallory create forbid"),
        ("GET", "get", "attach", "mallory get forbid"),
        ("POST", "create", "portforward", "mallory create forbid"),
        ("GET", "get", "proxy", "mallory get forbid"),
        ("PATCH", "patch", "ephemeralcontainers", "mallory patch forbid"),
        ("POST", "create", "eviction", "mallory create forbid"),
        ("POST", "create", "binding", "mallory create forbid"),
    ] {
        let message = cannot("mallory", verb, &format!("pods/{sub}"), "p ");
        attacks.push(Attack::new(&mallory, method, &format!("{PODS}/p/{sub}"), (403, &message), audited));
    }
    let reading = cannot("mallory", "get", "secrets", "s ");
    attacks.push(Attack::new(
        &mallory,
        "GET",
        &format!("{SECRETS}/s"),
        (403, &reading),
        "mallory get forbid",
    ));
    let token = cannot("mallory", "create", "serviceaccounts/token", "default ");
    attacks.push(
        Attack::new(&mallory, "POST", TOKENS, (403, &token), "mallory create forbid")
            .with(json!({"spec": {}})),
    );
    refused_and_audited(dir.path(), attacks).await;
}

#[tokio::test]
async fn a_node_that_would_be_another() {
    let dir = tempfile::tempdir().unwrap();
    let server = audited_as(dir.path(), |_| {}).await;
    let admin = server.admin();
    make_account(&admin).await;
    for name in ["n1", "n2"] {
        admin.post("/api/v1/nodes", &json!({"metadata": {"name": name}})).await.expect(201);
    }
    let uid = admin.get("/api/v1/nodes/n1").await.expect(200)["metadata"]["uid"].clone();
    for name in ["mine", "others"] {
        let secret = json!({"metadata": {"name": name}, "stringData": {"k": "v"}});
        admin.post(SECRETS, &secret).await.expect(201);
    }
    let mut uids = BTreeMap::new();
    for (name, node, secret) in [("p1", "n1", "mine"), ("p2", "n2", "others")] {
        let mut bound = pod(name);
        bound["spec"]["nodeName"] = node.into();
        bound["spec"]["volumes"] = json!([{"name": "v", "secret": {"secretName": secret}}]);
        uids.insert(name, admin.post(PODS, &bound).await.expect(201)["metadata"]["uid"].clone());
    }
    let node = server.user("system:node:n1", &["system:nodes"]);
    while node.get(&format!("{SECRETS}/mine")).await.code == 403 {
        tokio::task::yield_now().await;
    }
    let user = "system:node:n1";
    let unrelated = |resource: &str, name: &str| {
        let text = cannot(user, "get", resource, &format!("{name} "));
        format!("{text}: no relationship found between node 'n1' and this object")
    };
    let refused = |method: &'static str, path: &str, message: &str| {
        let audited = match method {
            "POST" => "system:node:n1 create allow",
            "PATCH" => "system:node:n1 patch allow",
            _ => "system:node:n1 delete allow",
        };
        Attack::new(&node, method, path, (403, message), audited)
    };
    let mut mirror = pod("own");
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    mirror["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": uid, "controller": true}]);
    mirror["spec"]["nodeName"] = "n1".into();
    let with = |volume: Value| {
        let mut pod = mirror.clone();
        pod["spec"]["volumes"] = json!([volume]);
        pod
    };
    let token_of = |pod: Value| json!({"spec": {"boundObjectRef": pod}});
    let of_pod =
        |name: &str| token_of(json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uids[name]}));
    let own = |what: &str| format!("pods \"own\" is forbidden: node \"n1\" {what}");
    let get = |path: &str, message: &str| {
        Attack::new(&node, "GET", path, (403, message), "system:node:n1 get forbid")
    };
    let token = |why: &str| format!("serviceaccounts \"default\" is forbidden: {why}");
    let labels = json!({"metadata": {"labels": {"node-restriction.kubernetes.io/zone": "trusted"}}});
    let csr = "certificatesigningrequests.certificates.k8s.io \"r\" is forbidden: User \"system:node:n1\" cannot patch resource \"certificatesigningrequests/approval\" in API group \"certificates.k8s.io\" at the cluster scope";
    let as_n2 =
        request("r", "kubernetes.io/kube-apiserver-client-kubelet", "system:node:n2", &["system:nodes"]);
    node.post(REQUESTS, &as_n2).await.expect(201);
    let nameless = server.user("jane", &["system:nodes"]);
    refused_and_audited(
        dir.path(),
        vec![
            get(&format!("{SECRETS}/others"), &unrelated("secrets", "others")),
            refused("PATCH", "/api/v1/nodes/n2", "nodes \"n2\" is forbidden: node \"n1\" is not allowed to modify node \"n2\"")
                .with(json!({"metadata": {"labels": {"a": "b"}}})),
            refused("POST", "/api/v1/nodes", "nodes \"n3\" is forbidden: node \"n1\" is not allowed to modify node \"n3\"")
                .with(json!({"metadata": {"name": "n3"}})),
            refused(
                "PATCH",
                "/api/v1/nodes/n1",
                "nodes \"n1\" is forbidden: is not allowed to modify labels: node-restriction.kubernetes.io/zone",
            )
            .with(labels),
            refused("PATCH", "/api/v1/nodes/n1", "nodes \"n1\" is forbidden: node \"n1\" is not allowed to modify taints")
                .with(json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}})),
            refused("POST", PODS, "pods \"own\" is forbidden: a mirror pod may not reference secrets")
                .with(with(json!({"name": "v", "secret": {"secretName": "others"}}))),
            refused("POST", PODS, "pods \"own\" is forbidden: a mirror pod may not use ServiceAccountToken volume projections")
                .with(with(json!({"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}))),
            refused("POST", PODS, &own("can not create pods that reference persistentvolumeclaims"))
                .with(with(json!({"name": "v", "persistentVolumeClaim": {"claimName": "c"}}))),
            refused(
                "POST",
                PODS,
                "pods \"plain\" is forbidden: pod does not have \"kubernetes.io/config.mirror\" annotation, node \"n1\" can only create mirror pods",
            )
            .with(pod("plain")),
            refused("DELETE", &format!("{PODS}/p2"), "pods \"p2\" is forbidden: node \"n1\" can only delete pods with spec.nodeName set to itself"),
            refused(
                "PATCH",
                &format!("{PODS}/p2/status"),
                "pods \"p2\" is forbidden: node \"n1\" can only update pod status for pods with spec.nodeName set to itself",
            )
            .with(json!({"status": {"phase": "Failed"}})),
            refused("POST", &format!("{PODS}/p2/eviction"), "pods \"p2\" is forbidden: node n1 can only evict pods with spec.nodeName set to itself")
                .with(json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p2"}})),
            refused("POST", TOKENS, &token("node requested token not bound to a pod")).with(json!({"spec": {}})),
            refused("POST", TOKENS, &token("node requested token bound to a pod scheduled on a different node"))
                .with(of_pod("p2")),
            Attack::new(&node, "PATCH", &format!("{REQUESTS}/r/approval"), (403, csr), "system:node:n1 patch forbid")
                .with(json!({"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "r", "message": "m"}]}})),
            Attack::new(
                &nameless,
                "GET",
                &format!("{SECRETS}/mine"),
                (403, &cannot("jane", "get", "secrets", "mine ")),
                "jane get forbid",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn pods_that_would_reach_the_machine() {
    let dir = tempfile::tempdir().unwrap();
    let server = audited_as(dir.path(), |_| {}).await;
    let admin = server.admin();
    let labels = json!({"pod-security.kubernetes.io/enforce": "baseline"});
    admin
        .post("/api/v1/namespaces", &json!({"metadata": {"name": "guarded", "labels": labels}}))
        .await
        .expect(201);
    let account = json!({"metadata": {"name": "default", "annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}}});
    admin.post("/api/v1/namespaces/guarded/serviceaccounts", &account).await.expect(201);
    let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]}]);
    grant(&admin, "pods", "mallory", rules).await;
    let mallory = server.user("mallory", &[]);
    let pods = "/api/v1/namespaces/guarded/pods";
    while mallory.post(pods, &config_map("x")).await.code == 403 {
        tokio::task::yield_now().await;
    }
    let made = |change: &dyn Fn(&mut Value)| {
        let mut pod = pod("p");
        change(&mut pod["spec"]);
        pod
    };
    let violates =
        |what: &str| format!("pods \"p\" is forbidden: violates PodSecurity \"baseline:latest\": {what}");
    let table: Vec<(Value, String)> = vec![
        (
            made(&|spec| spec["volumes"] = json!([{"name": "v", "hostPath": {"path": "/etc"}}])),
            violates("hostPath volumes (volume \"v\")"),
        ),
        (
            made(&|spec| spec["containers"][0]["securityContext"] = json!({"privileged": true})),
            violates("privileged (container \"c\" must not set securityContext.privileged=true)"),
        ),
        (made(&|spec| spec["hostPID"] = true.into()), violates("host namespaces (hostPID=true)")),
        (
            made(&|spec| spec["volumes"] = json!([{"name": "v", "secret": {"secretName": "s"}}])),
            "pods \"p\" is forbidden: volume with secret.secretName=\"s\" is not allowed because service account default does not reference that secret".into(),
        ),
    ];
    let attacks = table
        .into_iter()
        .map(|(pod, told)| {
            Attack::new(&mallory, "POST", pods, (403, &told), "mallory create allow").with(pod)
        })
        .collect();
    refused_and_audited(dir.path(), attacks).await;
}
