//! Certificate requests: who asked is kept, each view changes its own part, and signers' rights are asked for.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use serde_json::{Value, json};

use crate::server::{Client, Server};

pub const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// A request of a key for this subject.
pub fn request(name: &str, signer: &str, subject: &str, groups: &[&str]) -> Value {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, subject);
    for group in groups {
        params.distinguished_name.push(DnType::OrganizationName, *group);
    }
    let pem = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    json!({"metadata": {"name": name}, "spec": {"signerName": signer, "request": STANDARD.encode(pem),
        "usages": ["client auth"]}})
}

/// Any certificate, as a signer answers.
pub fn certificate() -> String {
    let params = CertificateParams::default();
    STANDARD.encode(params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem())
}

/// Gives a user rights: group, resources, verbs, names.
async fn allow(admin: &Client, user: &str, rules: Value) {
    let role = json!({"metadata": {"name": user}, "rules": rules});
    admin.post(&format!("{RBAC}/clusterroles"), &role).await.expect(201);
    let binding = json!({"metadata": {"name": user},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": user},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]});
    admin.post(&format!("{RBAC}/clusterrolebindings"), &binding).await.expect(201);
}

fn condition(sort: &str) -> Value {
    json!({"type": sort, "status": "True", "reason": "Why", "message": "said"})
}

#[tokio::test]
async fn a_request_names_who_made_it_and_cannot_be_changed() {
    let server = Server::start().await;
    let admin = server.admin();
    let rules = json!([{"apiGroups": ["certificates.k8s.io"], "resources": ["certificatesigningrequests"],
        "verbs": ["create", "get", "update"]}]);
    allow(&admin, "jane", rules).await;
    let jane = server.user("jane", &["dev"]);
    let mut wanted = request("r", "example.com/own", "jane", &[]);
    wanted["spec"]["username"] = "kubernetes-admin".into();
    wanted["spec"]["groups"] = json!(["system:masters"]);
    wanted["status"] = json!({"certificate": certificate(), "conditions": [condition("Approved")]});
    let made = loop {
        let answer = jane.post(REQUESTS, &wanted).await;
        if answer.code != 403 {
            break answer.expect(201);
        }
    };
    assert_eq!(made["spec"]["username"], "jane");
    assert_eq!(made["spec"]["groups"], json!(["dev", "system:authenticated"]));
    let status = &made["status"];
    assert!(status.get("certificate").is_none() && status.get("conditions").is_none(), "{status}");

    let mut other = made.clone();
    other["spec"]["signerName"] = "example.com/other".into();
    other["spec"]["username"] = "joe".into();
    other["metadata"]["labels"] = json!({"a": "b"});
    let after = jane.put(&format!("{REQUESTS}/r"), &other).await.expect(200);
    assert_eq!((&after["spec"], &after["metadata"]["labels"]), (&made["spec"], &json!({"a": "b"})));
    let listed =
        admin.get(&format!("{REQUESTS}?fieldSelector=spec.signerName=example.com/own")).await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let server = Server::start().await;
    let admin = server.admin();
    let mut wanted = request("r", "example.com/own", "jane", &[]);
    wanted["spec"]["request"] = "LQ==".into();
    wanted["spec"]["usages"] = json!(["client auth", "singing"]);
    wanted["spec"]["expirationSeconds"] = 599.into();
    let status = admin.post(REQUESTS, &wanted).await.expect(422);
    let mut fields: Vec<&str> = status["details"]["causes"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|cause| cause["field"].as_str())
        .collect();
    fields.sort_unstable();
    assert_eq!(fields, ["spec.expirationSeconds", "spec.request", "spec.usages[1]"]);
    let wanted = request("r", "kubernetes.io/legacy-unknown", "jane", &[]);
    let message = admin.post(REQUESTS, &wanted).await.expect(422)["message"].clone();
    assert!(message.as_str().unwrap().contains("the legacy signerName is not allowed via this API version"));
}

#[tokio::test]
async fn no_client_certificate_makes_a_master() {
    let server = Server::start().await;
    let admin = server.admin();
    let signer = "kubernetes.io/kube-apiserver-client";
    let wanted = request("r", signer, "jane", &["system:masters"]);
    admin.post(REQUESTS, &wanted).await.refused(
        403,
        "Forbidden",
        "certificatesigningrequests.certificates.k8s.io \"r\" is forbidden: use of kubernetes.io/kube-apiserver-client \
         signer with system:masters group is not allowed",
    );
    admin.post(REQUESTS, &request("r", signer, "jane", &["dev"])).await.expect(201);
}

#[tokio::test]
async fn approvals_and_certificates_are_each_given_by_their_own_view() {
    let server = Server::start().await;
    let admin = server.admin();
    admin.post(REQUESTS, &request("r", "example.com/own", "jane", &[])).await.expect(201);
    let (approval, status) = (format!("{REQUESTS}/r/approval"), format!("{REQUESTS}/r/status"));
    let conditions = |list: Value| json!({"status": {"conditions": list}});

    let early = conditions(json!([condition("Approved")]));
    let refused = admin.patch(&status, "merge-patch", &early).await.expect(422);
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("updates may not add a condition of type \"Approved\""), "{message}");

    let both = conditions(json!([condition("Approved"), condition("Denied")]));
    assert_eq!(admin.patch(&approval, "merge-patch", &both).await.code, 422);
    let approved = admin.patch(&approval, "merge-patch", &early).await.expect(200);
    let given = &approved["status"]["conditions"][0];
    assert!(given["lastUpdateTime"].is_string() && given["lastTransitionTime"].is_string(), "{given}");
    let refused = admin.patch(&approval, "merge-patch", &conditions(json!([]))).await.expect(422);
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("updates may not remove a condition of type \"Approved\""), "{message}");

    let bad = json!({"status": {"certificate": "LQ=="}});
    let refused = admin.patch(&status, "merge-patch", &bad).await.expect(422);
    assert!(refused["message"].as_str().unwrap().contains("must contain at least one CERTIFICATE PEM block"));
    let first = json!({"status": {"certificate": certificate()}});
    let issued = admin.patch(&status, "merge-patch", &first).await.expect(200);
    assert_eq!(issued["status"]["certificate"], first["status"]["certificate"]);
    let second = json!({"status": {"certificate": certificate()}});
    let refused = admin.patch(&status, "merge-patch", &second).await.expect(422);
    assert!(
        refused["message"].as_str().unwrap().contains("updates may not modify existing certificate content")
    );
}

