//! Admission over the wire: limits, priorities, classes, accounts, namespaces, and which plugins are on.

use serde_json::{Value, json};
use skiff_apiserver::admission::{Configuration, Switches};

use crate::server::{Client, PODS, Server, make_account, pod};

const IN: &str = "/api/v1/namespaces/default";

async fn switched(enable: &[&str], disable: &[&str]) -> Server {
    let list = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    let admission =
        Switches { enable: list(enable), disable: list(disable), configuration: Configuration::default() };
    Server::configured(|config| config.admission = admission).await
}

/// The message of a refusal.
async fn refused(admin: &Client, path: &str, object: &Value) -> String {
    let answer = admin.post(path, object).await;
    assert_eq!(answer.code, 403, "{}", answer.text());
    answer.json()["message"].as_str().unwrap().to_owned()
}

fn with(name: &str, spec: Value) -> Value {
    let mut object = pod(name);
    let fields = spec.as_object().unwrap().clone();
    object["spec"].as_object_mut().unwrap().extend(fields);
    object
}

#[tokio::test]
async fn a_limit_range_fills_in_and_refuses() {
    let server = Server::start().await;
    let admin = server.admin();
    make_account(&admin).await;
    let range = json!({"metadata": {"name": "l"}, "spec": {"limits": [
        {"type": "Container", "max": {"cpu": "1"}, "default": {"memory": "128Mi"}, "min": {"memory": "64Mi"}},
        {"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}},
    ]}});
    let made = admin.post(&format!("{IN}/limitranges"), &range).await;
    assert!(made.warnings().is_empty(), "{:?}", made.warnings());
    let limit = &made.expect(201)["spec"]["limits"][0];
    assert_eq!(limit["default"], json!({"cpu": "1", "memory": "128Mi"}));
    assert_eq!(limit["defaultRequest"], json!({"cpu": "1", "memory": "128Mi"}));
    let made = admin.post(PODS, &pod("p")).await.expect(201);
    let full = json!({"cpu": "1", "memory": "128Mi"});
    assert_eq!(made["spec"]["containers"][0]["resources"], json!({"limits": full, "requests": full}));
    assert_eq!(made["status"]["qosClass"], "Guaranteed");
    assert_eq!(
        made["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu, memory request for container c; cpu, memory limit for container c"
    );
    let mut large = pod("large");
    large["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "2", "memory": "32Mi"}});
    assert_eq!(
        refused(&admin, PODS, &large).await,
        "pods \"large\" is forbidden: [minimum memory usage per Container is 64Mi, but request is 32Mi, maximum cpu usage per \
         Container is 1, but limit is 2]"
    );
    let claim = json!({"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "2Gi"}}}});
    assert_eq!(
        refused(&admin, &format!("{IN}/persistentvolumeclaims"), &claim).await,
        "persistentvolumeclaims \"c\" is forbidden: maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi"
    );
    let grow = json!({"spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "3"}, "requests": {"cpu": "3"}}}]}});
    let answer = admin.patch(&format!("{PODS}/p/resize"), "strategic-merge-patch", &grow).await;
    let why = "pods \"p\" is forbidden: maximum cpu usage per Container is 1, but limit is 3";
    answer.refused(403, "Forbidden", why);
}

#[tokio::test]
async fn a_pods_priority_is_its_classs_and_there_is_one_default_class() {
    let server = Server::start().await;
    let admin = server.admin();
    make_account(&admin).await;
    let classes = "/apis/scheduling.k8s.io/v1/priorityclasses";
    let class = |name: &str, value: i64, default: bool| json!({"metadata": {"name": name}, "value": value, "globalDefault": default});
    admin.post(classes, &class("usual", 7, true)).await.expect(201);
    let made = admin.post(PODS, &pod("p")).await.expect(201);
    assert_eq!((&made["spec"]["priority"], &made["spec"]["priorityClassName"]), (&json!(7), &json!("usual")));
    assert_eq!(
        refused(&admin, classes, &class("other", 8, true)).await,
        "priorityclasses.scheduling.k8s.io \"other\" is forbidden: PriorityClass usual is already marked as default. Only one \
         default can exist"
    );
    assert_eq!(
        refused(&admin, PODS, &with("q", json!({"priorityClassName": "gone"}))).await,
        "pods \"q\" is forbidden: no PriorityClass with name gone was found"
    );
    assert_eq!(
        refused(&admin, PODS, &with("q", json!({"priority": 9}))).await,
        "pods \"q\" is forbidden: the integer value of priority (9) must not be provided in pod spec; priority admission \
         controller computed 7 from the given PriorityClass name"
    );
    // An update that leaves it out keeps it.
    let mut update = made;
    update["spec"].as_object_mut().unwrap().remove("priority");
    update["metadata"]["labels"] = json!({"a": "b"});
    let updated = admin.put(&format!("{PODS}/p"), &update).await.expect(200);
    assert_eq!(updated["spec"]["priority"], 7);
}

#[tokio::test]
async fn classes_give_their_defaults() {
    let server = Server::start().await;
    let admin = server.admin();
    make_account(&admin).await;
    let class = json!({"metadata": {"name": "vm"}, "handler": "vm", "overhead": {"podFixed": {"cpu": "100m"}},
        "scheduling": {"nodeSelector": {"runtime": "vm"}}});
    admin.post("/apis/node.k8s.io/v1/runtimeclasses", &class).await.expect(201);
    let made = admin.post(PODS, &with("p", json!({"runtimeClassName": "vm"}))).await;
    assert!(made.warnings()[0].contains("do not look at its handler"), "{:?}", made.warnings());
    let made = made.expect(201);
    assert_eq!(made["spec"]["overhead"], json!({"cpu": "100m"}));
    assert_eq!(made["spec"]["nodeSelector"], json!({"runtime": "vm"}));
    assert_eq!(
        refused(&admin, PODS, &with("q", json!({"runtimeClassName": "none"}))).await,
        "pods \"q\" is forbidden: pod rejected: RuntimeClass \"none\" not found"
    );
    assert_eq!(
        refused(&admin, PODS, &with("q", json!({"overhead": {"cpu": "1"}}))).await,
        "pods \"q\" is forbidden: pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
    );

    let default = |mark: &str| json!({mark: "true"});
    let storage = json!({"metadata": {"name": "gold", "annotations": default("storageclass.kubernetes.io/is-default-class")},
        "provisioner": "example.com/p"});
    admin.post("/apis/storage.k8s.io/v1/storageclasses", &storage).await.expect(201);
    let claims = format!("{IN}/persistentvolumeclaims");
    let claim = |name: &str| {
        json!({"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}})
    };
    let made = admin.post(&claims, &claim("a")).await.expect(201);
    assert_eq!(made["spec"]["storageClassName"], "gold");
    assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    let mut none = claim("b");
    none["spec"]["storageClassName"] = "".into();
    assert_eq!(admin.post(&claims, &none).await.expect(201)["spec"]["storageClassName"], "");
    let grow = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
    admin.patch(&format!("{claims}/a"), "merge-patch", &grow).await.refused(
        403,
        "Forbidden",
        "persistentvolumeclaims \"a\" is forbidden: Only bound persistent volume claims can be expanded",
    );

    let ingress = json!({"metadata": {"name": "web", "annotations": default("ingressclass.kubernetes.io/is-default-class")},
        "spec": {"controller": "example.com/c"}});
    admin.post("/apis/networking.k8s.io/v1/ingressclasses", &ingress).await.expect(201);
    let object = json!({"metadata": {"name": "i"}, "spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}});
    let made =
        admin.post("/apis/networking.k8s.io/v1/namespaces/default/ingresses", &object).await.expect(201);
    assert_eq!(made["spec"]["ingressClassName"], "web");
}

#[tokio::test]
async fn an_account_that_enforces_lets_pods_use_only_its_secrets() {
    let server = Server::start().await;
    let admin = server.admin();
    let account = json!({"metadata": {"name": "strict", "annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}},
        "secrets": [{"name": "own"}]});
    admin.post(&format!("{IN}/serviceaccounts"), &account).await.expect(201);
    let using = |secret: &str| {
        let volume = json!({"name": "v", "secret": {"secretName": secret}});
        with("p", json!({"serviceAccountName": "strict", "volumes": [volume]}))
    };
    assert_eq!(
        refused(&admin, PODS, &using("other")).await,
        "pods \"p\" is forbidden: volume with secret.secretName=\"other\" is not allowed because service account strict does not \
         reference that secret"
    );
    admin.post(PODS, &using("own")).await.expect(201);
    assert_eq!(
        refused(&admin, PODS, &with("q", json!({"serviceAccountName": "gone"}))).await,
        "pods \"q\" is forbidden: error looking up service account default/gone: serviceaccount \"gone\" not found"
    );
    let mut mirror = with("m", json!({"serviceAccountName": "strict", "nodeName": "n"}));
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    assert_eq!(
        refused(&admin, PODS, &mirror).await,
        "pods \"m\" is forbidden: a mirror pod may not reference service accounts"
    );
}

#[tokio::test]
async fn a_pod_waits_a_moment_for_the_account_of_a_new_namespace() {
    let server = Server::start().await;
    let admin = server.admin();
    let make = async {
        // Not before the pod is being admitted; if the pod comes first, it waits.
        make_account(&admin).await;
    };
    let object = pod("p");
    let (made, ()) = tokio::join!(admin.post(PODS, &object), make);
    made.expect(201);
}

#[tokio::test]
async fn a_namespace_takes_objects_at_once_and_none_when_it_goes() {
    let server = Server::start().await;
    let admin = server.admin();
    for round in 0..20 {
        let name = format!("n{round}");
        admin.post("/api/v1/namespaces", &json!({"metadata": {"name": name}})).await.expect(201);
        let maps = format!("/api/v1/namespaces/{name}/configmaps");
        admin.post(&maps, &json!({"metadata": {"name": "a"}})).await.expect(201);
        admin.delete(&format!("/api/v1/namespaces/{name}")).await.expect(200);
        let why = format!(
            "configmaps \"b\" is forbidden: unable to create new content in namespace {name} because it is being terminated"
        );
        admin.post(&maps, &json!({"metadata": {"name": "b"}})).await.refused(403, "Forbidden", &why);
    }
    admin.delete("/api/v1/namespaces/default").await.refused(
        403,
        "Forbidden",
        "namespaces \"default\" is forbidden: this namespace may not be deleted",
    );
    let gone = "/api/v1/namespaces/gone/configmaps";
    let why = "namespaces \"gone\" not found";
    admin.post(gone, &json!({"metadata": {"name": "a"}})).await.refused(404, "NotFound", why);
}

#[tokio::test]
async fn a_pod_carries_the_zone_of_its_node() {
    let server = Server::start().await;
    let admin = server.admin();
    make_account(&admin).await;
    let node = json!({"metadata": {"name": "n", "labels": {
        "topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r", "other": "o"}}});
    admin.post("/api/v1/nodes", &node).await.expect(201);
    admin.post(PODS, &pod("p")).await.expect(201);
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    admin.post(&format!("{PODS}/p/binding"), &binding).await.expect(201);
    let labels = json!({"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r"});
    assert_eq!(admin.get(&format!("{PODS}/p")).await.expect(200)["metadata"]["labels"], labels);
    let made = admin.post(PODS, &with("q", json!({"nodeName": "n"}))).await.expect(201);
    assert_eq!(made["metadata"]["labels"], labels);
    // It grows no further than that node.
    let status = json!({"status": {"allocatable": {"cpu": "1", "memory": "1Gi"}}});
    admin.patch("/api/v1/nodes/n/status", "merge-patch", &status).await.expect(200);
    let grow = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]}});
    let answer = admin.patch(&format!("{PODS}/q/resize"), "strategic-merge-patch", &grow).await;
    let why = "pods \"q\" is forbidden: node didn't have enough allocatable resources: cpu, requested: 2000, allocatable: 1000";
    answer.refused(403, "Forbidden", why);
    assert_eq!(answer.json()["details"]["causes"][0]["reason"], "NodeCapacity");
}

#[tokio::test]
async fn plugins_beyond_the_default_ones_are_switched_on() {
    let server = switched(
        &[
            "AlwaysPullImages",
            "DenyServiceExternalIPs",
            "NamespaceAutoProvision",
            "LimitPodHardAntiAffinityTopology",
        ],
        &["DefaultTolerationSeconds"],
    )
    .await;
    let admin = server.admin();
    make_account(&admin).await;
    let mut object = pod("p");
    object["spec"]["containers"][0]["imagePullPolicy"] = "Never".into();
    let made = admin.post(PODS, &object).await.expect(201);
    assert_eq!(made["spec"]["containers"][0]["imagePullPolicy"], "Always");
    assert!(made["spec"].get("tolerations").is_none(), "{}", made["spec"]);
    let term = json!({"topologyKey": "zone", "labelSelector": {}});
    let anti =
        json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}});
    assert_eq!(
        refused(&admin, PODS, &with("q", anti)).await,
        "pods \"q\" is forbidden: affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey zone but only key \
         kubernetes.io/hostname is allowed"
    );
    let service =
        json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}], "externalIPs": ["192.0.2.1"]}});
    assert_eq!(
        refused(&admin, &format!("{IN}/services"), &service).await,
        "services \"s\" is forbidden: Use of external IPs is denied by admission control"
    );
    let map = json!({"metadata": {"name": "a"}});
    admin.post("/api/v1/namespaces/made/configmaps", &map).await.expect(201);
    admin.get("/api/v1/namespaces/made").await.expect(200);
}

