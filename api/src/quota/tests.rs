use serde_json::{Value, json};

use super::*;

fn quota(hard: Value, used: Value, spec: Value) -> Object {
    let mut quota = json!({"metadata": {"name": "q"}, "spec": spec, "status": {"hard": hard, "used": used}});
    quota["spec"]["hard"] = hard;
    quota
}

fn pod(requests: Value, limits: Value) -> Object {
    json!({"metadata": {"name": "p"}, "spec": {"containers": [
        {"name": "c", "resources": {"requests": requests, "limits": limits}},
    ]}})
}

fn made(group: &str, resource: &str, object: Object) -> Change {
    let measure = Measure::of(group, resource).unwrap();
    Change { measure, subresource: String::new(), new: object, old: None, now_s: 0 }
}

/// What is used then, or why not.
fn charged(quota: &Object, change: &Change) -> String {
    match charge(std::slice::from_ref(quota), change) {
        Ok(used) => used.first().map_or("-".to_owned(), |(_, used)| resources::show(used)),
        Err(Refusal(why)) => why,
    }
}

#[test]
fn a_write_is_charged_or_refused_in_upstreams_words() {
    let small = || pod(json!({"cpu": "1", "memory": "1Gi"}), json!({"cpu": "2"}));
    let plain = json!({});
    for (hard, used, object, expected) in [
        (json!({"pods": "2"}), json!({"pods": "1"}), small(), "pods=2"),
        (
            json!({"pods": "1"}),
            json!({"pods": "1"}),
            small(),
            "exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1",
        ),
        (
            json!({"cpu": "1", "requests.memory": "1Gi", "limits.cpu": "1", "pods": "5"}),
            json!({"cpu": "0", "requests.memory": "1Mi", "limits.cpu": "0", "pods": "0"}),
            small(),
            "exceeded quota: q, requested: limits.cpu=2,requests.memory=1Gi, used: limits.cpu=0,requests.memory=1Mi, \
             limited: limits.cpu=1,requests.memory=1Gi",
        ),
        (
            json!({"limits.cpu": "5", "limits.memory": "1Gi"}),
            json!({"limits.cpu": "0", "limits.memory": "0"}),
            small(),
            "failed quota: q: must specify limits.memory for: c",
        ),
        (
            json!({"requests.cpu": "5", "cpu": "5"}),
            json!({"requests.cpu": "0", "cpu": "0"}),
            pod(plain.clone(), plain.clone()),
            "failed quota: q: must specify cpu for: c; requests.cpu for: c",
        ),
        (json!({"pods": "5"}), json!({}), small(), "status unknown for quota: q, resources: pods"),
        (json!({"services": "0"}), json!({"services": "0"}), small(), "-"),
        (json!({"count/pods": "3"}), json!({"count/pods": "2"}), small(), "count/pods=3"),
        (
            json!({"requests.example.com/gpu": "1"}),
            json!({"requests.example.com/gpu": "0"}),
            pod(json!({"example.com/gpu": "2"}), json!({"example.com/gpu": "2"})),
            "exceeded quota: q, requested: requests.example.com/gpu=2, used: requests.example.com/gpu=0, \
             limited: requests.example.com/gpu=1",
        ),
        (
            json!({"ephemeral-storage": "1Gi", "requests.hugepages-2Mi": "4Mi"}),
            json!({"ephemeral-storage": "0", "requests.hugepages-2Mi": "0"}),
            pod(json!({"ephemeral-storage": "1Mi", "hugepages-2Mi": "2Mi"}), json!({})),
            "ephemeral-storage=1Mi,requests.hugepages-2Mi=2Mi",
        ),
    ] {
        let quota = quota(hard, used, json!({}));
        assert_eq!(charged(&quota, &made("", "pods", object)), expected, "{quota}");
    }
    let negative = quota(json!({"memory": "1Gi"}), json!({"memory": "0"}), json!({}));
    let object = pod(json!({"memory": "-1"}), json!({}));
    let why = "quota usage is negative for resource(s): memory,requests.memory";
    assert_eq!(charged(&negative, &made("", "pods", object)), why);
}