#[tokio::test]
async fn only_who_may_sign_for_a_signer_gives_its_certificates() {
    let server = Server::start().await;
    let admin = server.admin();
    admin.post(REQUESTS, &request("r", "example.com/own", "jane", &[])).await.expect(201);
    let view = |signers: Value| {
        json!([
            {"apiGroups": ["certificates.k8s.io"], "resources": ["certificatesigningrequests/status"], "verbs": ["patch"]},
            {"apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "verbs": ["sign"], "resourceNames": signers},
        ])
    };
    allow(&admin, "other", view(json!(["example.com/other"]))).await;
    allow(&admin, "domain", view(json!(["example.com/*"]))).await;
    let status = format!("{REQUESTS}/r/status");
    let issued = json!({"status": {"certificate": certificate()}});
    let other = server.user("other", &[]);
    loop {
        let answer = other.patch(&status, "merge-patch", &issued).await;
        // The right to the subresource arrives when the binding is seen.
        if answer.text().contains("cannot patch") {
            continue;
        }
        let message = "certificatesigningrequests.certificates.k8s.io \"r\" is forbidden: user not permitted to sign requests with signerName \"example.com/own\"";
        answer.refused(403, "Forbidden", message);
        break;
    }
    let domain = server.user("domain", &[]);
    loop {
        let answer = domain.patch(&status, "merge-patch", &issued).await;
        if answer.code != 403 {
            answer.expect(200);
            break;
        }
    }
}