#[tokio::test]
async fn who_sets_owners_could_delete_and_hold_them() {
    let server = switched(&["OwnerReferencesPermissionEnforcement"], &[]).await;
    let admin = server.admin();
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let role = json!({"metadata": {"name": "writer"}, "rules": [
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "get", "update"]}]});
    admin.post(&format!("{rbac}/clusterroles"), &role).await.expect(201);
    let binding = json!({"metadata": {"name": "writer"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "writer"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}]});
    admin.post(&format!("{rbac}/clusterrolebindings"), &binding).await.expect(201);
    let jane = server.user("jane", &[]);
    let maps = format!("{IN}/configmaps");
    let owned = |name: &str, blocks: bool| {
        json!({"metadata": {"name": name, "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "d",
            "uid": "u", "blockOwnerDeletion": blocks}]}})
    };
    jane.post(&maps, &owned("a", false)).await.expect(201);
    assert_eq!(
        refused(&jane, &maps, &owned("b", true)).await,
        "configmaps \"b\" is forbidden: cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set \
         finalizers on: , <nil>"
    );
    admin.post(&maps, &owned("b", true)).await.expect(201);
    admin.post(&maps, &json!({"metadata": {"name": "c"}})).await.expect(201);
    jane.put(&format!("{maps}/c"), &owned("c", false)).await.refused(
        403,
        "Forbidden",
        "configmaps \"c\" is forbidden: cannot set an ownerRef on a resource you can't delete: , <nil>",
    );
}
