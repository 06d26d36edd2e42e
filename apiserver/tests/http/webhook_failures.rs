//! Admission webhooks that do not answer as they should: refused or let pass as they are configured, with the
//! webhook and the reason named.

use serde_json::{Value, json};

use crate::hook::{Act, Hook, allowed, patched};
use crate::server::{CONFIG_MAPS, Client, Server, config_map};
use crate::webhooks::{REGISTRATION, configure, rule, webhook};

/// What is said of a webhook that failed; `URL` stands for its own.
async fn check(admin: &Client, sort: &str, client: Value, expected: &str) {
    let url = format!("{}?timeout=1s", client["url"].as_str().unwrap());
    let mut hook = webhook("w", client, rule(&["CREATE"], "", &["configmaps"]));
    hook["timeoutSeconds"] = 1.into();
    let path = format!("{REGISTRATION}/{sort}webhookconfigurations/w");
    for policy in ["Fail", "Ignore"] {
        hook["failurePolicy"] = policy.into();
        configure(admin, sort, "w", std::slice::from_ref(&hook)).await;
        let answer = admin.post(CONFIG_MAPS, &config_map("c")).await;
        if policy == "Fail" {
            let why = expected.replace("URL", &format!("{url:?}"));
            let message = format!("Internal error occurred: failed calling webhook \"w.example.com\": {why}");
            answer.refused(500, "InternalError", &message);
        } else {
            answer.expect(201);
            admin.delete(&format!("{CONFIG_MAPS}/c")).await.expect(200);
        }
        admin.delete(&path).await.expect(200);
        admin.get(&path).await.expect(404);
    }
}

/// The sort of webhook, what it does, and what is said of it.
type Case = (&'static str, fn() -> Act, &'static str);

fn raw(code: u16, media: &'static str, body: &str) -> Act {
    Act::Raw(code, media, body.into())
}

#[tokio::test]
async fn answers_that_are_none_count_as_failures() {
    let server = Server::start().await;
    let admin = server.admin();
    let admission = |response: Value| {
        let review =
            json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response});
        Act::Raw(200, "application/json", review.to_string())
    };
    let cases: Vec<Case> = vec![
        ("validating", || Act::Hang, "failed to call webhook: Post URL: context deadline exceeded"),
        ("mutating", || Act::Hang, "failed to call webhook: Post URL: context deadline exceeded"),
        ("mutating", || Act::Close, "failed to call webhook: Post URL: EOF"),
        (
            "validating",
            || raw(200, "application/json", "rubbish"),
            "failed to call webhook: couldn't get version/kind; json parse error: expected value at line 1 column 1",
        ),
        (
            "mutating",
            || raw(404, "text/plain", "x"),
            "failed to call webhook: the server could not find the requested resource",
        ),
        (
            "validating",
            || raw(500, "text/plain", "boom"),
            "failed to call webhook: an error on the server (\"boom\") has prevented the request from succeeding",
        ),
        (
            "mutating",
            || raw(503, "text/plain", "later"),
            "failed to call webhook: the server is currently unable to handle the request",
        ),
        (
            "validating",
            || raw(200, "application/json", "{}"),
            "received invalid webhook response: webhook response was absent",
        ),
        (
            "mutating",
            || Act::Review(json!({"allowed": true, "patch": "W10="})),
            "received invalid webhook response: webhook returned response.patch but not response.patchType",
        ),
        (
            "validating",
            || patched(&json!([])),
            "received invalid webhook response: validating webhook may not return response.patch",
        ),
        (
            "mutating",
            || Act::Review(json!({"allowed": true, "patch": "e30=", "patchType": "JSONPatch"})),
            "received undecodable patch in webhook response: invalid type: map, expected a sequence at line 1 column 0",
        ),
    ];
    for (sort, act, expected) in cases {
        let hook = Hook::serve(&["127.0.0.1"], move |_| act()).await;
        check(&admin, sort, hook.client("/x"), expected).await;
    }
    // An answer to another question.
    let other =
        Hook::serve(&["127.0.0.1"], move |_| admission(json!({"uid": "other", "allowed": true}))).await;
    let mut hook = webhook("w", other.client("/x"), rule(&["CREATE"], "", &["configmaps"]));
    hook["failurePolicy"] = "Fail".into();
    configure(&admin, "validating", "w", &[hook]).await;
    let refused = admin.post(CONFIG_MAPS, &config_map("c")).await.expect(500);
    let uid = other.reviews()[0]["uid"].clone();
    assert_eq!(
        refused["message"],
        format!(
            "Internal error occurred: failed calling webhook \"w.example.com\": received invalid webhook response: expected \
             response.uid={uid}, got \"other\""
        )
    );
}

