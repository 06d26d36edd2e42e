//! Queries and their answers, as a table over one small cluster.

use std::sync::Arc;

use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use serde_json::json;

use super::forward::Transport;
use super::reply::{self, Outcome};
use super::zone::Zone;
use crate::state::State;

fn zone() -> Zone {
    Zone {
        domain: Name::from_ascii("cluster.local.").unwrap(),
        dns: "10.96.0.10".parse().unwrap(),
        cluster: "10.244.0.0/16".parse().unwrap(),
        services: "10.96.0.0/16".parse().unwrap(),
    }
}

fn cluster() -> State {
    let mut state = State::default();
    let mut service = |name: &str, spec: serde_json::Value| {
        let object = json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec});
        state.service(None, Some(&Arc::new(serde_json::from_value(object).unwrap())));
    };
    let ports = json!([{"name": "http", "protocol": "TCP", "port": 80}]);
    service("web", json!({"clusterIP": "10.96.0.50", "ports": ports}));
    service("db", json!({"clusterIP": "None", "ports": ports}));
    service("none", json!({"clusterIP": "None", "ports": ports}));
    service("ext", json!({"type": "ExternalName", "externalName": "example.com"}));
    service("inner", json!({"type": "ExternalName", "externalName": "web.default.svc.cluster.local"}));
    let slice = json!({
        "metadata": {"name": "db-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "db"}},
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": ["10.244.0.2"], "hostname": "db-0", "conditions": {"ready": true}},
            {"addresses": ["10.244.0.3"]},
            {"addresses": ["10.244.0.4"], "hostname": "db-2", "conditions": {"ready": false}}],
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
    });
    state.slice(None, Some(&Arc::new(serde_json::from_value(slice).unwrap())));
    state.completed();
    state
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut query = Message::query();
    query.metadata.id = 0;
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    query
}

/// The answer in one line: code, then the data of the answers, then `+` and the additional addresses.
fn ask(state: &State, name: &str, kind: RecordType) -> String {
    match reply::decide(&zone(), state, &query(name, kind)) {
        Outcome::Forward => "forward".to_owned(),
        Outcome::Drop => "drop".to_owned(),
        Outcome::Alias { records, lookup } => {
            format!("{} then {}", records[0].data, lookup.queries[0].name())
        }
        Outcome::Ready(reply) => {
            let mut words = vec![match reply.metadata.response_code {
                ResponseCode::NoError if reply.answers.is_empty() => "nothing".to_owned(),
                ResponseCode::NoError => "ok".to_owned(),
                ResponseCode::NXDomain => "unknown".to_owned(),
                other => other.to_string(),
            }];
            assert!(reply.answers.iter().all(|record| record.ttl == 5));
            let soa = reply.authorities.iter().any(|record| record.record_type() == RecordType::SOA);
            assert_eq!(soa, words[0] != "ok" && words[0] != "Server Failure", "{name} {kind}");
            words.extend(reply.answers.iter().map(|record| record.data.to_string()));
            words.extend(reply.additionals.iter().map(|record| format!("+{}", record.data)));
            words.join(" ")
        }
    }
}

