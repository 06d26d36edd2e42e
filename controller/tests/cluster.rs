//! All controllers together, against an API server in memory and nodes that only pretend.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Namespace, Node, PersistentVolumeClaim, Pod, ReplicationController, ResourceQuota,
    Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use skiff_controller::Config;
use tokio_util::sync::{CancellationToken, DropGuard};

struct Cluster {
    client: kube::Client,
    _stop: DropGuard,
}

impl Cluster {
    async fn start(config: Config) -> Self {
        let client = skiff_fakeapi::Api::new().client();
        let stop = CancellationToken::new();
        tokio::spawn(skiff_controller::run(config, client.clone(), stop.clone()));
        tokio::spawn(pretend(client.clone()));
        let cluster = Self { client, _stop: stop.drop_guard() };
        for name in ["default", "kube-system"] {
            cluster.create::<Namespace>(None, json!({"metadata": {"name": name}})).await;
        }
        cluster
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    async fn create<K>(&self, namespace: Option<&str>, object: Value) -> K
    where
        K: kube::Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let path = K::url_path(&(), namespace);
        let body = serde_json::to_vec(&object).unwrap();
        self.client.request(http::Request::post(path).body(body).unwrap()).await.unwrap()
    }
}

/// Waits for a condition of all objects of a kind, looking at each change.
async fn until<K>(api: Api<K>, what: &str, mut holds: impl FnMut(&[K]) -> bool) -> Vec<K>
where
    K: kube::Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let wait = async {
        let mut changes = watcher(api.clone(), watcher::Config::default()).default_backoff().boxed();
        loop {
            let items = api.list(&Default::default()).await.unwrap().items;
            if holds(&items) {
                return items;
            }
            changes.next().await.unwrap().unwrap();
        }
    };
    match tokio::time::timeout(Duration::from_secs(20), wait).await {
        Ok(items) => items,
        Err(_) => panic!("{what} did not come: {:#?}", api.list(&Default::default()).await.unwrap().items),
    }
}

/// Nodes and scheduler: every pod runs and is ready at once, and its deletion is done at once.
async fn pretend(client: kube::Client) {
    let pods: Api<Pod> = Api::all(client.clone());
    let mut changes = watcher(pods, watcher::Config::default()).default_backoff().applied_objects().boxed();
    let mut next = 1;
    while let Some(Ok(pod)) = changes.next().await {
        if pod.status.is_some() {
            continue;
        }
        let meta = &pod.metadata;
        let api: Api<Pod> = Api::namespaced(client.clone(), meta.namespace.as_deref().unwrap());
        let name = meta.name.as_deref().unwrap();
        next += 1;
        let status = json!({"status": {
            "phase": "Running", "podIP": format!("10.244.0.{next}"),
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": jiff::Timestamp::now().to_string()}],
        }});
        let _ = api.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await;
    }
}

fn deployment(image: &str, replicas: i32) -> Value {
    json!({
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "progressDeadlineSeconds": 600,
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": image, "ports": [{"containerPort": 80}]}]},
            },
        },
    })
}

fn images(pods: &[Pod]) -> BTreeSet<String> {
    pods.iter().filter_map(|pod| pod.spec.as_ref()?.containers.first()?.image.clone()).collect()
}

fn is_available(deployments: &[Deployment], count: i32) -> bool {
    deployments.iter().any(|deployment| {
        let status = deployment.status.clone().unwrap_or_default();
        status.available_replicas == Some(count)
            && status.updated_replicas == Some(count)
            && status.replicas == Some(count)
            && status.observed_generation == deployment.metadata.generation
    })
}