#[test]
fn a_pod_falls_under_the_quotas_of_its_scopes() {
    let limited = json!({"cpu": "1"});
    let plain = || pod(json!({}), json!({}));
    let burst = || pod(limited.clone(), json!({}));
    let with = |mut pod: Object, path: &str, value: Value| {
        pod["spec"][path] = value;
        pod
    };
    let classed = |class: &str| with(plain(), "priorityClassName", class.into());
    let term = json!({"topologyKey": "x", "namespaces": ["other"]});
    let near = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
    let rather = json!({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 1, "podAffinityTerm": {"topologyKey": "x", "namespaceSelector": {}}}]}});
    let own =
        json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "x"}]}});
    let scopes = |list: &[&str]| json!({"scopes": list});
    let select = |operator: &str, values: &[&str]| {
        let one = json!({"scopeName": "PriorityClass", "operator": operator, "values": values});
        json!({"scopeSelector": {"matchExpressions": [one]}})
    };
    let deadline = || with(plain(), "activeDeadlineSeconds", 5.into());
    for (spec, pod, takes) in [
        (scopes(&["Terminating"]), deadline(), true),
        (scopes(&["Terminating"]), plain(), false),
        (scopes(&["NotTerminating"]), deadline(), false),
        (scopes(&["NotTerminating"]), plain(), true),
        (scopes(&["BestEffort"]), plain(), true),
        (scopes(&["BestEffort"]), burst(), false),
        (scopes(&["NotBestEffort"]), burst(), true),
        (scopes(&["NotBestEffort", "Terminating"]), burst(), false),
        (scopes(&["PriorityClass"]), classed("high"), true),
        (scopes(&["PriorityClass"]), plain(), false),
        (scopes(&["CrossNamespacePodAffinity"]), with(plain(), "affinity", near), true),
        (scopes(&["CrossNamespacePodAffinity"]), with(plain(), "affinity", rather), true),
        (scopes(&["CrossNamespacePodAffinity"]), with(plain(), "affinity", own), false),
        (select("In", &["high", "low"]), classed("low"), true),
        (select("In", &["high"]), classed("low"), false),
        (select("NotIn", &["high"]), classed("low"), true),
        (select("NotIn", &["high"]), classed("high"), false),
        (select("NotIn", &["high"]), plain(), true),
        (select("DoesNotExist", &[]), plain(), true),
        (select("Exists", &[]), classed("x"), true),
        (scopes(&["VolumeAttributesClass"]), plain(), false),
    ] {
        let quota = quota(json!({"pods": "5"}), json!({"pods": "0"}), spec);
        let expected = if takes { "pods=1" } else { "-" };
        assert_eq!(charged(&quota, &made("", "pods", pod.clone())), expected, "{quota} {pod}");
    }
}

#[test]
fn services_claims_and_devices_are_counted_by_what_they_take() {
    let ports = json!([{"port": 1}, {"port": 2, "nodePort": 30000}]);
    let service = |sort: &str| json!({"spec": {"type": sort, "ports": ports}});
    let mut own = service("LoadBalancer");
    own["spec"]["allocateLoadBalancerNodePorts"] = false.into();
    let show = |group: &str, resource: &str, object: &Object| {
        resources::show(&Measure::of(group, resource).unwrap().usage(object, 0))
    };
    for (object, balancers, node_ports) in [
        (service("ClusterIP"), 0, 0),
        (service("NodePort"), 0, 2),
        (service("LoadBalancer"), 1, 2),
        (own, 1, 1),
    ] {
        assert_eq!(
            show("", "services", &object),
            format!(
                "count/services=1,services=1,services.loadbalancers={balancers},services.nodeports={node_ports}"
            )
        );
    }
    let claim = json!({"metadata": {"name": "c"},
        "spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1500m"}}}});
    assert_eq!(
        show("", "persistentvolumeclaims", &claim),
        "count/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/persistentvolumeclaims=1,\
         gold.storageclass.storage.k8s.io/requests.storage=2,persistentvolumeclaims=1,requests.storage=2"
    );
    let device = json!({"spec": {"devices": {"requests": [
        {"exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 2}},
        {"firstAvailable": [
            {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1},
            {"deviceClassName": "nic", "allocationMode": "All"},
        ]},
    ]}}});
    assert_eq!(
        show("resource.k8s.io", "resourceclaims", &device),
        "count/resourceclaims.resource.k8s.io=1,gpu.deviceclass.resource.k8s.io/devices=3,\
         nic.deviceclass.resource.k8s.io/devices=32"
    );
    assert_eq!(show("apps", "deployments", &json!({})), "count/deployments.apps=1");
    assert_eq!(show("", "secrets", &json!({})), "count/secrets=1,secrets=1");
    assert_eq!(Measure::of("", "events"), None);
}

