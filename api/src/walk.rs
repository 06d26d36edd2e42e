//! Walks over an object beside its schema, each a file: prune, default, normalise, check, decode
//! errors.

mod check;
mod conditional;
mod decode;
mod default;
mod normalise;
mod prune;

use serde_json::Value;

pub use check::check;
pub(crate) use conditional::TEMPLATE_GENERATION;
pub use decode::{decode_error, sort};
pub use default::default;
pub use normalise::normalise;
pub use prune::prune;

/// `base.name`, or `name` at the root.
pub(crate) fn join(base: &str, name: &str) -> String {
    if base.is_empty() { name.to_owned() } else { format!("{base}.{name}") }
}

/// Whether Go would call this the zero value (for `omitempty`).
pub(crate) fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Schema, definition};
    use serde_json::json;

    fn schema(name: &str) -> &'static Schema {
        definition(name).unwrap()
    }

    fn full(name: &str, mut value: Value) -> Value {
        default(schema(name), &mut value);
        normalise(schema(name), &mut value);
        value
    }

    #[test]
    fn a_pod_is_completed_as_upstream_does() {
        let pod = full(
            "io.k8s.api.core.v1.Pod",
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {}},
                "spec": {"hostNetwork": false, "containers": [{"name": "c", "image": "nginx", "command": [],
                    "ports": [{"containerPort": 80}], "livenessProbe": {"httpGet": {"port": 80}},
                    "resources": {"limits": {"cpu": 1, "memory": "1024Mi"}}}]}}),
        );
        let expected = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
            "spec": {"containers": [{"name": "c", "image": "nginx", "imagePullPolicy": "Always",
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "livenessProbe": {"httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}, "timeoutSeconds": 1,
                    "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
                "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}},
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
                "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
                "securityContext": {}, "schedulerName": "default-scheduler", "enableServiceLinks": true},
            "status": {}});
        assert_eq!(pod, expected);
    }

    #[test]
    fn a_deployment_and_its_service_are_completed() {
        let web = full(
            "io.k8s.api.apps.v1.Deployment",
            json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}},
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [
                    {"name": "c", "image": "x:1.2"}]}}}}),
        );
        assert_eq!(web["spec"]["replicas"], 1);
        let rolling =
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}});
        assert_eq!(web["spec"]["strategy"], rolling);
        let container = &web["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(
            (&container["imagePullPolicy"], &container["resources"]),
            (&json!("IfNotPresent"), &json!({}))
        );
        assert!(web["spec"]["template"]["spec"].get("enableServiceLinks").is_none());
        let service =
            full("io.k8s.api.core.v1.Service", json!({"metadata": {}, "spec": {"ports": [{"port": 80}]}}));
        let expected = json!({"metadata": {}, "spec": {"ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
            "sessionAffinity": "None", "type": "ClusterIP", "internalTrafficPolicy": "Cluster"},
            "status": {"loadBalancer": {}}});
        assert_eq!(service, expected);
    }

    #[test]
    fn completing_twice_changes_nothing() {
        let name = "io.k8s.api.core.v1.Pod";
        let once = full(
            name,
            json!({"metadata": {}, "spec": {"containers": [{"name": "a"}], "volumes": [{"name": "v"}]}}),
        );
        assert_eq!(full(name, once.clone()), once);
        assert_eq!(once["spec"]["volumes"][0]["emptyDir"], json!({}));
    }

    #[test]
    fn unknown_fields_are_dropped_and_named() {
        let mut pod = json!({"metadata": {"labels": {"x": "y"}, "foo": 1}, "spec": {"containers": [{"nmae": "c"}]}, "x": 1});
        assert_eq!(
            prune(schema("io.k8s.api.core.v1.Pod"), &mut pod),
            ["metadata.foo", "spec.containers[0].nmae", "x"]
        );
        assert_eq!(pod["spec"]["containers"], json!([{}]));
    }

    #[test]
    fn wrong_types_are_told_in_upstreams_words() {
        let web = json!({"spec": {"replicas": "three"}});
        let status = decode_error("Deployment", "v1", schema("io.k8s.api.apps.v1.Deployment"), &web).unwrap();
        let expected = "Deployment in version \"v1\" cannot be handled as a Deployment: json: cannot unmarshal string \
                        into Go struct field DeploymentSpec.spec.replicas of type int32";
        assert_eq!((status.code, status.message.as_str()), (400, expected));
        let pod = json!({"spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "lots"}}}]}});
        let status = decode_error("Pod", "v1", schema("io.k8s.api.core.v1.Pod"), &pod).unwrap();
        assert!(status.message.contains("quantities must match the regular expression"), "{status}");
    }

    #[test]
    fn values_outside_an_enum_are_refused() {
        let pod = json!({"spec": {"restartPolicy": "Sometimes", "containers": []}});
        let errors = check(schema("io.k8s.api.core.v1.Pod"), &pod, "");
        assert_eq!(
            errors[0].to_string(),
            "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"Never\", \"OnFailure\""
        );
    }

    /// Whatever one value of an object is replaced by, it is refused or completed to a fixed point.
    #[test]
    fn no_single_wrong_value_breaks_a_walk() {
        let registry = crate::builtin::registry();
        let seeds = [
            (
                "",
                "pods",
                json!({"metadata": {"name": "p", "namespace": "d", "labels": {"a": "b"}}, "spec": {
                "hostNetwork": true, "volumes": [{"name": "v", "image": {"reference": "i"}}],
                "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 1}], "env": [{"name": "A"}],
                    "resources": {"limits": {"cpu": "1"}}, "livenessProbe": {"exec": {"command": ["a"]}}}]},
                "status": {"phase": "Running"}}),
            ),
            (
                "",
                "services",
                json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 1, "targetPort": 2}]}}),
            ),
            ("", "namespaces", json!({"metadata": {"name": "n", "labels": {}}})),
            (
                "",
                "nodes",
                json!({"metadata": {"name": "n"}, "spec": {"podCIDR": "a", "podCIDRs": ["a"],
                "taints": [{"key": "k"}]}, "status": {"capacity": {"cpu": "1"}}}),
            ),
            (
                "",
                "secrets",
                json!({"metadata": {"name": "n"}, "data": {"a": "eA=="}, "stringData": {"b": "c"}}),
            ),
            (
                "apps",
                "deployments",
                json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}},
                "strategy": {"rollingUpdate": {"maxSurge": 1}}, "template": {"metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "c"}]}}}}),
            ),
            (
                "rbac.authorization.k8s.io",
                "rolebindings",
                json!({"metadata": {"name": "r"},
                "roleRef": {"kind": "Role", "name": "x"}, "subjects": [{"kind": "User", "name": "u"}]}),
            ),
        ];
        let odd = [
            json!(null),
            json!(""),
            json!("x"),
            json!(0),
            json!(-1),
            json!(1.5),
            json!(true),
            json!([]),
            json!([null]),
            json!({}),
            json!({"a": null}),
            json!([[{}]]),
        ];
        for (group, plural, seed) in seeds {
            let kind = registry.resource(group, "v1", plural).unwrap();
            let schema = &kind.stored().schema;
            for pointer in pointers(&seed, String::new()) {
                for value in &odd {
                    let mut object = seed.clone();
                    *object.pointer_mut(&pointer).unwrap() = value.clone();
                    if decode_error(&kind.kind, "v1", schema, &object).is_some() {
                        continue;
                    }
                    prune(schema, &mut object);
                    default(schema, &mut object);
                    normalise(schema, &mut object);
                    let strategy = crate::strategy::of(kind);
                    strategy.prepare(&mut object, Some(&seed));
                    default(schema, &mut object);
                    normalise(schema, &mut object);
                    let once = object.clone();
                    default(schema, &mut object);
                    normalise(schema, &mut object);
                    assert_eq!(object, once, "{plural}{pointer} = {value}");
                    crate::validate::validate(kind, kind.stored(), &object, None);
                    crate::validate::validate(kind, kind.stored(), &object, Some(&seed));
                    crate::table::row(kind, kind.stored(), &object, jiff::Timestamp::UNIX_EPOCH);
                }
            }
        }
    }

    fn pointers(value: &Value, at: String) -> Vec<String> {
        let children: Vec<(String, &Value)> = match value {
            Value::Object(map) => map.iter().map(|(k, v)| (format!("{at}/{k}"), v)).collect(),
            Value::Array(list) => list.iter().enumerate().map(|(i, v)| (format!("{at}/{i}"), v)).collect(),
            _ => Vec::new(),
        };
        children.into_iter().flat_map(|(at, v)| [vec![at.clone()], pointers(v, at)].concat()).collect()
    }
}
