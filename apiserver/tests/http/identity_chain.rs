//! Every way to prove who one is, and what is not believed.

use rcgen::{CertificateParams, DnType};
use serde_json::{Value, json};
use skiff_apiserver::security::authenticate::{anonymous::Anonymous, front_proxy};

use crate::server::{Ca, Client, Server};

const WHO: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

fn question() -> Value {
    json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"})
}

/// Whom the server takes a client for.
pub async fn who(client: &Client, headers: &[(&str, &str)]) -> Value {
    let mut all = vec![("content-type", "application/json")];
    all.extend(headers);
    let answer = client.send("POST", WHO, &all, question().to_string()).await;
    answer.expect(201)["status"]["userInfo"].clone()
}

fn named(name: &str) -> impl FnOnce(&mut CertificateParams) + use<'_> {
    move |params| params.distinguished_name.push(DnType::CommonName, name)
}

#[tokio::test]
async fn certificates_name_user_groups_and_uid() {
    let server = Server::start().await;
    let jane = server.with_certificate(server.ca(), |params| {
        params.distinguished_name.push(DnType::CommonName, "jane");
        params.distinguished_name.push(DnType::OrganizationName, "dev");
        params.distinguished_name.push(DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 57683, 2]), "u-1");
    });
    let user = who(&jane, &[]).await;
    assert_eq!((&user["username"], &user["uid"]), (&json!("jane"), &json!("u-1")));
    assert_eq!(user["groups"], json!(["dev", "system:authenticated"]));
    let id = user["extra"]["authentication.kubernetes.io/credential-id"][0].as_str().unwrap();
    assert!(id.starts_with("X509SHA256="));
}

#[tokio::test]
async fn certificates_of_strangers_and_out_of_their_time_are_refused() {
    let server = Server::start().await;
    let foreign = Ca::new();
    let strangers = [
        ("of another CA", server.with_certificate(&foreign, named("admin"))),
        (
            "expired",
            server.with_certificate(server.ca(), |params| {
                named("admin")(params);
                params.not_before = rcgen::date_time_ymd(2020, 1, 1);
                params.not_after = rcgen::date_time_ymd(2021, 1, 1);
            }),
        ),
        (
            "not yet valid",
            server.with_certificate(server.ca(), |params| {
                named("admin")(params);
                params.not_before = rcgen::date_time_ymd(2090, 1, 1);
                params.not_after = rcgen::date_time_ymd(2091, 1, 1);
            }),
        ),
        (
            "for servers only",
            server.with_certificate(server.ca(), |params| {
                named("admin")(params);
                params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
            }),
        ),
        (
            "of nobody",
            server.with_certificate(server.ca(), |params| {
                params.distinguished_name = rcgen::DistinguishedName::new()
            }),
        ),
    ];
    for (why, client) in &strangers {
        let answer = client.get("/api/v1/namespaces").await;
        assert_eq!(answer.code, 401, "{why}");
        answer.refused(401, "Unauthorized", "Unauthorized");
    }
    // Bad credentials are worse than none, also where none are needed.
    assert_eq!(strangers[0].1.get("/healthz").await.code, 401);
}

#[tokio::test]
async fn tokens_of_a_file_name_their_users() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens.csv");
    std::fs::write(&file, "t-jane,jane,u-1,\"dev,ops\"\nt-joe,joe,u-2\n").unwrap();
    let server = Server::configured(|config| config.authentication.token_auth_file = Some(file)).await;
    let jane = who(&server.bearer("t-jane"), &[]).await;
    assert_eq!(
        jane,
        json!({"username": "jane", "uid": "u-1", "groups": ["dev", "ops", "system:authenticated"]})
    );
    assert_eq!(who(&server.bearer("t-joe"), &[]).await["username"], "joe");
    server.bearer("t-jim").get("/api").await.refused(401, "Unauthorized", "Unauthorized");
}

