//! Services and what they compile to, as the text that nft gets.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};
use skiff_runtime::Key;

use super::{Facts, compile, short};
use crate::nft;
use crate::rules::Rules;

fn facts() -> Facts {
    Facts {
        nodes: ["n1".to_owned()].into(),
        cluster: "10.244.0.0/16".parse().unwrap(),
        dns: Some("10.96.0.10".parse().unwrap()),
    }
}

fn service(spec: Value) -> Service {
    let mut object = json!({"metadata": {"name": "web", "namespace": "default"}, "spec": {
        "clusterIP": "10.96.0.50", "ports": [{"port": 80}]}});
    object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(object).unwrap()
}

fn slice(endpoints: Value) -> EndpointSlice {
    serde_json::from_value(json!({
        "metadata": {"name": "web-1"}, "addressType": "IPv4", "endpoints": endpoints, "ports": [{"port": 8080}]}))
    .unwrap()
}

fn here(ip: &str) -> Value {
    json!({"addresses": [ip], "nodeName": "n1"})
}

fn there(ip: &str) -> Value {
    json!({"addresses": [ip], "nodeName": "n2"})
}

/// What nft gets for one service, without the table's name.
fn text(service: &Service, endpoints: Value) -> Vec<String> {
    let slice = slice(endpoints);
    let part = compile(service, std::iter::once(&slice), &facts());
    let change = Rules::default().apply([(Key::new("default", "web"), part)].into());
    let text = nft::incremental(&change).replace(" ip skiff ", " ");
    text.lines().filter(|line| !line.starts_with("add chain")).map(str::to_owned).collect()
}

#[test]
fn a_plain_service() {
    assert_eq!(
        text(&service(json!({})), json!([here("10.244.0.2"), there("10.244.1.2")])),
        [
            "add rule c-default/web/tcp/80 ip daddr 10.96.0.50 ip saddr != 10.244.0.0/16 meta mark set meta mark | 0x4000",
            "add rule c-default/web/tcp/80 meta l4proto tcp dnat ip to numgen random mod 2 map { 0 : 10.244.0.2 . 8080, 1 : 10.244.1.2 . 8080 }",
            "add element service_ips { 10.96.0.50 . tcp . 80 : goto c-default/web/tcp/80 }",
            "add element hairpin { 10.244.0.2 . 10.244.0.2 }",
        ]
    );
}

#[test]
fn a_service_without_endpoints_is_rejected_wherever_it_is() {
    let spec = json!({"type": "NodePort", "externalIPs": ["203.0.113.5"], "ports": [{"port": 80, "nodePort": 30080}]});
    assert_eq!(
        text(&service(spec), json!([{"addresses": ["10.244.0.2"], "conditions": {"ready": false}}])),
        [
            "add element rejected_ips { 10.96.0.50 . tcp . 80, 203.0.113.5 . tcp . 80 }",
            "add element rejected_ports { tcp . 30080 }"
        ]
    );
}

#[test]
fn external_traffic_with_the_local_policy() {
    let spec = json!({"type": "NodePort", "externalTrafficPolicy": "Local", "ports": [{"port": 80, "nodePort": 30080}]});
    let lines = text(&service(spec.clone()), json!([here("10.244.0.2"), there("10.244.1.2")]));
    let external: Vec<&String> = lines.iter().filter(|line| line.contains("x-default")).collect();
    assert_eq!(
        external,
        [
            "add rule x-default/web/tcp/80 ip saddr 10.244.0.0/16 goto c-default/web/tcp/80",
            "add rule x-default/web/tcp/80 fib saddr type local meta mark set meta mark | 0x4000",
            "add rule x-default/web/tcp/80 fib saddr type local goto c-default/web/tcp/80",
            "add rule x-default/web/tcp/80 goto l-default/web/tcp/80",
            "add element node_ports { tcp . 30080 : goto x-default/web/tcp/80 }",
        ]
    );
    assert!(
        lines.contains(
            &"add rule l-default/web/tcp/80 meta l4proto tcp dnat ip to 10.244.0.2:8080".to_owned()
        )
    );
    let elsewhere = text(&service(spec), json!([there("10.244.1.2")]));
    assert!(elsewhere.contains(&"add rule x-default/web/tcp/80 drop".to_owned()));
}

#[test]
fn a_load_balancer_lets_in_whom_it_names() {
    let mut service =
        service(json!({"type": "LoadBalancer", "loadBalancerSourceRanges": ["198.51.100.0/24"]}));
    let status = json!({"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}, {"ip": "203.0.113.10", "ipMode": "Proxy"}]}});
    service.status = serde_json::from_value(status).unwrap();
    let lines = text(&service, json!([here("10.244.0.2")]));
    for expected in [
        "add rule f-default/web/tcp/80 ip saddr 198.51.100.0/24 goto x-default/web/tcp/80",
        "add rule f-default/web/tcp/80 drop",
        "add rule x-default/web/tcp/80 meta mark set meta mark | 0x4000",
        "add element service_ips { 10.96.0.50 . tcp . 80 : goto c-default/web/tcp/80, 203.0.113.9 . tcp . 80 : goto f-default/web/tcp/80 }",
    ] {
        assert!(lines.iter().any(|line| line == expected), "{expected}\n{lines:#?}");
    }
}

#[test]
fn what_needs_no_rules() {
    for spec in [
        json!({"clusterIP": "None"}),
        json!({"type": "ExternalName", "externalName": "example.com"}),
        json!({"clusterIP": "fd00::1"}),
        json!({"clusterIP": ""}),
    ] {
        assert_eq!(text(&service(spec.clone()), json!([here("10.244.0.2")])), [""; 0], "{spec}");
    }
    let dns = service(json!({"clusterIP": "10.96.0.10"}));
    assert_eq!(text(&dns, json!([])), [""; 0], "our own server answers there");
    let mut labelled = service(json!({}));
    labelled.metadata.labels = Some([(super::OTHER_PROXY.to_owned(), "other".to_owned())].into());
    assert_eq!(text(&labelled, json!([here("10.244.0.2")])), [""; 0]);
}

#[test]
fn long_names_fit_and_stay_apart() {
    let name = |last: &str| short(format!("{}/{}/tcp/{last}", "n".repeat(63), "s".repeat(63)));
    assert!(name("80").len() <= super::LONGEST_NAME);
    assert_ne!(name("80"), name("81"));
    assert_eq!(short("default/web/tcp/80".into()), "default/web/tcp/80");
}
