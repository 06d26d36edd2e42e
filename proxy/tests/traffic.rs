//! Packets through real rules: each test on a machine of its own (see `lab`).
#![allow(clippy::unwrap_used, clippy::print_stdout)] // what stands around tests is test code too

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::time::Instant;

use serde_json::{Value, json};

mod lab;

use lab::{HOST, OUTSIDE, UdpClient, lab, lab_with, serve, sh, sh_result, tcp};

const IP: &str = "10.96.0.50";
const WEB: &str = "10.96.0.50:80";

fn spec(more: Value) -> Value {
    let mut spec = json!({"type": "ClusterIP", "clusterIP": IP, "clusterIPs": [IP], "ports": [
        {"name": "http", "protocol": "TCP", "port": 80, "targetPort": 80},
        {"name": "udp", "protocol": "UDP", "port": 80, "targetPort": 80}]});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

fn node_port(more: Value) -> Value {
    let mut spec = spec(more);
    spec["type"] = json!("NodePort");
    spec["ports"][0]["nodePort"] = json!(30080);
    spec
}

#[test]
fn a_cluster_ip_is_spread_over_all_endpoints_for_host_and_pods() {
    lab(|lab| {
        lab.pod("a", "10.244.0.2");
        lab.pod("b", "10.244.1.2");
        lab.service("web", spec(json!({})));
        lab.endpoints("web", &["10.244.0.2", "10.244.1.2"]);
        for from in ["host", "a", "b"] {
            lab.until_answered(from, WEB);
            let by: BTreeSet<String> = (0..40).map(|_| tcp(from, WEB).unwrap().by).collect();
            assert_eq!(by, ["a".to_owned(), "b".to_owned()].into(), "from {from}");
        }
    });
}

#[test]
fn a_pod_is_seen_by_its_own_address_on_its_bridge_and_across() {
    lab(|lab| {
        lab.pod("a", "10.244.0.2");
        lab.pod("same", "10.244.0.3");
        lab.pod("other", "10.244.1.2");
        lab.service("web", spec(json!({})));
        lab.endpoints("web", &["10.244.0.2"]);
        lab.until_answered("host", WEB);
        assert_eq!(tcp("same", WEB).unwrap().seen.to_string(), "10.244.0.3");
        assert_eq!(tcp("other", WEB).unwrap().seen.to_string(), "10.244.1.2");
        assert_eq!(tcp("a", WEB).unwrap().seen.to_string(), "10.244.0.1", "a hairpin comes from the bridge");
        assert_eq!(
            tcp("same", "10.244.0.2:80").unwrap().seen.to_string(),
            "10.244.0.3",
            "straight to the pod"
        );
    });
}

#[test]
fn one_bridge_works_without_br_netfilter() {
    let without = |_: &mut skiff_proxy::Config| {
        sh(
            "echo 0 > /proc/sys/net/bridge/bridge-nf-call-iptables && mount -t tmpfs none /proc/sys/net/bridge",
        );
    };
    lab_with(without, |lab| {
        lab.pod("a", "10.244.0.2");
        lab.pod("same", "10.244.0.3");
        lab.service("web", spec(json!({})));
        lab.endpoints("web", &["10.244.0.2"]);
        lab.until_answered("host", WEB);
        for from in ["same", "a"] {
            assert_eq!(tcp(from, WEB).unwrap().seen.to_string(), "10.244.0.1", "from {from}");
        }
    });
}

#[test]
fn a_change_among_thousands_of_services_takes_milliseconds() {
    lab(|lab| {
        lab.pod("a", "10.244.0.2");
        for n in 0..2000 {
            let ip = format!("10.96.{}.{}", 100 + n / 250, n % 250);
            lab.service(&format!("s{n}"), spec(json!({"clusterIP": ip, "clusterIPs": [ip]})));
            lab.endpoints(&format!("s{n}"), &["10.244.0.2"]);
        }
        lab.until_answered("host", "10.96.107.249:80");
        let mut took_ms: Vec<u128> = (0..10)
            .map(|n| {
                let (ip, to): (String, &'static str) =
                    (format!("10.96.200.{n}"), Box::leak(format!("10.96.200.{n}:80").into_boxed_str()));
                let began = Instant::now();
                lab.service(&format!("late{n}"), spec(json!({"clusterIP": ip, "clusterIPs": [ip]})));
                lab.endpoints(&format!("late{n}"), &["10.244.0.2"]);
                lab.until_answered("host", to);
                began.elapsed().as_millis()
            })
            .collect();
        took_ms.sort_unstable();
        println!("a service answers after {took_ms:?} ms");
        // Far above what it takes, since other tests run at the same time; the whole table takes longer than this.
        assert!(took_ms[5] < 500, "{took_ms:?}");
    });
}

#[test]
fn a_machine_without_a_default_route_reaches_services() {
    lab(|lab| {
        sh("ip route delete default");
        lab.pod("a", "10.244.0.2");
        lab.service("web", node_port(json!({})));
        lab.endpoints("web", &["10.244.0.2"]);
        lab.until_answered("host", WEB);
        lab.until_answered("host", "127.0.0.1:30080");
    });
}

#[test]
fn what_nobody_serves_is_refused_at_once() {
    lab(|lab| {
        lab.pod("a", "10.244.0.2");
        lab.service("empty", node_port(json!({"externalIPs": ["203.0.113.5"]})));
        lab.until("the rejection is there", || {
            sh("nft list set ip skiff rejected_ports").contains("30080").then_some(())
        });
        let of_host =
            [WEB, "10.96.7.7:80", "127.0.0.1:30080", "198.51.100.1:30080", "203.0.113.5:80", "10.244.9.9:80"];
        let of_pod = [
            WEB,
            "10.96.7.7:80",
            "198.51.100.1:30080",
            "10.244.0.1:30080",
            "203.0.113.5:80",
            "10.244.9.9:80",
        ];
        for (from, targets) in [("host", of_host), ("a", of_pod)] {
            for to in targets {
                let began = Instant::now();
                let error = tcp(from, to).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{from} to {to}: {error}");
                assert!(began.elapsed().as_millis() < 500, "{from} to {to} took {:?}", began.elapsed());
            }
        }
        let udp = UdpClient::at("a", WEB);
        lab.until("UDP is refused", || {
            udp.ask().is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused).then_some(())
        });
    });
}

#[test]
fn a_node_port_is_served_on_every_address_of_the_machine() {
    lab(|lab| {
        lab.pod("a", "10.244.0.2");
        lab.pod("b", "10.244.1.2");
        lab.service("web", node_port(json!({"externalIPs": ["203.0.113.5"]})));
        lab.endpoints("web", &["10.244.1.2"]);
        lab.until_answered("host", WEB);
        for to in ["127.0.0.1:30080", "198.51.100.1:30080", "10.244.0.1:30080", "203.0.113.5:80"] {
            assert_eq!(tcp("host", to).unwrap().by, "b", "host to {to}");
        }
        assert_eq!(tcp("outside", "198.51.100.1:30080").unwrap().by, "b");
        assert_eq!(tcp("a", "198.51.100.1:30080").unwrap().by, "b");
        assert_eq!(tcp("b", "198.51.100.1:30080").unwrap().by, "b", "a hairpin over the node port");
        sh(&format!("ip -n outside route add 203.0.113.5 via {HOST}"));
        assert_eq!(tcp("outside", "203.0.113.5:80").unwrap().by, "b");
        assert!(tcp("outside", "127.0.0.1:30080").is_err());
    });
}

#[test]
fn local_policies_keep_to_the_node_and_show_the_client() {
    lab(|lab| {
        lab.pod("a", "10.244.0.2");
        lab.service("web", node_port(json!({"externalTrafficPolicy": "Local"})));
        lab.endpoints("web", &["10.244.0.2"]);
        lab.until_answered("outside", "198.51.100.1:30080");
        assert_eq!(tcp("outside", "198.51.100.1:30080").unwrap().seen.to_string(), OUTSIDE);
        assert_eq!(tcp("host", "127.0.0.1:30080").unwrap().by, "a");
        // An endpoint elsewhere only: outside gets nothing here.
        lab.service(
            "web",
            node_port(json!({"externalTrafficPolicy": "Local", "internalTrafficPolicy": "Local"})),
        );
        lab.endpoints("web", &[OUTSIDE]);
        serve("outside", "outside", 80);
        lab.until("the machine itself still gets through", || {
            tcp("host", "127.0.0.1:30080").ok().filter(|answer| answer.by == "outside")
        });
        for (from, to) in [("outside", "198.51.100.1:30080"), ("a", WEB), ("host", WEB)] {
            assert_eq!(tcp(from, to).unwrap_err().kind(), ErrorKind::TimedOut, "{from} to {to}");
        }
    });
}

#[test]
fn a_client_keeps_its_endpoint_when_the_service_says_so() {
    lab(|lab| {
        for (name, ip) in [("a", "10.244.0.2"), ("b", "10.244.0.3"), ("c", "10.244.1.2"), ("d", "10.244.1.3")]
        {
            lab.pod(name, ip);
        }
        let sticky = json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 100}}});
        lab.service("web", spec(sticky));
        lab.endpoints("web", &["10.244.0.2", "10.244.0.3", "10.244.1.2", "10.244.1.3"]);
        for from in ["host", "a", "c"] {
            let first = lab.until_answered(from, WEB).by;
            for _ in 0..15 {
                assert_eq!(tcp(from, WEB).unwrap().by, first, "from {from}");
            }
        }
        let kept = tcp("host", WEB).unwrap().by;
        let ips = [("a", "10.244.0.2"), ("b", "10.244.0.3"), ("c", "10.244.1.2"), ("d", "10.244.1.3")];
        let others: Vec<&str> = ips.iter().filter(|(name, _)| *name != kept).map(|(_, ip)| *ip).collect();
        lab.endpoints("web", &others[1..]);
        lab.until("the endpoint that went is left", || (tcp("host", WEB).ok()?.by != kept).then_some(()));
    });
}