#[tokio::test]
async fn servers_that_are_not_there_or_not_believed_count_as_failures() {
    let server = Server::start().await;
    let admin = server.admin();
    let hook = Hook::serve(&["127.0.0.1"], |_| allowed()).await;
    let stranger = Hook::serve(&["127.0.0.1"], |_| allowed()).await;
    let mut client = hook.client("/");
    client["caBundle"] = stranger.bundle.clone().into();
    let unknown = "failed to call webhook: Post URL: tls: failed to verify certificate: x509: certificate signed by unknown authority";
    check(&admin, "validating", client.clone(), unknown).await;
    client.as_object_mut().unwrap().remove("caBundle");
    check(&admin, "mutating", client, unknown).await;
    let named = Hook::serve(&["else.example.com"], |_| allowed()).await;
    check(
        &admin,
        "validating",
        named.client("/"),
        "failed to call webhook: Post URL: tls: failed to verify certificate: x509: certificate is valid for else.example.com, \
         not 127.0.0.1",
    )
    .await;
    let port = hook.port;
    let mut client = hook.client("/");
    drop(hook);
    check(
        &admin,
        "mutating",
        client.clone(),
        &format!("failed to call webhook: Post URL: dial tcp 127.0.0.1:{port}: connect: connection refused"),
    )
    .await;
    client["caBundle"] = "bm8gcGVt".into();
    let bundle = "failed to call webhook: Post URL: unable to load root certificates: unable to parse bytes as PEM block";
    check(&admin, "validating", client, bundle).await;
}

#[tokio::test]
async fn a_patch_that_does_not_apply_is_refused_whatever_the_policy() {
    let server = Server::start().await;
    let admin = server.admin();
    let hook = Hook::serve(&["127.0.0.1"], |asked| match asked.body["request"]["operation"].as_str() {
        Some("DELETE") => patched(&json!([{"op": "add", "path": "/a", "value": 1}])),
        Some("UPDATE") => patched(&json!([{"op": "replace", "path": "/data", "value": 1}])),
        _ if asked.body["request"]["name"] == "fine" => allowed(),
        _ => patched(&json!([{"op": "remove", "path": "/nowhere"}])),
    })
    .await;
    let mut one = webhook("w", hook.client("/"), rule(&["*"], "", &["configmaps"]));
    one["failurePolicy"] = "Ignore".into();
    configure(&admin, "mutating", "w", &[one]).await;
    let made = admin.post(CONFIG_MAPS, &config_map("c")).await.expect(500);
    assert!(made["message"].as_str().unwrap().starts_with("Internal error occurred: "), "{made}");
    admin.post(CONFIG_MAPS, &config_map("fine")).await.expect(201);
    let path = format!("{CONFIG_MAPS}/fine");
    admin.patch(&path, "merge-patch", &json!({"data": {"b": "2"}})).await.expect(500);
    admin.delete(&path).await.refused(
        500,
        "InternalError",
        "Internal error occurred: admission webhook \"w.example.com\" attempted to modify the object, which is not supported \
         for this operation",
    );
}

#[tokio::test]
async fn the_older_review_is_spoken_with_those_who_want_it() {
    let server = Server::start().await;
    let admin = server.admin();
    let hook = Hook::serve(&["127.0.0.1"], |asked| {
        // Without uid, kind and version, as some old ones answer.
        assert_eq!(asked.body["apiVersion"], "admission.k8s.io/v1beta1");
        raw(200, "application/json", r#"{"response": {"allowed": false, "status": {"message": "old"}}}"#)
    })
    .await;
    let mut one = webhook("w", hook.client("/"), rule(&["CREATE"], "", &["configmaps"]));
    one["admissionReviewVersions"] = json!(["v2", "v1beta1", "v1"]);
    configure(&admin, "validating", "w", &[one]).await;
    let answer = admin.post(CONFIG_MAPS, &config_map("c")).await;
    answer.refused(400, "", "admission webhook \"w.example.com\" denied the request: old");
}