#[test]
fn names_of_the_cluster() {
    use RecordType::{A, AAAA, NS, PTR, SOA, SRV, TXT};
    let state = cluster();
    for (name, kind, expected) in [
        ("web.default.svc.cluster.local.", A, "ok 10.96.0.50"),
        ("WEB.Default.svc.CLUSTER.local.", A, "ok 10.96.0.50"),
        ("web.default.svc.cluster.local.", AAAA, "nothing"),
        ("db.default.svc.cluster.local.", A, "ok 10.244.0.2 10.244.0.3"),
        ("db-0.db.default.svc.cluster.local.", A, "ok 10.244.0.2"),
        ("10-244-0-3.db.default.svc.cluster.local.", A, "ok 10.244.0.3"),
        ("db-2.db.default.svc.cluster.local.", A, "unknown"),
        ("none.default.svc.cluster.local.", A, "nothing"),
        ("nope.default.svc.cluster.local.", A, "unknown"),
        ("web.other.svc.cluster.local.", A, "unknown"),
        ("example.com.default.svc.cluster.local.", A, "unknown"),
        ("web.svc.cluster.local.", A, "unknown"),
        ("default.svc.cluster.local.", A, "nothing"),
        ("svc.cluster.local.", A, "nothing"),
        ("other.svc.cluster.local.", A, "unknown"),
        (
            "_http._tcp.web.default.svc.cluster.local.",
            SRV,
            "ok 0 100 80 web.default.svc.cluster.local. +10.96.0.50",
        ),
        ("_tcp.web.default.svc.cluster.local.", SRV, "nothing"),
        ("_nope._tcp.web.default.svc.cluster.local.", SRV, "unknown"),
        ("_http._udp.web.default.svc.cluster.local.", SRV, "unknown"),
        (
            "_http._tcp.db.default.svc.cluster.local.",
            SRV,
            "ok 0 50 8080 db-0.db.default.svc.cluster.local. 0 50 8080 10-244-0-3.db.default.svc.cluster.local. +10.244.0.2 +10.244.0.3",
        ),
        ("ext.default.svc.cluster.local.", A, "example.com. then example.com."),
        ("inner.default.svc.cluster.local.", A, "ok web.default.svc.cluster.local. 10.96.0.50"),
        ("10-244-0-9.default.pod.cluster.local.", A, "ok 10.244.0.9"),
        ("x.default.pod.cluster.local.", A, "unknown"),
        ("50.0.96.10.in-addr.arpa.", PTR, "ok web.default.svc.cluster.local."),
        ("2.0.244.10.in-addr.arpa.", PTR, "ok db-0.db.default.svc.cluster.local."),
        ("51.0.96.10.in-addr.arpa.", PTR, "unknown"),
        ("1.1.1.1.in-addr.arpa.", PTR, "forward"),
        ("example.com.", A, "forward"),
        ("cluster.local.", NS, "ok ns.dns.cluster.local."),
        ("ns.dns.cluster.local.", A, "ok 10.96.0.10"),
        ("dns-version.cluster.local.", TXT, "ok 1.1.0"),
        ("cluster.local.", A, "nothing"),
    ] {
        assert_eq!(ask(&state, name, kind), expected, "{name} {kind}");
    }
    assert!(ask(&state, "cluster.local.", SOA).starts_with("ok ns.dns.cluster.local."));
}

#[test]
fn names_follow_the_state() {
    let mut state = cluster();
    let new = json!({"metadata": {"name": "late", "namespace": "new"}, "spec": {"clusterIP": "10.96.0.60"}});
    let new = Arc::new(serde_json::from_value(new).unwrap());
    assert_eq!(ask(&state, "late.new.svc.cluster.local.", RecordType::A), "unknown");
    state.service(None, Some(&new));
    assert_eq!(ask(&state, "late.new.svc.cluster.local.", RecordType::A), "ok 10.96.0.60");
    state.service(Some(&new), None);
    assert_eq!(ask(&state, "late.new.svc.cluster.local.", RecordType::A), "unknown");
    assert_eq!(ask(&state, "60.0.96.10.in-addr.arpa.", RecordType::PTR), "unknown");
}

#[test]
fn before_the_first_list_nothing_is_denied() {
    let state = State::default();
    assert_eq!(ask(&state, "web.default.svc.cluster.local.", RecordType::A), "Server Failure");
    assert_eq!(ask(&state, "example.com.", RecordType::A), "forward");
}

#[test]
fn each_query_begins_with_another_address() {
    let state = cluster();
    let first = |id: u16| {
        let mut query = query("db.default.svc.cluster.local.", RecordType::A);
        query.metadata.id = id;
        let Outcome::Ready(reply) = reply::decide(&zone(), &state, &query) else { panic!("not ours?") };
        reply.answers[0].data.to_string()
    };
    assert_ne!(first(0), first(1));
}

#[test]
fn long_answers_are_cut_to_what_a_client_takes() {
    let mut state = cluster();
    let endpoints: Vec<_> = (0..200).map(|n| json!({"addresses": [format!("10.244.1.{n}")]})).collect();
    let slice = json!({
        "metadata": {"name": "none-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "none"}},
        "addressType": "IPv4", "endpoints": endpoints, "ports": [],
    });
    state.slice(None, Some(&Arc::new(serde_json::from_value(slice).unwrap())));
    let mut query = query("none.default.svc.cluster.local.", RecordType::A);
    let answer = |query: &Message, transport| {
        let Outcome::Ready(reply) = reply::decide(&zone(), &state, query) else { panic!("not ours?") };
        let bytes = reply::bytes(query, reply, transport);
        (bytes.len(), Message::from_vec(&bytes).unwrap())
    };
    let (length, cut) = answer(&query, Transport::Udp);
    assert!(length <= 512 && cut.metadata.truncation && cut.queries.len() == 1);
    let (_, whole) = answer(&query, Transport::Tcp);
    assert!(!whole.metadata.truncation);
    assert_eq!(whole.answers.len(), 200);
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    query.set_edns(edns);
    let (length, cut) = answer(&query, Transport::Udp);
    assert!(length <= 1232 && cut.metadata.truncation && cut.edns.is_some());
}