#[tokio::test]
async fn a_deployment_runs_rolls_scales_and_is_collected() {
    let cluster = Cluster::start(Config { leader_elect: false, ..Config::default() }).await;
    let deployments: Api<Deployment> = cluster.api();
    let service = json!({
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "protocol": "TCP"}]},
    });
    cluster.create::<Service>(Some("default"), service).await;
    cluster.create::<Deployment>(Some("default"), deployment("web:1", 3)).await;
    until(deployments.clone(), "three available", |found| is_available(found, 3)).await;
    let ready = |found: &[EndpointSlice]| {
        let endpoints = found.iter().flat_map(|slice| slice.endpoints.iter().flatten());
        endpoints.filter(|endpoint| endpoint.conditions.as_ref().unwrap().ready == Some(true)).count()
    };
    until(cluster.api::<EndpointSlice>(), "three endpoints", |found| ready(found) == 3).await;
    until(cluster.api::<Endpoints>(), "three addresses", |found| {
        let subsets = found.iter().flat_map(|endpoints| endpoints.subsets.iter().flatten());
        subsets.map(|subset| subset.addresses.iter().flatten().count()).sum::<usize>() == 3
    })
    .await;

    // A pod that is deleted is replaced.
    let pods: Api<Pod> = cluster.api();
    let first = pods.list(&Default::default()).await.unwrap().items.remove(0);
    pods.delete(first.metadata.name.as_deref().unwrap(), &DeleteParams::default()).await.unwrap();
    until(pods.clone(), "a replacement", |found| {
        found.len() == 3 && found.iter().all(|pod| pod.metadata.uid != first.metadata.uid)
    })
    .await;

    // A new image takes over, and the revision is counted.
    let patch = |patch: Value| {
        let deployments = deployments.clone();
        async move { deployments.patch("web", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap() }
    };
    let image = |image: &str| json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": image}]}}}});
    patch(image("web:2")).await;
    until(deployments.clone(), "the new image", |found| is_available(found, 3)).await;
    let found =
        until(pods.clone(), "new pods only", |found| images(found) == ["web:2".to_owned()].into()).await;
    assert_eq!(found.len(), 3);
    let revisions = |sets: &[ReplicaSet]| {
        let annotation = |set: &ReplicaSet| {
            set.metadata.annotations.as_ref()?.get("deployment.kubernetes.io/revision").cloned()
        };
        sets.iter().filter_map(annotation).collect::<BTreeSet<_>>()
    };
    until(cluster.api::<ReplicaSet>(), "revisions", |found| {
        revisions(found) == ["1".to_owned(), "2".to_owned()].into()
    })
    .await;
    // Back to the first template, which is the third revision now.
    let mut back = image("web:1");
    back["spec"]["template"]["spec"]["containers"][0]["ports"] = json!([{"containerPort": 80}]);
    patch(back).await;
    until(deployments.clone(), "revision 3", |found| {
        let annotations = found[0].metadata.annotations.clone().unwrap_or_default();
        annotations.get("deployment.kubernetes.io/revision").is_some_and(|number| number == "3")
            && is_available(found, 3)
    })
    .await;
    until(cluster.api::<ReplicaSet>(), "two sets", |found| {
        revisions(found) == ["2".to_owned(), "3".to_owned()].into()
    })
    .await;

    for size in [40, 1] {
        patch(json!({"spec": {"replicas": size}})).await;
        until(deployments.clone(), "the new size", |found| is_available(found, size)).await;
    }

    deployments.delete("web", &DeleteParams::foreground()).await.unwrap();
    until(deployments.clone(), "no deployment", |found| found.is_empty()).await;
    until(cluster.api::<ReplicaSet>(), "no set", |found| found.is_empty()).await;
    until(pods.clone(), "no pod", |found| found.is_empty()).await;
    cluster.api::<Service>().delete("web", &DeleteParams::default()).await.unwrap();
    until(cluster.api::<EndpointSlice>(), "no slice", |found| found.is_empty()).await;
    until(cluster.api::<Endpoints>(), "no endpoints", |found| found.is_empty()).await;
}

#[tokio::test]
async fn an_orphaned_set_keeps_its_pods() {
    let cluster = Cluster::start(Config { leader_elect: false, ..Config::default() }).await;
    cluster.create::<Deployment>(Some("default"), deployment("web:1", 2)).await;
    until(cluster.api::<Deployment>(), "two available", |found| is_available(found, 2)).await;
    cluster.api::<Deployment>().delete("web", &DeleteParams::orphan()).await.unwrap();
    until(cluster.api::<Deployment>(), "no deployment", |found| found.is_empty()).await;
    let sets = until(cluster.api::<ReplicaSet>(), "the set", |found| found.len() == 1).await;
    assert!(sets[0].metadata.owner_references.as_ref().is_none_or(Vec::is_empty));
    // A new Deployment of the same template takes the set and its pods over.
    let before = until(cluster.api::<Pod>(), "two pods", |found| found.len() == 2).await;
    cluster.create::<Deployment>(Some("default"), deployment("web:1", 2)).await;
    until(cluster.api::<Deployment>(), "two available again", |found| is_available(found, 2)).await;
    let after = cluster.api::<Pod>().list(&Default::default()).await.unwrap().items;
    let uids = |pods: &[Pod]| pods.iter().map(|pod| pod.metadata.uid.clone()).collect::<BTreeSet<_>>();
    assert_eq!(uids(&before), uids(&after));
}

