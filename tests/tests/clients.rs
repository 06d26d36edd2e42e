//! Clients that no one here wrote: kube-rs, the Python client, the JavaScript client. Each plays a short session of
//! objects, watches, patches and refusals; `tests/clients/` holds the sessions and the versions.

use std::path::PathBuf;
use std::process::Command;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Status;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, Config, ResourceExt};
use serde_json::json;
use skiff_tests::{Cluster, output, repository};

/// Where the packages are, installed if they are not there yet. Comes before a test enters its own network.
fn packages() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository("target"), PathBuf::from);
    let folder = target.join("test-clients");
    output(Command::new(repository("tests/clients/install.sh")).arg(&folder));
    folder
}

#[test]
fn the_python_client_is_content() {
    let packages = packages();
    let cluster = Cluster::simulated(&[]);
    let mut command = Command::new("timeout");
    command.args(["120", "python3"]).arg(repository("tests/clients/session.py"));
    command.env("PYTHONPATH", packages.join("python")).env("PYTHONWARNINGS", "ignore");
    command.env("KUBECONFIG", cluster.kubeconfig()).env("NO_PROXY", "*");
    assert!(output(&mut command).contains("the Python client is content"));
}

#[test]
fn the_javascript_client_is_content() {
    let packages = packages();
    let cluster = Cluster::simulated(&[]);
    // Node looks for packages beside the file that imports them.
    let session = packages.join("node/session.mjs");
    std::fs::copy(repository("tests/clients/session.mjs"), &session).expect("the folder can be written");
    let mut command = Command::new("timeout");
    command.args(["120", "node"]).arg(&session);
    command.env("KUBECONFIG", cluster.kubeconfig()).env("NO_PROXY", "*");
    assert!(output(&mut command).contains("the JavaScript client is content"));
}

#[test]
fn kube_rs_is_content() {
    let cluster = Cluster::simulated(&[]);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(async {
        let read = Kubeconfig::read_from(cluster.kubeconfig()).expect("the kubeconfig is there");
        let config =
            Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.expect("it is valid");
        session(Client::try_from(config).expect("it can be used")).await.expect("nothing is refused");
    });
}

/// The refusal of a call.
fn refusal<T: std::fmt::Debug>(answer: Result<T, kube::Error>) -> Status {
    match answer {
        Err(kube::Error::Api(status)) => *status,
        other => panic!("not refused: {other:?}"),
    }
}

async fn session(client: Client) -> Result<(), kube::Error> {
    assert_eq!(client.apiserver_version().await?.minor, "36");
    assert_eq!(Api::<Node>::all(client.clone()).list(&ListParams::default()).await?.items.len(), 1);
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let make = |name: &str| serde_json::from_value(json!({"metadata": {"name": name}})).expect("a Namespace");
    namespaces.create(&PostParams::default(), &make("rust")).await?;
    let taken = refusal(namespaces.create(&PostParams::default(), &make("rust")).await);
    assert_eq!((taken.code, taken.reason.as_str()), (409, "AlreadyExists"));

    // Create, replace, patch in each way, delete; a watch sees it all.
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "rust");
    let from = maps.list(&ListParams::default()).await?.metadata.resource_version.unwrap_or_default();
    let made: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "data"}, "data": {"k": "1"}}))
        .expect("a ConfigMap");
    let made = maps.create(&PostParams::default(), &made).await?;
    let mut newer = made.clone();
    newer.data.get_or_insert_default().insert("k".to_owned(), "2".to_owned());
    maps.replace("data", &PostParams::default(), &newer).await?;
    assert_eq!(refusal(maps.replace("data", &PostParams::default(), &made).await).reason, "Conflict");
    let params = PatchParams::default();
    maps.patch("data", &params, &Patch::Merge(json!({"data": {"k": "3"}}))).await?;
    let labels = Patch::Strategic(json!({"metadata": {"labels": {"a": "b"}}}));
    assert_eq!(maps.patch("data", &params, &labels).await?.labels()["a"], "b");
    maps.delete("data", &DeleteParams::default()).await?;
    let watch = WatchParams::default().fields("metadata.name=data").timeout(60);
    let mut events = maps.watch(&watch, &from).await?.boxed();
    let mut seen = Vec::new();
    while let Some(event) = events.try_next().await? {
        seen.push(match event {
            WatchEvent::Added(_) => "added",
            WatchEvent::Modified(_) => "modified",
            WatchEvent::Deleted(_) => "deleted",
            other => panic!("{other:?}"),
        });
        if seen.last() == Some(&"deleted") {
            break;
        }
    }
    assert_eq!(seen, ["added", "modified", "modified", "modified", "deleted"]);

    // A Deployment comes up; runtime's watcher waits for it.
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "rust");
    let web: Deployment = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}},
    })).expect("a Deployment");
    deployments.create(&PostParams::default(), &web).await?;
    let ready = await_condition(deployments.clone(), "web", conditions::is_deployment_completed());
    tokio::time::timeout(std::time::Duration::from_secs(60), ready)
        .await
        .expect("within a minute")
        .expect("it is watched");
    assert_eq!(deployments.get_scale("web").await?.spec.and_then(|spec| spec.replicas), Some(2));
    let pods: Api<Pod> = Api::namespaced(client.clone(), "rust");
    let page = pods.list(&ListParams::default().labels("app=web").limit(1)).await?;
    assert_eq!(
        (page.items.len(), page.metadata.remaining_item_count),
        (1, None),
        "a selector hides how many remain"
    );
    let page = pods.list_metadata(&ListParams::default().limit(1)).await?;
    assert_eq!((page.items.len(), page.metadata.remaining_item_count), (1, Some(1)));

    // What is refused, and how.
    assert_eq!(refusal(pods.get("nope").await).message, "pods \"nope\" not found");
    let bad: Pod = serde_json::from_value(json!({"metadata": {"name": "x"}, "spec": {"containers": []}}))
        .expect("a Pod");
    let bad = refusal(pods.create(&PostParams::default(), &bad).await);
    assert_eq!((bad.code, bad.reason.as_str()), (422, "Invalid"));
    assert_eq!(
        bad.details.map(|details| details.causes[0].field.clone()).as_deref(),
        Some("spec.containers")
    );
    namespaces.delete("rust", &DeleteParams::default()).await?;
    Ok(())
}
