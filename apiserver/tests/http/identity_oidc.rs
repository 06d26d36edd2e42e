//! Issuers of OpenID Connect, asked over HTTPS as real ones are: discovery, keys, rotation, an issuer that is away, and a
//! configuration that changes while the server runs.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::KeyPair;
use serde_json::{Value, json};
use skiff_apiserver::security::authenticate::oidc;
use skiff_apiserver::security::token::keys::VerifyingKey;

use crate::hook::{Act, Hook};
use crate::identity_chain::who;
use crate::server::{Client, Server};

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

/// A key pair of an issuer, by its name.
struct Key {
    name: &'static str,
    pair: KeyPair,
}

impl Key {
    fn new(name: &'static str) -> Self {
        Self { name, pair: KeyPair::generate().unwrap() }
    }

    fn jwk(&self) -> Value {
        let mut jwk = VerifyingKey::all_of_pem(&self.pair.public_key_pem()).unwrap().remove(0).jwk;
        jwk["kid"] = self.name.into();
        jwk
    }

    fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.name.into()), ..Header::new(Algorithm::ES256) };
        let key = EncodingKey::from_ec_pem(self.pair.serialize_pem().as_bytes()).unwrap();
        encode(&header, claims, &key).unwrap()
    }
}

/// An issuer that publishes keys.
struct Issuer {
    hook: Hook,
    keys: Arc<Mutex<Vec<Value>>>,
    away: Arc<AtomicBool>,
}

impl Issuer {
    async fn publishing(keys: &[&Key]) -> Self {
        let keys = Arc::new(Mutex::new(keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()));
        let away = Arc::new(AtomicBool::new(false));
        let (published, gone) = (keys.clone(), away.clone());
        let hook = Hook::serve(&["127.0.0.1"], move |asked| {
            let own = asked.headers["host"].to_str().unwrap().to_owned();
            let answer = match asked.path.as_str() {
                _ if gone.load(Ordering::Relaxed) => return Act::Raw(503, "text/plain", "away".into()),
                "/.well-known/openid-configuration" => {
                    json!({"issuer": format!("https://{own}"), "jwks_uri": format!("https://{own}/keys")})
                }
                "/keys" => json!({"keys": *published.lock().unwrap()}),
                _ => return Act::Raw(404, "text/plain", "no".into()),
            };
            Act::Raw(200, "application/json", answer.to_string())
        })
        .await;
        Self { hook, keys, away }
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.hook.port)
    }

    fn ca_pem(&self) -> String {
        String::from_utf8(STANDARD.decode(&self.hook.bundle).unwrap()).unwrap()
    }

    fn rotate(&self, keys: &[&Key]) {
        *self.keys.lock().unwrap() = keys.iter().map(|key| key.jwk()).collect();
    }

    /// How often keys were asked for.
    fn fetches(&self) -> usize {
        self.hook.asked().iter().filter(|asked| asked.path == "/keys").count()
    }

    /// An entry of `jwt`.
    fn entry(&self, mappings: &Value) -> Value {
        json!({
            "issuer": {"url": self.url(), "certificateAuthority": self.ca_pem(), "audiences": ["skiff"]},
            "claimMappings": mappings,
        })
    }

    /// What a token says of itself.
    fn claims(&self, further: &Value) -> Value {
        let now = jiff::Timestamp::now().as_second();
        let mut claims = json!({"iss": self.url(), "aud": "skiff", "sub": "jane", "exp": now + 600});
        claims.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
        claims
    }
}

fn write(dir: &Path, entries: &[Value]) -> std::path::PathBuf {
    let path = dir.join("authentication.yaml");
    let object = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": entries});
    std::fs::write(&path, object.to_string()).unwrap();
    path
}

async fn server_with(path: std::path::PathBuf) -> Server {
    Server::configured(|config| {
        config.authentication.oidc = oidc::Options {
            config_file: Some(path),
            reload: Some(Duration::from_millis(20)),
            ..oidc::Options::default()
        };
    })
    .await
}

/// Asks until a token is believed, or not.
async fn until(client: &Client, code: u16) {
    while client.get("/api").await.code != code {
        tokio::task::yield_now().await;
    }
}

