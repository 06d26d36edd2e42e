//! Which secrets a pod refers to, and which its account lets it. Pure.

use std::collections::BTreeSet;

use serde_json::Value;

fn each<'a>(of: &'a Value, list: &str) -> &'a [Value] {
    of[list].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A pod that only shows what a node runs by itself has no credentials of the cluster.
pub fn mirror(pod: &Value) -> Result<(), &'static str> {
    let spec = &pod["spec"];
    if !text(&spec["serviceAccountName"]).is_empty() {
        return Err("a mirror pod may not reference service accounts");
    }
    if refers(spec) {
        return Err("a mirror pod may not reference secrets");
    }
    let sources = each(spec, "volumes").iter().flat_map(|volume| each(&volume["projected"], "sources"));
    if sources.into_iter().any(|source| source["serviceAccountToken"].is_object()) {
        return Err("a mirror pod may not use ServiceAccountToken volume projections");
    }
    Ok(())
}

/// Where a volume may name a secret.
const IN_VOLUMES: &[&str] = &[
    "/azureFile/secretName",
    "/cephfs/secretRef/name",
    "/cinder/secretRef/name",
    "/flexVolume/secretRef/name",
    "/rbd/secretRef/name",
    "/secret/secretName",
    "/scaleIO/secretRef/name",
    "/iscsi/secretRef/name",
    "/storageos/secretRef/name",
    "/csi/nodePublishSecretRef/name",
];

fn refers(spec: &Value) -> bool {
    let named = |value: Option<&Value>| value.and_then(Value::as_str).is_some_and(|name| !name.is_empty());
    let pulls = each(spec, "imagePullSecrets").iter().any(|one| named(one.get("name")));
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    let env = lists.iter().flat_map(|list| each(spec, list)).any(|container| {
        each(container, "envFrom").iter().any(|from| named(from.pointer("/secretRef/name")))
            || each(container, "env").iter().any(|one| named(one.pointer("/valueFrom/secretKeyRef/name")))
    });
    let volumes = each(spec, "volumes").iter().any(|volume| {
        IN_VOLUMES.iter().any(|path| named(volume.pointer(path)))
            || each(&volume["projected"], "sources")
                .iter()
                .any(|source| named(source.pointer("/secret/name")))
    });
    pulls || env || volumes
}

/// Refuses secrets that the account does not name; `added`: only those of ephemeral containers.
pub fn check(pod: &Value, account: &Value, added: bool) -> Result<(), String> {
    let who = text(&account["metadata"]["name"]);
    let names =
        |list: &str| each(account, list).iter().map(|one| text(&one["name"])).collect::<BTreeSet<_>>();
    let spec = &pod["spec"];
    let mountable = names("secrets");
    if added {
        return containers(spec, "ephemeralContainers", "ephemeral container", &mountable, who);
    }
    for volume in each(spec, "volumes").iter().filter(|volume| volume["secret"].is_object()) {
        let secret = text(&volume["secret"]["secretName"]);
        if !mountable.contains(secret) {
            return Err(format!(
                "volume with secret.secretName=\"{secret}\" is not allowed because service account {who} does not reference \
                 that secret"
            ));
        }
    }
    containers(spec, "initContainers", "init container", &mountable, who)?;
    containers(spec, "containers", "container", &mountable, who)?;
    let pullable = names("imagePullSecrets");
    for (at, secret) in each(spec, "imagePullSecrets").iter().map(|one| text(&one["name"])).enumerate() {
        if !pullable.contains(secret) {
            return Err(format!(
                "imagePullSecrets[{at}].name=\"{secret}\" is not allowed because service account {who} does not reference \
                 that imagePullSecret"
            ));
        }
    }
    Ok(())
}

fn containers(
    spec: &Value,
    list: &str,
    what: &str,
    allowed: &BTreeSet<&str>,
    who: &str,
) -> Result<(), String> {
    let refused = |container: &Value, how: String, secret: &str| {
        Err(format!(
            "{what} {} with {how} referencing secret.secretName=\"{secret}\" is not allowed because service account {who} does \
             not reference that secret",
            text(&container["name"])
        ))
    };
    for container in each(spec, list) {
        for one in each(container, "env").iter().filter(|one| one["valueFrom"]["secretKeyRef"].is_object()) {
            let secret = text(&one["valueFrom"]["secretKeyRef"]["name"]);
            if !allowed.contains(secret) {
                return refused(container, format!("envVar {}", text(&one["name"])), secret);
            }
        }
        for from in each(container, "envFrom").iter().filter(|from| from["secretRef"].is_object()) {
            let secret = text(&from["secretRef"]["name"]);
            if !allowed.contains(secret) {
                return refused(container, "envFrom".to_owned(), secret);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_mirror_pod_has_no_credentials() {
        let told = |spec: Value| mirror(&json!({"spec": spec})).err().unwrap_or_default();
        assert_eq!(told(json!({"volumes": [{"emptyDir": {}}]})), "");
        assert_eq!(
            told(json!({"serviceAccountName": "a"})),
            "a mirror pod may not reference service accounts"
        );
        for spec in [
            json!({"imagePullSecrets": [{"name": "s"}]}),
            json!({"containers": [{"envFrom": [{"secretRef": {"name": "s"}}]}]}),
            json!({"initContainers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "s"}}}]}]}),
            json!({"volumes": [{"projected": {"sources": [{"secret": {"name": "s"}}]}}]}),
            json!({"volumes": [{"csi": {"nodePublishSecretRef": {"name": "s"}}}]}),
        ] {
            assert_eq!(told(spec), "a mirror pod may not reference secrets");
        }
        let token =
            json!({"volumes": [{"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]});
        assert_eq!(told(token), "a mirror pod may not use ServiceAccountToken volume projections");
    }

    #[test]
    fn an_account_that_enforces_lets_its_pods_use_only_its_secrets() {
        let account = json!({"metadata": {"name": "a"}, "secrets": [{"name": "own"}], "imagePullSecrets": [{"name": "pull"}]});
        let told =
            |spec: Value, added| check(&json!({"spec": spec}), &account, added).err().unwrap_or_default();
        let from = |secret: &str| json!([{"name": "c", "envFrom": [{"secretRef": {"name": secret}}]}]);
        assert_eq!(
            told(json!({"containers": from("own"), "volumes": [{"secret": {"secretName": "own"}}]}), false),
            ""
        );
        assert_eq!(
            told(json!({"volumes": [{"secret": {"secretName": "other"}}]}), false),
            "volume with secret.secretName=\"other\" is not allowed because service account a does not reference that secret"
        );
        assert!(
            told(json!({"initContainers": from("other")}), false)
                .starts_with("init container c with envFrom")
        );
        assert!(
            told(json!({"ephemeralContainers": from("other")}), true)
                .starts_with("ephemeral container c with envFrom")
        );
        assert_eq!(told(json!({"ephemeralContainers": from("other")}), false), "");
        assert!(
            told(json!({"imagePullSecrets": [{"name": "x"}]}), false)
                .starts_with("imagePullSecrets[0].name=\"x\"")
        );
    }
}
