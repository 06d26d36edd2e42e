//! Tokens of service accounts: audiences, what they are bound to, what Secrets hold, and how others verify them.

use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::identity_chain::who;
use crate::server::{Client, PODS, Server, make_account, pod};

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

async fn token(admin: &Client, spec: Value) -> String {
    let answer = admin.post(&format!("{ACCOUNTS}/default/token"), &json!({"spec": spec})).await.expect(201);
    answer["status"]["token"].as_str().unwrap().to_owned()
}

async fn review(admin: &Client, token: &str, audiences: &[&str]) -> Value {
    let spec = json!({"token": token, "audiences": audiences});
    admin.post(REVIEWS, &json!({"spec": spec})).await.expect(201)["status"].clone()
}

/// Waits until the server no longer believes a client.
async fn until_refused(client: &Client) {
    while client.get("/api").await.code != 401 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_token_counts_where_it_is_meant_for() {
    let server = Server::start().await;
    let admin = server.admin();
    make_account(&admin).await;
    let vault = token(&admin, json!({"audiences": ["vault", "store"]})).await;
    server.bearer(&vault).get("/api").await.refused(401, "Unauthorized", "Unauthorized");
    let status = review(&admin, &vault, &["vault", "other"]).await;
    assert_eq!((&status["authenticated"], &status["audiences"]), (&json!(true), &json!(["vault"])));
    assert_eq!(status["user"]["username"], "system:serviceaccount:default:default");
    let status = review(&admin, &vault, &[]).await;
    assert_eq!(status["authenticated"], Value::Null);
    assert_eq!(
        status["error"],
        format!(r#"token audiences ["vault" "store"] is invalid for the target audiences ["{ISSUER}"]"#)
    );
    let ours = token(&admin, json!({})).await;
    assert_eq!(server.bearer(&ours).get("/api").await.code, 200);
    assert_eq!(review(&admin, &ours, &[]).await["audiences"], json!([ISSUER]));
    assert!(review(&admin, &ours, &["vault"]).await["error"].is_string());
    assert_eq!(review(&admin, "nonsense", &[]).await["error"], "invalid bearer token");
    let message = "token is required for TokenReview in authentication";
    admin.post(REVIEWS, &json!({"spec": {}})).await.refused(400, "BadRequest", message);
}

#[tokio::test]
async fn a_token_dies_with_the_pod_secret_or_node_that_it_is_bound_to() {
    let server = Server::start().await;
    let admin = server.admin();
    make_account(&admin).await;
    admin.post("/api/v1/nodes", &json!({"metadata": {"name": "n1"}})).await.expect(201);
    let mut bound = pod("p");
    bound["spec"]["nodeName"] = "n1".into();
    bound["spec"]["terminationGracePeriodSeconds"] = 0.into();
    let uid = admin.post(PODS, &bound).await.expect(201)["metadata"]["uid"].clone();
    admin.post("/api/v1/namespaces/default/secrets", &json!({"metadata": {"name": "s"}})).await.expect(201);
    let table = [
        ("Pod", "p", "/api/v1/namespaces/default/pods/p?gracePeriodSeconds=0"),
        ("Secret", "s", "/api/v1/namespaces/default/secrets/s"),
        ("Node", "n1", "/api/v1/nodes/n1"),
    ];
    let mut clients = Vec::new();
    for (kind, name, path) in table {
        let reference = json!({"kind": kind, "apiVersion": "v1", "name": name});
        let client = server.bearer(&token(&admin, json!({"boundObjectRef": reference})).await);
        assert_eq!(client.get("/api").await.code, 200, "{kind}");
        clients.push((client, path));
    }
    let facts = who(&clients[0].0, &[]).await["extra"].clone();
    assert_eq!(facts["authentication.kubernetes.io/pod-name"], json!(["p"]));
    assert_eq!(facts["authentication.kubernetes.io/pod-uid"], json!([uid]));
    assert_eq!(facts["authentication.kubernetes.io/node-name"], json!(["n1"]));
    assert!(facts["authentication.kubernetes.io/node-uid"][0].is_string());
    assert!(facts["authentication.kubernetes.io/credential-id"][0].as_str().unwrap().starts_with("JTI="));
    for (client, path) in clients {
        admin.delete(path).await.expect(200);
        until_refused(&client).await;
    }
    let gone = json!({"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p"}}});
    let answer = admin.post(&format!("{ACCOUNTS}/default/token"), &gone).await;
    answer.refused(404, "NotFound", r#"pods "p" not found"#);
}

/// A server whose key for service accounts the test knows, as the controllers would.
async fn with_key() -> (Server, EncodingKey) {
    let key = Arc::new(Mutex::new(String::new()));
    let known = key.clone();
    let server = Server::configured(move |config| {
        known.lock().unwrap().clone_from(&config.service_account_key_pem);
    })
    .await;
    let key = EncodingKey::from_ec_pem(key.lock().unwrap().as_bytes()).unwrap();
    (server, key)
}

#[tokio::test]
async fn a_secrets_token_counts_as_long_as_the_secret_holds_it() {
    let (server, key) = with_key().await;
    let admin = server.admin();
    let account = json!({"metadata": {"name": "robot"}});
    let uid = admin.post(ACCOUNTS, &account).await.expect(201)["metadata"]["uid"].clone();
    let claims = json!({
        "iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:default:robot",
        "kubernetes.io/serviceaccount/namespace": "default", "kubernetes.io/serviceaccount/secret.name": "held",
        "kubernetes.io/serviceaccount/service-account.name": "robot",
        "kubernetes.io/serviceaccount/service-account.uid": uid,
    });
    let token = jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, &key).unwrap();
    let robot = server.bearer(&token);
    until_refused(&robot).await;
    assert_eq!(review(&admin, &token, &[]).await["error"], "Token has been invalidated");
    let secret = json!({
        "metadata": {"name": "held", "annotations": {"kubernetes.io/service-account.name": "robot"}},
        "type": "kubernetes.io/service-account-token", "stringData": {"token": token},
    });
    let secrets = "/api/v1/namespaces/default/secrets";
    admin.post(secrets, &secret).await.expect(201);
    while robot.get("/api").await.code == 401 {
        tokio::task::yield_now().await;
    }
    assert_eq!(who(&robot, &[]).await["username"], "system:serviceaccount:default:robot");
    let held = format!("{secrets}/held");
    let label = "kubernetes.io/legacy-token-last-used";
    while admin.get(&held).await.expect(200)["metadata"]["labels"][label].is_null() {
        tokio::task::yield_now().await;
    }
    let mark = json!({"metadata": {"labels": {"kubernetes.io/legacy-token-invalid-since": "2026-01-01"}}});
    admin.patch(&held, "merge-patch", &mark).await.expect(200);
    until_refused(&robot).await;
    let status = review(&admin, &token, &[]).await;
    assert!(status["error"].as_str().unwrap().contains("has been marked invalid"), "{status}");
    admin.delete(&held).await.expect(200);
}

