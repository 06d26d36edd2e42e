//! Cluster IPs and node ports, given out by two servers at once.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use skiff_apiserver::Config;
use skiff_storage::{Expect, Op, Range, Storage};

use crate::bed::{Bed, EtcdBed};
use crate::server::Server;

const SERVICES: &str = "/api/v1/namespaces/default/services";

/// Ranges so small that two who choose at random soon choose the same.
fn narrow(config: &mut Config) {
    config.service_cidr = "10.96.0.0/24".into();
    config.node_ports = (30000, 30099);
}

async fn server(bed: &EtcdBed) -> Server {
    Server::on(bed.client().await, "", narrow).await
}

fn service(name: &str, mut spec: Value) -> Value {
    if spec["ports"].is_null() {
        spec["ports"] = json!([{}]);
    }
    spec["ports"][0]["port"] = 80.into();
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
}

/// What the claims in the store say: key and Service.
async fn claims(store: &dyn Storage) -> BTreeSet<(String, String)> {
    let mut claims = BTreeSet::new();
    for prefix in ["/registry/ipaddresses/", "/registry/skiff.io/nodeports/"] {
        for entry in store.list(prefix, Range::default()).await.unwrap().entries {
            let value: Value = serde_json::from_slice(&entry.value).unwrap();
            let name = value["spec"]["parentRef"]["name"].as_str().unwrap().to_owned();
            claims.insert((entry.key[prefix.len()..].to_owned(), name));
        }
    }
    claims
}

/// What the Services hold: the same, if all is well.
async fn held(server: &Server) -> BTreeSet<(String, String)> {
    let list = server.admin().get("/api/v1/services").await.expect(200);
    let mut held = BTreeSet::new();
    for service in list["items"].as_array().unwrap() {
        let name = service["metadata"]["name"].as_str().unwrap();
        let ports = service["spec"]["ports"].as_array().unwrap();
        let ports = ports.iter().filter(|port| !port["nodePort"].is_null());
        let things = [service["spec"]["clusterIP"].as_str().unwrap().to_owned()].into_iter();
        for thing in things.chain(ports.map(|port| port["nodePort"].to_string())) {
            assert!(!held.iter().any(|(other, _)| *other == thing), "{thing} is given out twice");
            held.insert((thing, name.to_owned()));
        }
    }
    held
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_give_nothing_out_twice() {
    let bed = EtcdBed::start().await;
    let (one, other) = tokio::join!(server(&bed), server(&bed));
    let made = |server: &Server, who: &'static str| {
        let admin = server.admin();
        async move {
            for at in 0..40 {
                let spec = json!({"type": "NodePort"});
                admin.post(SERVICES, &service(&format!("{who}-{at}"), spec)).await.expect(201);
            }
        }
    };
    tokio::join!(made(&one, "one"), made(&other, "other"));
    let held_now = held(&one).await;
    assert_eq!(held_now.len(), 161, "80 Services with two things each, and the API's own address");
    assert_eq!(claims(&*bed.store()).await, held_now);

    // The same thing asked of both: one gets it, the other is told.
    for round in 0..10 {
        let free = (0..100).map(|at| 30_000 + at);
        let taken = |port: u16| held_now.iter().any(|(thing, _)| *thing == port.to_string());
        let port = free.filter(|port| !taken(*port)).nth(round).unwrap();
        let spec = json!({"type": "NodePort", "clusterIP": format!("10.96.0.{}", 2 + round), "ports": [{"nodePort": port}]});
        let (one, other) = (one.admin(), other.admin());
        let (mine, theirs) = (
            service(&format!("fixed-one-{round}"), spec.clone()),
            service(&format!("fixed-other-{round}"), spec),
        );
        let answers = tokio::join!(one.post(SERVICES, &mine), other.post(SERVICES, &theirs));
        let codes = BTreeSet::from([answers.0.code, answers.1.code]);
        assert_eq!(codes, [201, 422].into(), "{} {}", answers.0.text(), answers.1.text());
        let refused = if answers.0.code == 422 { answers.0 } else { answers.1 };
        assert!(refused.text().contains("is already allocated"), "{}", refused.text());
    }

    // What changes hands does so at once, whoever is asked.
    for round in 0..10 {
        let (one, other) = if round % 2 == 0 { (&one, &other) } else { (&other, &one) };
        let (one, other) = (one.admin(), other.admin());
        let spec = json!({"clusterIP": "10.96.0.14"});
        let path = format!("{SERVICES}/moving");
        one.post(SERVICES, &service("moving", spec.clone())).await.expect(201);
        one.delete(&path).await.expect(200);
        other.post(SERVICES, &service("moved", spec)).await.expect(201);
        other.delete(&format!("{SERVICES}/moved")).await.expect(200);
    }
    let ports = json!({"spec": {"type": "ClusterIP", "ports": [{"port": 80, "nodePort": null}]}});
    for at in 0..40 {
        let path = format!("{SERVICES}/one-{at}");
        other.admin().patch(&path, "merge-patch", &ports).await.expect(200);
    }
    assert_eq!(claims(&*bed.store()).await, held(&one).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_repairs_what_does_not_agree() {
    let bed = EtcdBed::start().await;
    let store = bed.store();
    let put = async |key: &str, value: Value| {
        let op = Op::Put { value: value.to_string().into(), ttl_s: None };
        store.write(key, Expect::Absent, op).await.unwrap();
    };
    // As an older server, or kube-apiserver, left it: a Service whose claims are missing.
    let spec = json!({"type": "NodePort", "clusterIP": "10.96.0.77", "clusterIPs": ["10.96.0.77"],
        "ports": [{"port": 80, "nodePort": 30077}]});
    let metadata = json!({"name": "old", "namespace": "default", "uid": "u"});
    put(
        "/registry/services/specs/default/old",
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}),
    )
    .await;
    // As a server that ended in between left it: a claim without a Service.
    put(
        "/registry/skiff.io/nodeports/30078",
        json!({"metadata": {"creationTimestamp": "2020-01-01T00:00:00Z"},
            "spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "never"}}}),
    )
    .await;
    let server = server(&bed).await;
    let expected = [("10.96.0.1", "kubernetes"), ("10.96.0.77", "old"), ("30077", "old")];
    let expected: BTreeSet<_> =
        expected.into_iter().map(|(thing, name)| (thing.to_owned(), name.to_owned())).collect();
    assert_eq!(claims(&*store).await, expected);
    let again = server.admin().post(SERVICES, &service("new", json!({"clusterIP": "10.96.0.77"}))).await;
    assert!(again.code == 422 && again.text().contains("already allocated"), "{}", again.text());
}