/// Why a token is not believed.
async fn why(admin: &Client, token: &str) -> String {
    let answer = admin.post(REVIEWS, &json!({"spec": {"token": token}})).await.expect(201);
    assert_ne!(answer["status"]["authenticated"], true);
    answer["status"]["error"].as_str().unwrap_or_default().to_owned()
}

fn by_subject() -> Value {
    json!({"username": {"claim": "sub", "prefix": "out:"}, "groups": {"claim": "teams", "prefix": "out:"}})
}

#[tokio::test]
async fn an_issuers_keys_are_fetched_and_fetched_again_when_it_signs_with_another() {
    let (first, second, foreign) = (Key::new("first"), Key::new("second"), Key::new("first"));
    let issuer = Issuer::publishing(&[&first]).await;
    let dir = tempfile::tempdir().unwrap();
    let server = server_with(write(dir.path(), &[issuer.entry(&by_subject())])).await;
    let admin = server.admin();
    let claims = issuer.claims(&json!({"teams": ["a", "b"]}));
    let jane = server.bearer(&first.sign(&claims));
    let expected = json!({"username": "out:jane", "groups": ["out:a", "out:b", "system:authenticated"]});
    for _ in 0..2 {
        assert_eq!(who(&jane, &[]).await, expected);
    }
    assert_eq!(issuer.fetches(), 1, "keys are kept");
    let unverified = "oidc: verify token: failed to verify signature: failed to verify id token signature";
    assert_eq!(why(&admin, &foreign.sign(&claims)).await, unverified, "a key of the same name signs nothing");
    assert_eq!(issuer.fetches(), 1, "a known name asks for nothing");
    issuer.rotate(&[&second]);
    let renewed = server.bearer(&second.sign(&issuer.claims(&json!({"teams": ["c"]}))));
    until(&renewed, 200).await;
    assert_eq!(issuer.fetches(), 2);
    assert_eq!(who(&renewed, &[]).await["username"], "out:jane");
    // What was signed by the key that is gone is no longer believed, were it not remembered.
    assert_eq!(why(&admin, &first.sign(&issuer.claims(&json!({"n": 1})))).await, unverified);
    // Invented names do not make a flood of the issuer.
    for _ in 0..20 {
        let invented = Key::new("invented").sign(&claims);
        server.bearer(&invented).get("/api").await.refused(401, "Unauthorized", "Unauthorized");
    }
    assert!(issuer.fetches() < 10, "{}", issuer.fetches());
}

#[tokio::test]
async fn an_issuer_may_be_away_when_the_server_starts() {
    let key = Key::new("k");
    let issuer = Issuer::publishing(&[&key]).await;
    issuer.away.store(true, Ordering::Relaxed);
    let dir = tempfile::tempdir().unwrap();
    let server = server_with(write(dir.path(), &[issuer.entry(&by_subject())])).await;
    let jane = server.bearer(&key.sign(&issuer.claims(&json!({}))));
    jane.get("/api").await.refused(401, "Unauthorized", "Unauthorized");
    server.admin().get("/api").await.expect(200);
    issuer.away.store(false, Ordering::Relaxed);
    until(&jane, 200).await;
    // And away later: what is known suffices.
    issuer.away.store(true, Ordering::Relaxed);
    let another = server.bearer(&key.sign(&issuer.claims(&json!({"sub": "joe"}))));
    assert_eq!(who(&another, &[]).await["username"], "out:joe");
}