#[tokio::test]
async fn others_can_verify_our_tokens() {
    let server = Server::start().await;
    let admin = server.admin();
    make_account(&admin).await;
    let token = token(&admin, json!({"audiences": ["vault"]})).await;
    let reader = server.bearer(&self::token(&admin, json!({})).await);
    let refused = reader.get("/openid/v1/jwks").await;
    if refused.code == 403 {
        panic!("service accounts may discover the issuer: {}", refused.text());
    }
    let found = reader.get("/.well-known/openid-configuration").await;
    assert_eq!(
        (found.header("content-type"), found.header("cache-control")),
        ("application/json", "public, max-age=3600")
    );
    let found = found.expect(200);
    assert_eq!(found["issuer"], ISSUER);
    assert_eq!(found["id_token_signing_alg_values_supported"], json!(["ES256"]));
    let uri = found["jwks_uri"].as_str().unwrap();
    assert_eq!(uri, format!("{}/openid/v1/jwks", server.url()));
    let keys = reader.get("/openid/v1/jwks").await;
    assert_eq!(keys.header("content-type"), "application/jwk-set+json");
    let keys: jsonwebtoken::jwk::JwkSet = serde_json::from_value(keys.expect(200)).unwrap();
    let kid = jsonwebtoken::decode_header(&token).unwrap().kid.unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(keys.find(&kid).unwrap()).unwrap();
    let mut rules = jsonwebtoken::Validation::new(Algorithm::ES256);
    rules.set_audience(&["vault"]);
    rules.set_issuer(&[ISSUER]);
    let said = jsonwebtoken::decode::<Value>(&token, &key, &rules).unwrap().claims;
    assert_eq!(said["sub"], "system:serviceaccount:default:default");
    let forged = token.replace(token.split('.').nth(1).unwrap(), &URL_SAFE_NO_PAD.encode(r#"{"sub":"x"}"#));
    assert!(jsonwebtoken::decode::<Value>(&forged, &key, &rules).is_err());
    assert_eq!(server.nobody().get("/openid/v1/jwks").await.code, 401);
}