#[test]
fn a_draining_endpoint_serves_only_while_there_is_no_ready_one() {
    lab(|lab| {
        lab.pod("old", "10.244.0.2");
        lab.pod("new", "10.244.1.2");
        let draining = json!({"addresses": ["10.244.0.2"], "nodeName": "n1",
            "conditions": {"ready": false, "serving": true, "terminating": true}});
        let ready = json!({"addresses": ["10.244.1.2"], "nodeName": "n2", "conditions": {"ready": true}});
        lab.service("web", spec(json!({})));
        lab.slice("web", json!([draining]));
        assert_eq!(lab.until_answered("host", WEB).by, "old");
        lab.slice("web", json!([draining, ready]));
        lab.until("the ready one takes over", || (tcp("host", WEB).ok()?.by == "new").then_some(()));
        assert!((0..20).all(|_| tcp("host", WEB).unwrap().by == "new"));
    });
}

#[test]
fn a_udp_client_moves_when_its_endpoint_goes() {
    lab(|lab| {
        lab.pod("a", "10.244.0.2");
        lab.pod("b", "10.244.1.2");
        lab.pod("client", "10.244.0.3");
        lab.service("web", spec(json!({})));
        lab.endpoints("web", &["10.244.0.2"]);
        let client = UdpClient::at("client", WEB);
        lab.until("a answers", || (client.ask().ok()?.by == "a").then_some(()));
        lab.endpoints("web", &["10.244.1.2"]);
        lab.until("b answers the same client", || (client.ask().ok()?.by == "b").then_some(()));
    });
}

