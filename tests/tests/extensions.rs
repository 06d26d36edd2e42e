//! Those who extend the API, in programs that no one here wrote or that speak to it from outside: an operator written
//! with kopf, which brings webhooks of its own, and one written with kube-rs, which brings a definition derived from its
//! types. All goes again without a trace. The cluster's pods are simulated; the programs run beside it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ObjectMeta, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::controller::Action;
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::{Controller, watcher};
use kube::{Client, Config, CustomResource, CustomResourceExt, KubeSchema, Resource, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use skiff_tests::extension::{certificate, definition, version};
use skiff_tests::{Cluster, Process, eventually, output, repository};

/// Where the packages are, installed if they are not there yet. Comes before a test enters its own network.
fn packages() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository("target"), PathBuf::from);
    let folder = target.join("test-clients");
    output(Command::new(repository("tests/clients/install.sh")).arg(&folder));
    folder
}

fn towers() -> Value {
    let spec = json!({"colour": {"type": "string"}, "floors": {"type": "integer"}});
    definition("towers", "Tower", json!([version("v1", true, spec)]))
}

fn tower(name: &str, floors: u32) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Tower", "metadata": {"name": name}, "spec": {"floors": floors}})
}

/// Every object of the kinds that extensions leave behind, by kind and name.
fn traces(cluster: &Cluster) -> BTreeSet<String> {
    let kinds =
        "crd,apiservices,mutatingwebhookconfigurations,validatingwebhookconfigurations,configmaps,services";
    cluster.ctl(&["get", kinds, "-A", "-o", "name"]).lines().map(str::to_owned).collect()
}

/// What there is before anything is installed, once the server's own is there.
fn settled(cluster: &Cluster) -> BTreeSet<String> {
    eventually("the server's own APIServices", 30, || {
        let traces = traces(cluster);
        let own = traces.iter().any(|name| name.ends_with("/v1.apps"));
        if own { Ok(traces) } else { Err(format!("{traces:?}")) }
    })
}

