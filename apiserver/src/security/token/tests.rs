use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::security::{Objects, text};

pub(crate) const NOW: i64 = 1_800_000_000;

/// Objects as a table.
#[derive(Default)]
pub(crate) struct Store(pub(crate) BTreeMap<(String, String, String), Arc<Value>>);

impl Store {
    pub(crate) fn put(&mut self, resource: &str, object: Value) {
        let key = (
            resource.to_owned(),
            text(&object, "/metadata/namespace").to_owned(),
            text(&object, "/metadata/name").to_owned(),
        );
        self.0.insert(key, Arc::new(object));
    }

    pub(crate) fn with_account() -> Self {
        let mut store = Self::default();
        store.put("serviceaccounts", json!({"metadata": {"namespace": "ns", "name": "sa", "uid": "u1"}}));
        store.put(
            "pods",
            json!({"metadata": {"namespace": "ns", "name": "p", "uid": "u2"},
                "spec": {"serviceAccountName": "sa", "nodeName": "n"}}),
        );
        store.put("nodes", json!({"metadata": {"name": "n", "uid": "u3"}}));
        store
    }
}

impl Objects for Store {
    fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.0.get(&(resource.to_owned(), namespace.to_owned(), name.to_owned())).cloned()
    }

    fn stamp(&self, resource: &str, namespace: &str, name: &str) -> Option<u64> {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        self.get(resource, namespace, name)?.to_string().hash(&mut hasher);
        Some(hasher.finish())
    }
}

pub(crate) fn tokens() -> ServiceAccountTokens {
    ServiceAccountTokens::new(&rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap()
}

pub(crate) fn grant() -> Grant {
    Grant {
        namespace: "ns".into(),
        name: "sa".into(),
        uid: "u1".into(),
        seconds: 3600,
        now: Timestamp::from_second(NOW).unwrap(),
        ..Grant::default()
    }
}

fn in_pod() -> Grant {
    let bound = Bound {
        resource: "pods".into(),
        name: "p".into(),
        uid: "u2".into(),
        node: Some(("n".into(), "u3".into())),
    };
    Grant { bound: Some(bound), seconds: 3607, ..grant() }
}

pub(crate) fn asked<'a>(
    token: &'a str,
    audiences: &'a [String],
    objects: &'a Store,
    now_s: i64,
) -> Question<'a> {
    Question { token, audiences, api_audiences: &[], objects, now_s }
}

fn judge(tokens: &ServiceAccountTokens, token: &str, now_s: i64) -> Result<Option<Authenticated>, String> {
    tokens.judge(&asked(token, &[], &Store::with_account(), now_s)).map_err(|why| why.0)
}

#[test]
fn a_token_is_valid_in_its_time_and_for_its_audience_only() {
    let tokens = tokens();
    let token = tokens.sign(&grant()).unwrap();
    let table = [
        (NOW, ""),
        (NOW + 3600, ""),
        (NOW + 3700, "service account token has expired"),
        (NOW - 100, "service account token is not valid yet"),
    ];
    for (at, why) in table {
        assert_eq!(judge(&tokens, &token, at).err().unwrap_or_default(), why, "{at}");
    }
    let store = Store::with_account();
    let audiences = ["vault".to_owned()];
    let why = tokens.judge(&asked(&token, &audiences, &store, NOW)).unwrap_err().0;
    assert_eq!(why, format!("token audiences [{ISSUER:?}] is invalid for the target audiences [\"vault\"]"));
    let vault = Grant { audiences: vec!["vault".into(), "other".into()], ..grant() };
    let token = tokens.sign(&vault).unwrap();
    assert!(judge(&tokens, &token, NOW).is_err(), "meant for another, it is worth nothing here");
    let found = tokens.judge(&asked(&token, &audiences, &store, NOW)).unwrap().unwrap();
    assert_eq!(found.audiences, ["vault"]);
}

#[test]
fn tokens_of_another_key_or_changed_ones_are_refused() {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let ours = tokens();
    let token = tokens().sign(&grant()).unwrap();
    assert_eq!(judge(&ours, &token, NOW).unwrap_err(), "invalid signature, no keys found");
    let token = ours.sign(&grant()).unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    let claims = URL_SAFE_NO_PAD.decode(parts[1]).unwrap();
    let forged = String::from_utf8(claims).unwrap().replace(":sa", ":admin");
    let forged = format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(forged), parts[2]);
    assert!(judge(&ours, &forged, NOW).is_err());
    for header in [r#"{"alg":"none"}"#, r#"{"alg":"HS256"}"#] {
        let unsigned = format!("{}.{}.", URL_SAFE_NO_PAD.encode(header), parts[1]);
        assert!(judge(&ours, &unsigned, NOW).is_err(), "{header}");
    }
    assert_eq!(judge(&ours, "no.token", NOW), Ok(None));
    let options = Options { issuers: vec!["https://other".into()], ..Options::default() };
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let other = ServiceAccountTokens::with(&key, options).unwrap();
    assert_eq!(judge(&other, &token, NOW), Ok(None), "of an issuer that is not ours to judge");
}

#[test]
fn a_second_key_and_issuer_let_old_tokens_live_on() {
    let old_key = rcgen::KeyPair::generate().unwrap();
    let old = ServiceAccountTokens::new(&old_key.serialize_pem()).unwrap();
    let options = Options {
        issuers: vec!["https://new.example".into(), ISSUER.into()],
        api_audiences: vec![ISSUER.into()],
        keys_pem: vec![old_key.public_key_pem()],
        ..Options::default()
    };
    let new =
        ServiceAccountTokens::with(&rcgen::KeyPair::generate().unwrap().serialize_pem(), options).unwrap();
    let token = old.sign(&grant()).unwrap();
    assert!(judge(&new, &token, NOW).unwrap().is_some());
    assert_eq!(new.key_set()["keys"].as_array().unwrap().len(), 2);
    assert_eq!(new.issuer(), "https://new.example");
}