#[tokio::test]
async fn a_replication_controller_keeps_its_pods_beside_a_set_of_its_name() {
    let cluster = Cluster::start(Config { leader_elect: false, ..Config::default() }).await;
    let controller = json!({"metadata": {"name": "web"}, "spec": {"replicas": 2, "selector": {"app": "old"},
        "template": {"metadata": {"labels": {"app": "old"}}, "spec": {"containers": [{"name": "c", "image": "old:1"}]}}}});
    cluster.create::<ReplicationController>(Some("default"), controller).await;
    let set = json!({"metadata": {"name": "web"}, "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "new"}},
        "template": {"metadata": {"labels": {"app": "new"}}, "spec": {"containers": [{"name": "c", "image": "new:1"}]}}}});
    cluster.create::<ReplicaSet>(Some("default"), set).await;
    let ready = |found: &[ReplicationController], count| {
        found.iter().any(|one| one.status.as_ref().is_some_and(|status| status.ready_replicas == Some(count)))
    };
    until(cluster.api::<ReplicationController>(), "two ready", |found| ready(found, 2)).await;
    let owners = |pods: &[Pod]| {
        let owner = |pod: &Pod| pod.metadata.owner_references.as_ref().unwrap()[0].kind.clone();
        pods.iter().map(owner).collect::<Vec<_>>()
    };
    let pods = until(cluster.api::<Pod>(), "three pods", |found| found.len() == 3).await;
    assert_eq!(owners(&pods).iter().filter(|kind| *kind == "ReplicationController").count(), 2);
    let scale = json!({"spec": {"replicas": 1}});
    let api = cluster.api::<ReplicationController>();
    api.patch("web", &PatchParams::default(), &Patch::Merge(&scale)).await.unwrap();
    until(cluster.api::<ReplicationController>(), "one ready", |found| ready(found, 1)).await;
    cluster.api::<ReplicationController>().delete("web", &DeleteParams::background()).await.unwrap();
    let left = until(cluster.api::<Pod>(), "the set's pod alone", |found| found.len() == 1).await;
    assert_eq!(owners(&left), ["ReplicaSet"]);
}

#[tokio::test]
async fn a_quota_says_what_is_there_and_follows_what_goes() {
    let cluster = Cluster::start(Config { leader_elect: false, ..Config::default() }).await;
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "9", "requests.cpu": "4", "configmaps": "5",
        "resourcequotas": "1"}}});
    let pod = |name: &str| {
        json!({"metadata": {"name": name, "namespace": "default"}, "spec": {
            "containers": [{"name": "c", "resources": {"requests": {"cpu": "500m"}}}]}})
    };
    for name in ["a", "b", "c"] {
        cluster.create::<Pod>(Some("default"), pod(name)).await;
    }
    cluster.create::<ConfigMap>(Some("default"), json!({"metadata": {"name": "m"}})).await;
    cluster.create::<ResourceQuota>(Some("default"), quota).await;
    let used = |found: &[ResourceQuota], name: &str| {
        let status = found.first()?.status.clone()?;
        status.used?.get(name).map(|amount| amount.0.clone())
    };
    let is = |wanted: [&'static str; 3]| {
        move |found: &[ResourceQuota]| {
            let names = ["pods", "requests.cpu", "configmaps"];
            names.iter().zip(wanted).all(|(name, wanted)| used(found, name).as_deref() == Some(wanted))
        }
    };
    let quotas: Api<ResourceQuota> = cluster.api();
    let counted = until(quotas.clone(), "the first count", is(["3", "1500m", "1"])).await;
    assert_eq!(used(&counted, "resourcequotas").as_deref(), Some("1"), "it counts itself");
    let pods: Api<Pod> = cluster.api();
    pods.delete("a", &DeleteParams::default()).await.unwrap();
    until(quotas.clone(), "one less", is(["2", "1", "1"])).await;
    let done = json!({"status": {"phase": "Succeeded"}});
    pods.patch_status("b", &PatchParams::default(), &Patch::Merge(&done)).await.unwrap();
    until(quotas.clone(), "one that has ended", is(["1", "500m", "1"])).await;
    cluster.api::<ConfigMap>().delete("m", &DeleteParams::default()).await.unwrap();
    until(quotas.clone(), "no map", is(["1", "500m", "0"])).await;
    let more = json!({"spec": {"hard": {"secrets": null, "pods": "10"}}});
    quotas.patch("q", &PatchParams::default(), &Patch::Merge(&more)).await.unwrap();
    until(quotas, "the new limit", |found| {
        let hard = found.first().and_then(|quota| quota.status.clone()?.hard);
        hard.is_some_and(|hard| hard["pods"].0 == "10")
    })
    .await;
}