#[test]
fn an_operator_of_kopf_works_with_webhooks_of_its_own() {
    let packages = packages();
    let cluster = Cluster::simulated(&[]);
    let before = settled(&cluster);
    cluster.define(&towers());
    let (certificate, key) = certificate(cluster.dir(), "IP:127.0.0.1");
    let mut command = Command::new("python3");
    command
        .args(["-m", "kopf", "run", "--standalone", "--all-namespaces"])
        .arg(repository("tests/clients/operator.py"));
    command
        .env("PYTHONPATH", packages.join("python"))
        .env("KUBECONFIG", cluster.kubeconfig())
        .env("NO_PROXY", "*");
    command.env("CERTIFICATE", &certificate).env("KEY", &key);
    let mut operator = Process::start(command, &cluster.dir().join("operator.log"));
    eventually("the operator's webhooks", 60, || {
        let all = cluster.ctl(&[
            "get",
            "mutatingwebhookconfigurations,validatingwebhookconfigurations",
            "-o",
            "json",
        ]);
        if all.matches("\"caBundle\": \"").count() >= 2 { Ok(()) } else { Err(all) }
    });

    // It is asked, it changes, it warns, it refuses.
    cluster.apply(&tower("a", 3));
    assert_eq!(cluster.get(&["tower", "a"])["spec"]["colour"], "grey");
    let high = cluster.dir().join("high.json");
    std::fs::write(&high, tower("high", 12).to_string()).expect("a file can be written");
    let refused = cluster.try_ctl(&["create", "-f", high.to_str().expect("temporary paths are text")]);
    let refused = refused.expect_err("it has too many floors");
    assert!(refused.contains("denied the request: towers have at most 9 floors"), "{refused}");

    // It follows what becomes of towers.
    let plan = |floors: &str| {
        eventually("the operator's plan", 60, || {
            let plan = cluster.try_ctl(&["get", "configmap", "plan-a", "-o", "jsonpath={.data.floors}"])?;
            if plan == floors { Ok(()) } else { Err(plan) }
        });
    };
    plan("3");
    eventually("the operator's word", 60, || {
        let tower = cluster.get(&["tower", "a"]);
        if tower["status"]["build"]["floors"] == 3 { Ok(()) } else { Err(tower.to_string()) }
    });
    cluster.ctl(&["patch", "tower", "a", "--type=merge", "-p", r#"{"spec":{"floors":5}}"#]);
    plan("5");
    // What it made goes with the tower, after it had its last word.
    cluster.ctl(&["delete", "tower", "a"]);
    cluster.ctl(&["get", "configmap", "ruin-a"]);
    cluster.ctl(&["wait", "--for=delete", "--timeout=60s", "configmap/plan-a"]);

    // And all is gone.
    operator.stop();
    cluster.ctl(&["delete", "configmap", "ruin-a"]);
    for sort in ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"] {
        cluster.ctl(&["delete", sort, "operator.example.com"]);
    }
    cluster.ctl(&["delete", "crd", "towers.example.com"]);
    gone(&cluster, &before);
}

/// Waits until there is no more than there was.
fn gone(cluster: &Cluster, before: &BTreeSet<String>) {
    eventually("the last trace to go", 60, || {
        let left: Vec<String> = traces(cluster).difference(before).cloned().collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

/// A house, as its operator's types say it; the definition is made of them.
#[derive(CustomResource, KubeSchema, Clone, Debug, Deserialize, Serialize)]
#[kube(
    group = "example.com",
    version = "v1",
    kind = "House",
    namespaced,
    status = "HouseStatus",
    shortname = "hs"
)]
#[kube(scale(spec_replicas_path = ".spec.rooms", status_replicas_path = ".status.rooms"))]
#[kube(printcolumn(name = "Rooms", type_ = "integer", json_path = ".spec.rooms"))]
#[kube(selectable = ".spec.style", validation = ("self.spec.rooms > 0 || self.spec.style == 'Tent'", "a house has rooms"))]
struct HouseSpec {
    /// How many there are.
    rooms: u8,
    #[serde(default)]
    style: Style,
    /// Who is at the door.
    door: Option<Door>,
    #[serde(default)]
    labels: std::collections::BTreeMap<String, String>,
}

/// How it is built.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
enum Style {
    #[default]
    Cottage,
    Tent,
}

/// One of several, each with data of its own.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Door {
    Open { width: u16 },
    Locked { key: String },
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
struct HouseStatus {
    rooms: u8,
}

#[test]
fn a_controller_of_kube_rs_with_a_derived_definition_works() {
    let cluster = Cluster::simulated(&[]);
    let before = settled(&cluster);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    let read = Kubeconfig::read_from(cluster.kubeconfig()).expect("the kubeconfig is there");
    let client = runtime.block_on(async {
        let config =
            Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.expect("it is valid");
        let client = Client::try_from(config).expect("it can be used");
        // As operators install themselves.
        let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
        let apply = PatchParams::apply("houses").force();
        definitions.patch(House::crd_name(), &apply, &Patch::Apply(House::crd())).await.expect("it is taken");
        let established = await_condition(definitions, House::crd_name(), conditions::is_crd_established());
        tokio::time::timeout(Duration::from_secs(30), established)
            .await
            .expect("in time")
            .expect("it serves");
        client
    });
    let (houses, maps): (Api<House>, Api<ConfigMap>) = (Api::all(client.clone()), Api::all(client.clone()));
    let controller = Controller::new(houses, watcher::Config::default())
        .owns(maps, watcher::Config::default())
        .run(plan, |_, _, _| Action::requeue(Duration::from_secs(1)), Arc::new(client));
    runtime.spawn(controller.for_each(|_| std::future::ready(())));
    std::thread::scope(|scope| {
        let (done, ended) = tokio::sync::oneshot::channel::<()>();
        scope.spawn(move || runtime.block_on(ended));
        let rooms = |expected: &str| {
            eventually("the controller's plan", 60, || {
                let data = "jsonpath={.data.rooms}";
                let rooms = cluster.try_ctl(&["get", "configmap", "plan-a", "-o", data])?;
                let house = cluster.get(&["house", "a"]);
                let told = house["status"]["rooms"].to_string();
                if rooms == expected && told == expected { Ok(()) } else { Err(format!("{rooms} {told}")) }
            });
        };
        cluster.apply(&house(json!({"rooms": 3, "door": {"locked": {"key": "k"}}})));
        rooms("3");
        cluster.kubectl(&["scale", "house/a", "--replicas=4"]);
        rooms("4");
        // What it owns comes again.
        cluster.ctl(&["delete", "configmap", "plan-a"]);
        rooms("4");
        // What its types do not know is refused, and what their author asks besides.
        for (spec, why) in [
            (json!({"rooms": 0}), "a house has rooms"),
            (json!({"rooms": 1, "door": {"open": {}}}), "spec.door.open.width: Required value"),
            (json!({"rooms": 1, "style": "Castle"}), "supported values: \"Cottage\", \"Tent\""),
            (json!({"rooms": 256}), "spec.rooms in body should be less than or equal to 255"),
        ] {
            let path = cluster.dir().join("refused.json");
            std::fs::write(&path, house(spec).to_string()).expect("a file can be written");
            let words = ["apply", "-f", path.to_str().expect("temporary paths are text")];
            let refused = cluster.try_kubectl(&words).expect_err(why);
            assert!(refused.contains(why), "{refused}");
        }
        assert!(cluster.kubectl(&["get", "hs", "--field-selector=spec.style=Cottage"]).contains("ROOMS"));
        cluster.ctl(&["delete", "house", "a"]);
        cluster.ctl(&["wait", "--for=delete", "--timeout=60s", "configmap/plan-a"]);
        drop(done);
    });
    cluster.ctl(&["delete", "crd", House::crd_name()]);
    gone(&cluster, &before);
}

fn house(spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "House", "metadata": {"name": "a"}, "spec": spec})
}

/// Applies the ConfigMap that a house's plan is, and says so.
async fn plan(house: Arc<House>, client: Arc<Client>) -> Result<Action, kube::Error> {
    let namespace = house.namespace().unwrap_or_default();
    let (name, rooms) = (format!("plan-{}", house.name_any()), house.spec.rooms);
    let owner = house.controller_owner_ref(&()).expect("a stored house has a uid");
    let map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        data: Some([("rooms".to_owned(), rooms.to_string())].into()),
        ..ConfigMap::default()
    };
    let maps: Api<ConfigMap> = Api::namespaced((*client).clone(), &namespace);
    maps.patch(&name, &PatchParams::apply("houses").force(), &Patch::Apply(&map)).await?;
    let houses: Api<House> = Api::namespaced((*client).clone(), &namespace);
    let status = json!({"status": HouseStatus { rooms }});
    houses.patch_status(&house.name_any(), &PatchParams::default(), &Patch::Merge(status)).await?;
    Ok(Action::await_change())
}
