//! What it costs to know who asks and what they may do.

#![allow(clippy::unwrap_used, missing_docs, reason = "a measurement")]

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use http::HeaderMap;
use serde_json::{Value, json};
use skiff_apiserver::security::authenticate::{Credentials, Options};
use skiff_apiserver::security::token::Grant;
use skiff_apiserver::security::{Attributes, Authenticator, Authority, Authorizer, Objects, User};

const ROLES: usize = 2000;
const BINDINGS: usize = 5000;
const NAMESPACES: usize = 100;

/// Roles and bindings of a large cluster; each user has some ten of the latter.
fn authority() -> Authority {
    let mut authority = Authority::new();
    for at in 0..ROLES {
        let rules = json!([
            {"apiGroups": ["", "apps"], "resources": ["pods", "deployments", "configmaps"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [format!("s-{at}")], "verbs": ["get"]},
        ]);
        let role = json!({"kind": "Role", "rules": rules,
            "metadata": {"name": format!("r-{at}"), "namespace": format!("ns-{}", at % NAMESPACES)}});
        authority.update("Role", None, Some(&role));
    }
    for at in 0..BINDINGS {
        let role = at % ROLES;
        let binding = json!({"kind": "RoleBinding",
            "metadata": {"name": format!("b-{at}"), "namespace": format!("ns-{}", role % NAMESPACES)},
            "roleRef": {"kind": "Role", "name": format!("r-{role}")},
            "subjects": [{"kind": "User", "name": format!("user-{}", at % 500)},
                {"kind": "Group", "name": format!("group-{}", at % 50)}]});
        authority.update("RoleBinding", None, Some(&binding));
    }
    authority
}

fn authorization(criterion: &mut Criterion) {
    let authority = authority();
    let user = User::new("user-7", &["group-7", "system:authenticated"]);
    let mut group = criterion.benchmark_group("authorize, 5,000 bindings and 2,000 roles");
    for (what, namespace, resource) in
        [("allowed", "ns-7", "pods"), ("refused", "ns-7", "nodes"), ("refused elsewhere", "ns-8", "pods")]
    {
        let asked = Attributes {
            user: &user,
            verb: "get",
            resource,
            namespace,
            name: "x",
            version: "v1",
            resource_request: true,
            ..Attributes::default()
        };
        assert_eq!(authority.authorize(&asked).is_allowed(), what == "allowed");
        group.bench_function(what, |bencher| bencher.iter(|| authority.authorize(black_box(&asked))));
    }
    group.finish();
}

struct Store(HashMap<(String, String), Arc<Value>>);

impl Objects for Store {
    fn get(&self, resource: &str, _: &str, name: &str) -> Option<Arc<Value>> {
        self.0.get(&(resource.to_owned(), name.to_owned())).cloned()
    }

    fn stamp(&self, resource: &str, namespace: &str, name: &str) -> Option<u64> {
        self.get(resource, namespace, name).map(|_| 1)
    }
}

fn authentication(criterion: &mut Criterion) {
    let account = json!({"metadata": {"namespace": "ns", "name": "sa", "uid": "u1"}});
    let store = Store([(("serviceaccounts".into(), "sa".into()), Arc::new(account))].into());
    let key = rcgen::KeyPair::generate().unwrap();
    let ca = rcgen::CertificateParams::default().self_signed(&key).unwrap().pem();
    let authenticator = Authenticator::new(&Options::default(), &ca, &key.serialize_pem()).unwrap();
    let now = jiff::Timestamp::now();
    let grant = Grant {
        namespace: "ns".into(),
        name: "sa".into(),
        uid: "u1".into(),
        seconds: 3600,
        now,
        ..Grant::default()
    };
    let token = authenticator.accounts.sign(&grant).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    let shown = Credentials { certificate: None, headers: &headers, path: "/api" };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let now_s = now.as_second();
    let mut group = criterion.benchmark_group("a service account's token (ES256)");
    group.bench_function("cached", |bencher| {
        bencher.iter(|| runtime.block_on(authenticator.authenticate(&shown, &store, now_s)).unwrap());
    });
    group.bench_function("fresh", |bencher| {
        bencher.iter(|| runtime.block_on(authenticator.review(&token, &[], &store, now_s)).unwrap());
    });
    group.finish();
}

criterion_group!(benches, authorization, authentication);
criterion_main!(benches);