#[tokio::test]
async fn a_claim_in_use_stays_until_it_is_not() {
    let cluster = Cluster::start(Config { leader_elect: false, ..Config::default() }).await;
    let claim = json!({"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"]}});
    cluster.create::<PersistentVolumeClaim>(Some("default"), claim).await;
    let claims: Api<PersistentVolumeClaim> = cluster.api();
    until(claims.clone(), "the finalizer", |found| {
        found[0].metadata.finalizers.as_ref().is_some_and(|list| list == &["kubernetes.io/pvc-protection"])
    })
    .await;
    let pod = json!({"metadata": {"name": "p", "namespace": "default"}, "spec": {"nodeName": "n", "containers": [{"name": "x"}],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}});
    cluster.create::<Pod>(Some("default"), pod).await;
    claims.delete("c", &DeleteParams::default()).await.unwrap();
    let held = claims.get("c").await.unwrap();
    assert!(held.metadata.deletion_timestamp.is_some());
    cluster.api::<Pod>().delete("p", &DeleteParams::default()).await.unwrap();
    until(claims, "the end of it", |found| found.is_empty()).await;
}

#[tokio::test]
async fn a_namespace_gets_its_objects_and_goes_with_them() {
    let config = Config { leader_elect: true, root_ca_pem: "pem".to_owned(), ..Config::default() };
    let cluster = Cluster::start(config).await;
    cluster.create::<Namespace>(None, json!({"metadata": {"name": "shop"}})).await;
    let within = |name: &'static str| move |found: &[String]| found.iter().any(|other| other == name);
    let names = |metas: Vec<Option<String>>| metas.into_iter().flatten().collect::<Vec<_>>();
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), "shop");
    until(accounts.clone(), "the account", |found| {
        within("default")(&names(found.iter().map(|object| object.metadata.name.clone()).collect()))
    })
    .await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "shop");
    until(maps.clone(), "the root CA", |found| {
        within("kube-root-ca.crt")(&names(found.iter().map(|object| object.metadata.name.clone()).collect()))
    })
    .await;
    let pod =
        json!({"metadata": {"name": "p", "namespace": "shop"}, "spec": {"containers": [{"name": "c"}]}});
    cluster.create::<Pod>(Some("shop"), pod).await;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    namespaces.delete("shop", &DeleteParams::default()).await.unwrap();
    until(namespaces, "the end of it", |found| {
        found.iter().all(|n| n.metadata.name.as_deref() != Some("shop"))
    })
    .await;
    assert!(maps.list(&Default::default()).await.unwrap().items.is_empty());
    assert!(accounts.list(&Default::default()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn a_silent_node_loses_its_pods() {
    let config = Config {
        leader_elect: false,
        node_monitor_grace_period: Duration::from_millis(1500),
        ..Config::default()
    };
    let cluster = Cluster::start(config).await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let node = |name: &str| {
        let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": jiff::Timestamp::now().to_string()}]);
        json!({"metadata": {"name": name}, "status": {"conditions": ready}})
    };
    for name in ["quiet", "alive"] {
        cluster.create::<Node>(None, node(name)).await;
    }
    let found = until(nodes.clone(), "pod ranges", |found| {
        found.iter().all(|node| node.spec.as_ref().is_some_and(|spec| spec.pod_cidr.is_some()))
    })
    .await;
    let ranges: BTreeSet<_> = found.iter().map(|node| node.spec.clone().unwrap().pod_cidr.unwrap()).collect();
    assert_eq!(ranges, ["10.244.0.0/24".to_owned(), "10.244.1.0/24".to_owned()].into());
    let pod = json!({
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {"nodeName": "quiet", "containers": [{"name": "c"}], "tolerations": [
            {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1}
        ]},
    });
    cluster.create::<Pod>(Some("default"), pod).await;
    // Only one of them reports.
    let client = cluster.client.clone();
    let beats = tokio::spawn(async move {
        let nodes: Api<Node> = Api::all(client);
        let mut every = tokio::time::interval(Duration::from_millis(300));
        loop {
            every.tick().await;
            let now = jiff::Timestamp::now().to_string();
            let beat = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": now}]}});
            nodes.patch_status("alive", &PatchParams::default(), &Patch::Merge(&beat)).await.unwrap();
        }
    });
    let taints = |found: &[Node], name: &str| {
        let node = found.iter().find(|node| node.metadata.name.as_deref() == Some(name)).unwrap().clone();
        node.spec.unwrap_or_default().taints.unwrap_or_default().len()
    };
    let found = until(nodes, "the taints", |found| taints(found, "quiet") == 2).await;
    assert_eq!(taints(&found, "alive"), 0);
    until(cluster.api::<Pod>(), "eviction", |found| found.is_empty()).await;
    beats.abort();
}