#[test]
fn a_token_dies_with_what_it_is_bound_to() {
    let tokens = tokens();
    let token = tokens.sign(&in_pod()).unwrap();
    let found = judge(&tokens, &token, NOW).unwrap().unwrap();
    assert_eq!(found.user.extra["authentication.kubernetes.io/node-name"], ["n"]);
    assert_eq!(found.user.extra["authentication.kubernetes.io/node-uid"], ["u3"]);
    assert_eq!(found.rests_on.len(), 2);
    type Change = fn(&mut Store);
    let changes: [(Change, &str); 4] = [
        (|store| store.0.clear(), "serviceaccounts \"sa\" not found"),
        (
            |store| store.put("pods", json!({"metadata": {"namespace": "ns", "name": "p", "uid": "other"}})),
            "pod UID (other) does not match service account pod ref claim (u2)",
        ),
        (
            |store| {
                store.put(
                    "serviceaccounts",
                    json!({"metadata": {"namespace": "ns", "name": "sa", "uid": "u9"}}),
                )
            },
            "service account UID (u9) does not match claim (u1)",
        ),
        (
            |store| {
                store.put(
                    "serviceaccounts",
                    json!({"metadata": {"namespace": "ns", "name": "sa", "uid": "u1",
                        "deletionTimestamp": "2020-01-01T00:00:00Z"}}),
                );
            },
            "service account ns/sa has been deleted",
        ),
    ];
    for (change, why) in changes {
        let mut store = Store::with_account();
        change(&mut store);
        assert_eq!(tokens.judge(&asked(&token, &[], &store, NOW)).unwrap_err().0, why);
    }
}

#[test]
fn a_pods_token_outlives_what_the_client_is_told() {
    let tokens = tokens();
    let token = tokens.sign(&in_pod()).unwrap();
    assert!(judge(&tokens, &token, NOW + 30 * 24 * 3600).is_ok());
    let options = Options { extend_expiration: false, ..Options::default() };
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let strict = ServiceAccountTokens::with(&key, options).unwrap();
    let token = strict.sign(&in_pod()).unwrap();
    assert!(judge(&strict, &token, NOW + 2 * 3600).is_err());
}

/// A Secret's token, as the controllers make it, and the objects around it.
fn legacy(tokens: &ServiceAccountTokens) -> (String, Store) {
    let header = Header { kid: Some(tokens.keys[0].id.clone()), ..Header::new(Algorithm::ES256) };
    let claims = legacy::Claims::of("ns", "sa", "u1", "s");
    let token = jsonwebtoken::encode(&header, &claims, &tokens.signing).unwrap();
    let mut store = Store::with_account();
    store.put("secrets", secret(&token, json!({})));
    (token, store)
}

fn secret(token: &str, labels: Value) -> Value {
    use base64::Engine;
    let token = base64::engine::general_purpose::STANDARD.encode(token);
    json!({"metadata": {"namespace": "ns", "name": "s", "uid": "u7", "labels": labels}, "data": {"token": token}})
}

#[test]
fn a_secrets_token_is_void_when_the_secret_no_longer_holds_it() {
    let tokens = tokens();
    let (token, mut store) = legacy(&tokens);
    let found = tokens.judge(&asked(&token, &[], &store, NOW)).unwrap().unwrap();
    assert_eq!(found.user.name, "system:serviceaccount:ns:sa");
    assert_eq!(found.audiences, [ISSUER]);
    assert_eq!(found.last_use.unwrap().day, "2027-01-15");
    let vault = ["vault".to_owned()];
    assert!(tokens.judge(&asked(&token, &vault, &store, NOW)).is_err(), "only for this API server");
    store.put("secrets", secret(&token, json!({legacy::LAST_USED: "2027-01-15"})));
    let found = tokens.judge(&asked(&token, &[], &store, NOW)).unwrap().unwrap();
    assert_eq!(found.last_use, None, "the label says it already");
    store.put("secrets", secret("other", json!({})));
    let why = tokens.judge(&asked(&token, &[], &store, NOW)).unwrap_err().0;
    assert_eq!(why, "Token does not match server's copy");
    store.put("secrets", secret(&token, json!({"kubernetes.io/legacy-token-invalid-since": "2026-01-01"})));
    let why = tokens.judge(&asked(&token, &[], &store, NOW)).unwrap_err().0;
    assert!(why.contains("has been marked invalid"), "{why}");
    store.0.retain(|key, _| key.0 != "secrets");
    let why = tokens.judge(&asked(&token, &[], &store, NOW)).unwrap_err().0;
    assert_eq!(why, "Token has been invalidated");
}

#[test]
fn others_find_keys_and_algorithms() {
    let tokens = tokens();
    let found = tokens.openid_configuration("10.0.0.1:6443").unwrap();
    assert_eq!(found["issuer"], ISSUER);
    assert_eq!(found["jwks_uri"], "https://10.0.0.1:6443/openid/v1/jwks");
    assert_eq!(found["id_token_signing_alg_values_supported"], json!(["ES256"]));
    let key = &tokens.key_set()["keys"][0];
    assert_eq!((&key["kty"], &key["crv"], &key["use"]), (&json!("EC"), &json!("P-256"), &json!("sig")));
}