#[test]
fn pods_leave_the_machine_behind_its_address() {
    lab(|lab| {
        lab.pod("a", "10.244.0.2");
        serve("outside", "outside", 80);
        assert_eq!(tcp("a", "198.51.100.2:80").unwrap().seen.to_string(), HOST);
        assert!(tcp("outside", "127.0.0.1:80").is_ok(), "the server is there");
    });
}

#[test]
fn the_machine_itself_may_be_an_endpoint_as_the_api_server_is() {
    lab(|lab| {
        lab.pod("a", "10.244.0.2");
        lab.pod("b", "10.244.1.2");
        serve("host", "host", 80);
        lab.service("api", spec(json!({})));
        for endpoint in [HOST, "10.244.0.1"] {
            lab.endpoints("api", &[endpoint]);
            lab.until("the endpoint is there", || {
                sh("nft list table ip skiff").contains(endpoint).then_some(())
            });
            for from in ["a", "b", "host"] {
                assert_eq!(lab.until_answered(from, WEB).by, "host", "{from} to {endpoint}");
            }
            assert_eq!(tcp("a", WEB).unwrap().seen.to_string(), "10.244.0.2");
        }
    });
}

#[test]
fn rules_change_without_the_rest_and_survive_the_proxy_and_a_flush() {
    lab(|lab| {
        lab.pod("a", "10.244.0.2");
        lab.service("web", spec(json!({})));
        lab.endpoints("web", &["10.244.0.2"]);
        lab.until_answered("host", WEB);
        sh("nft flush ruleset");
        lab.service("more", spec(json!({"clusterIP": "10.96.0.51", "clusterIPs": ["10.96.0.51"]})));
        lab.until_answered("host", WEB);
        sh("nft flush ruleset");
        lab.until_answered("host", WEB);
        lab.delete_service("web");
        lab.until("the service is gone", || tcp("host", WEB).is_err().then_some(()));
        lab.service("web", spec(json!({})));
        lab.until_answered("host", WEB);
        lab.stop();
        assert_eq!(tcp("host", WEB).unwrap().by, "a");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(skiff_proxy::clean()).unwrap();
        assert!(!sh("iptables-save").contains("DOCKER"), "the chain made for a Docker that never came");
    });
}

