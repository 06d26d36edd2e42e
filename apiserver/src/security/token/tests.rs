use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::security::text;

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
    let bound = Bound { resource: "pods".into(), name: "p".into(), uid: "u2".into(), node: Some("n".into()) };
    Grant { bound: Some(bound), seconds: 3607, ..grant() }
}

fn audiences() -> Vec<String> {
    vec![ISSUER.into()]
}

#[test]
fn a_token_is_valid_in_its_time_and_for_its_audience_only() {
    let tokens = tokens();
    let token = tokens.sign(&grant()).unwrap();
    let table = [(NOW, true), (NOW + 3600, true), (NOW + 3700, false), (NOW - 100, false)];
    for (at, valid) in table {
        assert_eq!(tokens.claims(&token, &audiences(), at).is_ok(), valid, "{at}");
    }
    assert!(tokens.claims(&token, &["vault".into()], NOW).is_err());
}

#[test]
fn tokens_of_another_key_or_changed_ones_are_refused() {
    let ours = tokens();
    let token = tokens().sign(&grant()).unwrap();
    assert!(ours.claims(&token, &audiences(), NOW).is_err());
    let token = ours.sign(&grant()).unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    let claims = URL_SAFE_NO_PAD.decode(parts[1]).unwrap();
    let forged = String::from_utf8(claims).unwrap().replace(":sa", ":admin");
    let forged = format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(forged), parts[2]);
    assert!(ours.claims(&forged, &audiences(), NOW).is_err());
    let unsigned = format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), parts[1]);
    assert!(ours.claims(&unsigned, &audiences(), NOW).is_err());
}

#[test]
fn a_token_dies_with_what_it_is_bound_to() {
    let tokens = tokens();
    let token = tokens.sign(&in_pod()).unwrap();
    let claims = tokens.claims(&token, &audiences(), NOW).unwrap();
    let user = claims.user(&Store::with_account(), NOW).unwrap();
    assert_eq!(user.extra["authentication.kubernetes.io/node-name"], ["n"]);
    let changes: [fn(&mut Store); 3] = [
        |store| store.0.clear(),
        |store| store.put("pods", json!({"metadata": {"namespace": "ns", "name": "p", "uid": "other"}})),
        |store| {
            store.put(
                "serviceaccounts",
                json!({"metadata": {"namespace": "ns", "name": "sa", "uid": "u1",
                    "deletionTimestamp": "2020-01-01T00:00:00Z"}}),
            );
        },
    ];
    for change in changes {
        let mut store = Store::with_account();
        change(&mut store);
        assert!(claims.user(&store, NOW).is_err());
    }
}

#[test]
fn a_pods_token_outlives_what_the_client_is_told() {
    let tokens = tokens();
    let token = tokens.sign(&in_pod()).unwrap();
    let claims = tokens.claims(&token, &audiences(), NOW + 30 * 24 * 3600).unwrap();
    assert_eq!(claims.bound.warnafter, Some(NOW + 3607));
}