#[tokio::test]
async fn bootstrap_tokens_live_in_secrets_and_end_with_them() {
    let server = Server::configured(|config| config.authentication.bootstrap_tokens = true).await;
    let admin = server.admin();
    let secrets = "/api/v1/namespaces/kube-system/secrets";
    let secret = |expiration: &str| {
        json!({
            "metadata": {"name": "bootstrap-token-abcdef"}, "type": "bootstrap.kubernetes.io/token",
            "stringData": {
                "token-id": "abcdef", "token-secret": "0123456789abcdef", "expiration": expiration,
                "usage-bootstrap-authentication": "true", "usage-bootstrap-signing": "true",
                "auth-extra-groups": "system:bootstrappers:skiff:default-node-token",
            },
        })
    };
    let node = server.bearer("abcdef.0123456789abcdef");
    assert_eq!(node.get("/api").await.code, 401, "there is no such Secret yet");
    admin.post(secrets, &secret("2090-01-01T00:00:00Z")).await.expect(201);
    while node.get("/api").await.code == 401 {
        tokio::task::yield_now().await;
    }
    let user = who(&node, &[]).await;
    assert_eq!(user["username"], "system:bootstrap:abcdef");
    assert_eq!(
        user["groups"],
        json!([
            "system:bootstrappers",
            "system:bootstrappers:skiff:default-node-token",
            "system:authenticated"
        ])
    );
    for wrong in ["abcdef.0123456789abcdee", "abcdee.0123456789abcdef", "abcdef"] {
        assert_eq!(server.bearer(wrong).get("/api").await.code, 401, "{wrong}");
    }
    let path = format!("{secrets}/bootstrap-token-abcdef");
    admin
        .patch(&path, "merge-patch", &json!({"stringData": {"expiration": "2020-01-01T00:00:00Z"}}))
        .await
        .expect(200);
    while node.get("/api").await.code != 401 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_proxys_word_counts_with_its_own_certificate_only() {
    let proxies = Ca::new();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("proxy-ca.crt");
    std::fs::write(&file, &proxies.pem).unwrap();
    let server = Server::configured(|config| {
        config.authentication.front_proxy = front_proxy::Options {
            client_ca_file: Some(file),
            allowed_names: vec!["front-proxy".into()],
            username_headers: vec!["X-Remote-User".into()],
            uid_headers: vec!["X-Remote-Uid".into()],
            group_headers: vec!["X-Remote-Group".into()],
            extra_headers_prefix: vec!["X-Remote-Extra-".into()],
        };
    })
    .await;
    let said = [
        ("x-remote-user", "jane"),
        ("x-remote-uid", "7"),
        ("x-remote-group", "system:masters"),
        ("x-remote-extra-acme.com%2fscopes", "a"),
    ];
    let front = server.with_certificate(&proxies, named("front-proxy"));
    let user = who(&front, &said).await;
    assert_eq!(
        user,
        json!({"username": "jane", "uid": "7", "groups": ["system:masters", "system:authenticated"],
            "extra": {"acme.com/scopes": ["a"]}})
    );
    // The same words from anyone else mean nothing.
    let mallory = server.user("mallory", &[]);
    let user = who(&mallory, &said).await;
    assert_eq!((&user["username"], &user["groups"]), (&json!("mallory"), &json!(["system:authenticated"])));
    let refused = mallory.send("GET", "/api/v1/nodes", &said, "").await;
    refused.refused(
        403,
        "Forbidden",
        r#"nodes is forbidden: User "mallory" cannot list resource "nodes" in API group "" at the cluster scope"#,
    );
    let others = [
        ("no certificate", server.nobody()),
        ("a proxy of another name", server.with_certificate(&proxies, named("other-proxy"))),
        ("a proxy of another CA", server.with_certificate(&Ca::new(), named("front-proxy"))),
    ];
    for (why, client) in others {
        assert_eq!(client.send("GET", "/api", &said, "").await.code, 401, "{why}");
    }
    assert_eq!(front.get("/api").await.code, 401, "a proxy that names nobody is nobody");
}

#[tokio::test]
async fn who_may_ask_without_credentials_is_a_matter_of_flags() {
    let message = r#"namespaces is forbidden: User "system:anonymous" cannot list resource "namespaces" in API group "" at the cluster scope"#;
    let open = Server::configured(|config| config.authentication.anonymous = Anonymous::Always).await;
    open.nobody().get("/api/v1/namespaces").await.refused(403, "Forbidden", message);
    let shut = Server::configured(|config| config.authentication.anonymous = Anonymous::Never).await;
    assert_eq!(shut.nobody().get("/healthz").await.code, 401);
    let paths = vec!["/livez".to_owned()];
    let some = Server::configured(|config| config.authentication.anonymous = Anonymous::On(paths)).await;
    assert_eq!(some.nobody().get("/livez").await.code, 200);
    assert_eq!(some.nobody().get("/healthz").await.code, 401);
}

#[tokio::test]
async fn of_two_authorizations_the_first_counts() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens.csv");
    std::fs::write(&file, "good,jane,u-1\n").unwrap();
    let server = Server::configured(|config| config.authentication.token_auth_file = Some(file)).await;
    let ask = async |first: &str, second: &str| {
        let headers = [("authorization", first), ("authorization", second)];
        server.nobody().send("GET", "/api", &headers, "").await.code
    };
    assert_eq!(ask("Bearer good", "Bearer bad").await, 200);
    assert_eq!(ask("Bearer bad", "Bearer good").await, 401);
    assert_eq!(ask("Basic Z29vZDo=", "Bearer good").await, 401);
}

#[tokio::test]
async fn a_websocket_may_name_its_token_as_a_subprotocol() {
    use base64::Engine;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens.csv");
    std::fs::write(&file, "good,jane,u-1\n").unwrap();
    let server = Server::configured(|config| config.authentication.token_auth_file = Some(file)).await;
    let ask = async |token: &str, further: &str| {
        let encoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(token);
        let protocols = format!("base64url.bearer.authorization.k8s.io.{encoded}{further}");
        let headers = [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", protocols.as_str()),
        ];
        server.nobody().send("GET", "/api/v1/namespaces/default/pods/p/exec", &headers, "").await
    };
    let known = ask("good", ", v5.channel.k8s.io").await;
    known.refused(
        403,
        "Forbidden",
        r#"pods "p" is forbidden: User "jane" cannot get resource "pods/exec" in API group "" in the namespace "default""#,
    );
    assert_eq!(ask("bad", ", v5.channel.k8s.io").await.code, 401);
    assert_eq!(ask("good", "").await.code, 401, "there must be a protocol left to speak");
}