#[test]
fn docker_does_not_drop_between_bridges_and_clean_leaves_nothing() {
    let like_docker = |_: &mut skiff_proxy::Config| {
        sh("iptables -N DOCKER-USER && iptables -A DOCKER-USER -j RETURN");
        sh("iptables -A FORWARD -j DOCKER-USER && iptables -P FORWARD DROP");
    };
    lab_with(like_docker, |lab| {
        lab.pod("a", "10.244.0.2");
        lab.pod("b", "10.244.1.2");
        lab.service("web", node_port(json!({})));
        lab.endpoints("web", &["10.244.1.2"]);
        lab.until_answered("a", WEB);
        assert_eq!(tcp("a", "10.244.1.2:80").unwrap().by, "b");
        assert_eq!(tcp("outside", "198.51.100.1:30080").unwrap().by, "b");
        // What Docker does when it is started again.
        sh(
            "iptables -N DOCKER-ISOLATION-STAGE-1 && iptables -A DOCKER-ISOLATION-STAGE-1 -i br0 -o br1 -j DROP",
        );
        sh("iptables -I FORWARD -j DOCKER-ISOLATION-STAGE-1");
        lab.until("the pods reach each other again", || tcp("a", WEB).ok());
        assert_eq!(tcp("a", "10.244.1.2:80").unwrap().by, "b");
        lab.stop();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(skiff_proxy::clean()).unwrap();
        runtime.block_on(skiff_proxy::clean()).unwrap();
        assert!(sh_result("nft list table ip skiff").is_err());
        assert!(sh_result("ip link show skiff-dns").is_err());
        assert_eq!(
            sh("iptables -S FORWARD"),
            "-P FORWARD DROP\n-A FORWARD -j DOCKER-ISOLATION-STAGE-1\n-A FORWARD -j DOCKER-USER\n"
        );
        assert_eq!(sh("iptables -S DOCKER-USER"), "-N DOCKER-USER\n-A DOCKER-USER -j RETURN\n");
    });
}