#[test]
fn a_change_costs_what_it_adds() {
    let claim = |size: &str| json!({"metadata": {"name": "c"}, "spec": {"resources": {"requests": {"storage": size}}}});
    let limits = quota(
        json!({"requests.storage": "10Gi", "persistentvolumeclaims": "1"}),
        json!({"requests.storage": "2Gi", "persistentvolumeclaims": "1"}),
        json!({}),
    );
    let grown = |from: &str, to: &str| Change {
        old: Some(claim(from)),
        ..made("", "persistentvolumeclaims", claim(to))
    };
    assert_eq!(charged(&limits, &grown("2Gi", "5Gi")), "persistentvolumeclaims=1,requests.storage=5Gi");
    assert_eq!(charged(&limits, &grown("5Gi", "2Gi")), "-");
    let why = "exceeded quota: q, requested: requests.storage=10Gi, used: requests.storage=2Gi, limited: requests.storage=10Gi";
    assert_eq!(charged(&limits, &grown("2Gi", "12Gi")), why);

    // A pod that moves into a scope is new there.
    let mut bound = pod(json!({}), json!({}));
    bound["spec"]["activeDeadlineSeconds"] = 5.into();
    let moved = Change { old: Some(pod(json!({}), json!({}))), ..made("", "pods", bound.clone()) };
    assert!(moved.counts());
    let terminating = quota(json!({"pods": "5"}), json!({"pods": "3"}), json!({"scopes": ["Terminating"]}));
    assert_eq!(charged(&terminating, &moved), "pods=4");
    let same = Change { old: Some(bound.clone()), ..made("", "pods", bound) };
    assert!(!same.counts());
}

#[test]
fn what_a_namespace_uses_is_counted_from_what_is_there() {
    let mut ended = pod(json!({"cpu": "1"}), json!({}));
    ended["status"]["phase"] = "Succeeded".into();
    let mut stuck = pod(json!({"cpu": "1"}), json!({}));
    stuck["metadata"]["deletionTimestamp"] = "1970-01-01T00:00:10Z".into();
    stuck["metadata"]["deletionGracePeriodSeconds"] = 30.into();
    let pods = vec![pod(json!({"cpu": "1"}), json!({})), ended, stuck];
    let quota = quota(
        json!({"pods": "9", "count/pods": "9", "cpu": "9", "count/widgets.example.com": "3", "gone/x": "1"}),
        json!({"pods": "0", "count/widgets.example.com": "2", "old": "1"}),
        json!({}),
    );
    let names = Measure::of_names(quota["spec"]["hard"].as_object().unwrap().keys().map(String::as_str));
    let kinds: Vec<_> = names.iter().map(Measure::kind).collect();
    assert_eq!(kinds, [("", "pods"), ("example.com", "widgets")]);
    let count = |now_s| {
        let used = usage(&quota, now_s, |measure| match measure {
            Measure::Pods => Some(pods.clone()),
            // It could not be listed.
            _ => None,
        });
        resources::show(&used)
    };
    assert_eq!(count(40), "count/pods=3,count/widgets.example.com=2,cpu=2,pods=2");
    assert_eq!(count(41), "count/pods=3,count/widgets.example.com=2,cpu=1,pods=1");
    let used = usage(&quota, 41, |_| Some(Vec::new()));
    let (running, done) = (pod(json!({"cpu": "1"}), json!({})), &pods[1]);
    assert!(Measure::Pods.differs(&running, done, 0) && !Measure::Pods.differs(&running, &running, 0));
    assert_eq!(resources::show(&used), "count/pods=0,count/widgets.example.com=0,cpu=0,pods=0");
    let mut settled = quota.clone();
    settled["status"] = status(&quota, &used).expect("it is another");
    assert_eq!(status(&settled, &used), None);
    assert_eq!(settled["status"]["hard"], quota["spec"]["hard"]);
}