#[tokio::test]
async fn a_token_is_judged_as_the_configuration_says() {
    let key = Key::new("k");
    let issuer = Issuer::publishing(&[&key]).await;
    let mut entry = issuer.entry(&json!({
        "username": {"expression": "claims.email_verified ? claims.email : 'nobody'"},
        "groups": {"expression": "claims.?roles.orValue('').split(',').filter(role, role != '').map(role, 'o:' + role)"},
        "uid": {"expression": "claims.sub"},
        "extra": [{"key": "example.com/tenant", "valueExpression": "claims.tenant"}],
    }));
    entry["claimValidationRules"] = json!([
        {"claim": "hd", "requiredValue": "example.com"},
        {"expression": "claims.exp - claims.iat <= 3600", "message": "tokens live for an hour at most"},
    ]);
    entry["userValidationRules"] = json!([
        {"expression": "!user.username.startsWith('system:')", "message": "username cannot use reserved system: prefix"},
        {"expression": "user.groups.all(group, !group.startsWith('system:'))"},
    ]);
    let dir = tempfile::tempdir().unwrap();
    let server = server_with(write(dir.path(), &[entry])).await;
    let admin = server.admin();
    let now = jiff::Timestamp::now().as_second();
    let good = json!({"email": "jane@example.com", "email_verified": true, "hd": "example.com", "iat": now,
        "tenant": ["t1", "t2"], "roles": "dev,ops"});
    let jane = server.bearer(&key.sign(&issuer.claims(&good)));
    assert_eq!(
        who(&jane, &[]).await,
        json!({"username": "jane@example.com", "uid": "jane", "groups": ["o:dev", "o:ops", "system:authenticated"],
            "extra": {"example.com/tenant": ["t1", "t2"]}})
    );
    let table = [
        (json!({"hd": null}), "oidc: parse claim hd: "),
        (
            json!({"hd": "evil.com"}),
            "oidc: required claim hd value does not match. Got = evil.com, want = example.com",
        ),
        (
            json!({"iat": now - 7200}),
            "oidc: error evaluating claim validation expression: validation expression 'claims.exp - claims.iat <= 3600' failed: tokens live for an hour at most",
        ),
        (
            json!({"email": "system:admin"}),
            "oidc: error evaluating user info validation rule: validation expression '!user.username.startsWith('system:')' failed: username cannot use reserved system: prefix",
        ),
        (json!({"email": ""}), "oidc: empty username via CEL expression is not allowed"),
        (
            json!({"email": 7}),
            "oidc: error evaluating username claim expression: username claim expression must return a string",
        ),
        (
            json!({"aud": "other"}),
            "oidc: verify token: oidc: expected audience in [\"skiff\"] got [\"other\"]",
        ),
        (json!({"exp": now - 10}), "oidc: verify token: oidc: token is expired"),
        (
            json!({"nbf": now + 900}),
            "oidc: verify token: oidc: current time before the nbf (not before) time",
        ),
    ];
    for (change, expected) in table {
        let mut claims = issuer.claims(&good);
        claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let token = key.sign(&claims);
        let told = why(&admin, &token).await;
        assert!(told.starts_with(expected), "{change}: {told}");
        server.bearer(&token).get("/api").await.refused(401, "Unauthorized", "Unauthorized");
    }
    // An algorithm that needs no private key is none.
    let header = Header::new(Algorithm::HS256);
    let public = key.pair.public_key_pem();
    let forged =
        encode(&header, &issuer.claims(&good), &EncodingKey::from_secret(public.as_bytes())).unwrap();
    let told = why(&admin, &forged).await;
    assert!(told.contains("id token signed with unsupported algorithm"), "{told}");
}

#[tokio::test]
async fn issuers_change_with_their_file_while_the_server_runs() {
    let (one, two) = (Key::new("one"), Key::new("two"));
    let (first, second) = (Issuer::publishing(&[&one]).await, Issuer::publishing(&[&two]).await);
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), &[first.entry(&by_subject())]);
    let server = server_with(path.clone()).await;
    let jane = server.bearer(&one.sign(&first.claims(&json!({}))));
    let joe = server.bearer(&two.sign(&second.claims(&json!({"sub": "joe"}))));
    assert_eq!((jane.get("/api").await.code, joe.get("/api").await.code), (200, 401));
    write(dir.path(), &[first.entry(&by_subject()), second.entry(&by_subject())]);
    until(&joe, 200).await;
    assert_eq!(who(&joe, &[]).await["username"], "out:joe");
    // A file that says nothing usable changes nothing.
    let admin = server.admin();
    std::fs::write(&path, "kind: Nonsense").unwrap();
    let failed = r#"apiserver_authentication_config_controller_automatic_reloads_total{status="failure"} 1"#;
    while !admin.get("/metrics").await.text().contains(failed) {
        tokio::task::yield_now().await;
    }
    assert_eq!((jane.get("/api").await.code, joe.get("/api").await.code), (200, 200));
    // Nobody of an issuer that was taken out is believed, remembered or not.
    write(dir.path(), &[second.entry(&json!({"username": {"claim": "sub", "prefix": "new:"}}))]);
    until(&jane, 401).await;
    assert_eq!(who(&joe, &[]).await["username"], "new:joe");
}
