use super::*;
use crate::endpoints::legacy;
use serde_json::{Value, json};

fn service(spec: Value) -> Arc<Service> {
    let mut whole = json!({
        "selector": {"app": "web"}, "clusterIP": "10.96.0.5",
        "ports": [{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}],
    });
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    Arc::new(
        serde_json::from_value(
            json!({"metadata": {"name": "web", "namespace": "default", "uid": "s"}, "spec": whole}),
        )
        .unwrap(),
    )
}

/// `R` ready, `n` not ready, `t` terminating but ready, `f` failed, `0` without an address, `o` on another port.
fn pods(states: &str) -> Vec<Arc<Pod>> {
    let pod = |(index, state): (usize, char)| {
        let mut pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": format!("{state}{index}"), "namespace": "default", "uid": index.to_string()},
            "spec": {"nodeName": "a", "hostname": "h", "subdomain": "web", "containers": [
                {"name": "c", "ports": [{"name": "web", "containerPort": if state == 'o' { 9090 } else { 8080 }}]}
            ]},
            "status": {
                "phase": if state == 'f' { "Failed" } else { "Running" },
                "podIP": if state == '0' { "".to_owned() } else { format!("10.244.0.{index}") },
                "conditions": [{"type": "Ready", "status": if state == 'n' { "False" } else { "True" }}],
            },
        }))
        .unwrap();
        if state == 't' {
            pod.metadata.deletion_timestamp =
                Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
        }
        Arc::new(pod)
    };
    states.chars().enumerate().map(pod).collect()
}

fn world(spec: Value, states: &str, slices: Vec<EndpointSlice>) -> World {
    World {
        service: service(spec),
        pods: pods(states),
        slices: slices.into_iter().map(Arc::new).collect(),
        endpoints: None,
        zones: [("a".to_owned(), "z".to_owned())].into(),
    }
}

fn shown(slice: &EndpointSlice) -> Vec<String> {
    let endpoints = slice.endpoints.iter().flatten();
    let mut texts: Vec<_> = endpoints
        .map(|endpoint| {
            let conditions = endpoint.conditions.as_ref().unwrap();
            let flag =
                |value: Option<bool>, letter: &'static str| if value == Some(true) { letter } else { "" };
            let name = endpoint.target_ref.as_ref().unwrap().name.clone().unwrap();
            let (r, s, t) = (conditions.ready, conditions.serving, conditions.terminating);
            format!("{name}:{}{}{}", flag(r, "r"), flag(s, "s"), flag(t, "t"))
        })
        .collect();
    texts.sort();
    texts
}

#[test]
fn each_pod_is_shown_in_its_condition() {
    let table = [
        (json!({}), "Rntf0", vec!["R0:rs", "n1:", "t2:st"]),
        (json!({"publishNotReadyAddresses": true}), "Rnt", vec!["R0:rs", "n1:r", "t2:rst"]),
        (json!({}), "", vec![]),
    ];
    for (spec, states, expected) in table {
        let plan = decide(&world(spec, states, vec![]));
        assert_eq!(plan.create.len(), 1, "{states}");
        assert_eq!(shown(&plan.create[0]), expected, "{states}");
    }
}

#[test]
fn an_endpoint_names_node_zone_host_and_port() {
    let plan = decide(&world(json!({"clusterIP": "None"}), "R", vec![]));
    let slice = &plan.create[0];
    let endpoint = &slice.endpoints.as_ref().unwrap()[0];
    assert_eq!(endpoint.node_name.as_deref(), Some("a"));
    assert_eq!(endpoint.zone.as_deref(), Some("z"));
    assert_eq!(endpoint.hostname.as_deref(), Some("h"));
    assert_eq!(slice.ports.as_ref().unwrap()[0].port, Some(8080));
    assert_eq!(label(slice, HEADLESS), Some(""));
    assert_eq!(service_of(slice), Some("web"));
    assert!(is_ours(slice));
}

#[test]
fn pods_with_other_ports_are_in_another_slice() {
    assert_eq!(decide(&world(json!({}), "Ro", vec![])).create.len(), 2);
}

#[test]
fn slices_hold_a_hundred_and_settle() {
    let states = "R".repeat(250);
    let plan = decide(&world(json!({}), &states, vec![]));
    let sizes: Vec<_> = plan.create.iter().map(|slice| slice.endpoints.as_ref().unwrap().len()).collect();
    assert_eq!(sizes, [100, 100, 50]);
    let again = decide(&world(json!({}), &states, plan.create.clone()));
    assert!(again.create.is_empty() && again.update.is_empty() && again.delete.is_empty());
    // One pod goes, one changes: one slice each is touched at most.
    let fewer = decide(&world(json!({}), &format!("{}n", "R".repeat(248)), plan.create));
    assert!(fewer.create.is_empty() && fewer.delete.is_empty());
    assert!((1..=2).contains(&fewer.update.len()), "{}", fewer.update.len());
}

#[test]
fn the_last_slice_stays_when_it_runs_empty() {
    let first = decide(&world(json!({}), "R", vec![])).create;
    let plan = decide(&world(json!({}), "", first));
    assert!(plan.create.is_empty() && plan.delete.is_empty());
    assert_eq!(plan.update.len(), 1);
    assert!(shown(&plan.update[0]).is_empty());
}

#[test]
fn endpoints_tell_ready_from_not_ready() {
    let endpoints = legacy::decide(&world(json!({}), "Rntf", vec![])).unwrap();
    let subset = &endpoints.subsets.as_ref().unwrap()[0];
    let ips = |list: &Option<Vec<k8s_openapi::api::core::v1::EndpointAddress>>| {
        list.iter().flatten().map(|address| address.ip.clone()).collect::<Vec<_>>()
    };
    assert_eq!(ips(&subset.addresses), ["10.244.0.0"]);
    assert_eq!(ips(&subset.not_ready_addresses), ["10.244.0.1"]);
    let mut settled = world(json!({}), "Rntf", vec![]);
    settled.endpoints = Some(Arc::new(endpoints));
    assert!(legacy::decide(&settled).is_none());
}
