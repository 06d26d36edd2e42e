//! What single kinds do of their own, as kube-apiserver was seen to answer the same requests.

use serde_json::{Value, json};

use crate::server::{PODS, Server, make_account, pod};

const DEFAULT: &str = "/api/v1/namespaces/default";

fn template() -> Value {
    json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

#[tokio::test]
async fn an_autoscaler_is_the_same_in_both_versions() {
    let server = Server::start().await;
    let admin = server.admin();
    let of =
        |version: &str| format!("/apis/autoscaling/{version}/namespaces/default/horizontalpodautoscalers");
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"});
    let spec = json!({"maxReplicas": 3, "targetCPUUtilizationPercentage": 50, "scaleTargetRef": target});
    let made = admin.post(&of("v1"), &json!({"metadata": {"name": "h"}, "spec": spec})).await.expect(201);
    assert_eq!((&made["apiVersion"], &made["spec"]["minReplicas"]), (&json!("autoscaling/v1"), &json!(1)));
    assert_eq!(made["metadata"]["managedFields"][0]["apiVersion"], "autoscaling/v1");

    let second = admin.get(&format!("{}/h", of("v2"))).await.expect(200);
    let cpu = |percent: i32| {
        let target = json!({"type": "Utilization", "averageUtilization": percent});
        json!({"type": "Resource", "resource": {"name": "cpu", "target": target}})
    };
    assert_eq!(second["spec"]["metrics"], json!([cpu(50)]));
    assert_eq!(second["metadata"]["managedFields"], made["metadata"]["managedFields"]);

    let pods = json!({"type": "Pods", "pods": {"metric": {"name": "q"}, "target": {"type": "AverageValue", "averageValue": "10"}}});
    let patch = json!({"spec": {"metrics": [pods, cpu(60)]}});
    admin.patch(&format!("{}/h", of("v2")), "merge-patch", &patch).await.expect(200);
    let first = admin.get(&format!("{}/h", of("v1"))).await.expect(200);
    assert_eq!(first["spec"]["targetCPUUtilizationPercentage"], 60);
    let kept = "[{\"type\":\"Pods\",\"pods\":{\"metricName\":\"q\",\"targetAverageValue\":\"10\"}}]";
    assert_eq!(first["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"], kept);

    // What was read is written back and loses nothing; lists say what they are once.
    admin.put(&format!("{}/h", of("v1")), &first).await.expect(200);
    let list = admin.get(&of("v2")).await.expect(200);
    assert_eq!(list["items"][0]["spec"]["metrics"], json!([pods, cpu(60)]));
    let list = admin.get(&of("v1")).await.expect(200);
    assert_eq!((&list["apiVersion"], list["items"][0].get("kind")), (&json!("autoscaling/v1"), None));
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let row = admin.get_as(&of("v1"), table).await.expect(200)["rows"][0]["cells"].clone();
    assert_eq!(row[2], "<unknown>/10, cpu: <unknown>/60%");
    // Refusals name the fields of one form, whatever the client speaks.
    let bad = json!({"metadata": {"name": "b"}, "spec": {"maxReplicas": 0, "scaleTargetRef": target}});
    let message = admin.post(&of("v1"), &bad).await.expect(422)["message"].clone();
    assert!(message.as_str().unwrap().contains("spec.maxReplicas: Required value"), "{message}");
}

#[tokio::test]
async fn what_upstream_fills_in_is_filled_in() {
    let server = Server::start().await;
    let admin = server.admin();
    make_account(&admin).await;
    let job = json!({"metadata": {"name": "j"}, "spec": {"backoffLimitPerIndex": 1, "completionMode": "Indexed",
        "completions": 2, "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}});
    let job = admin.post("/apis/batch/v1/namespaces/default/jobs", &job).await.expect(201);
    assert_eq!(job["spec"]["backoffLimit"], i32::MAX);
    assert_eq!(job["metadata"]["labels"]["batch.kubernetes.io/job-name"], "j");
    let deleted = admin.delete("/apis/batch/v1/namespaces/default/jobs/j").await;
    assert!(
        deleted.warnings()[0].contains("child pods are preserved by default"),
        "{:?}",
        deleted.warnings()
    );

    let cron = json!({"metadata": {"name": "c"}, "spec": {"schedule": "0 0 * * *",
        "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}}});
    let cron = admin.post("/apis/batch/v1/namespaces/default/cronjobs", &cron).await.expect(201);
    assert_eq!(cron["spec"]["jobTemplate"]["spec"].get("backoffLimit"), None);

    let set = json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template()}});
    let sets = "/apis/apps/v1/namespaces/default/daemonsets";
    admin.post(sets, &set).await.expect(201);
    let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "j"}]}}}});
    let set = admin.patch(&format!("{sets}/d"), "strategic-merge-patch", &patch).await.expect(200);
    assert_eq!(set["metadata"]["annotations"]["deprecated.daemonset.template.generation"], "2");

    let claim = json!({"metadata": {"name": "p"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}, "dataSource": {"kind": "PersistentVolumeClaim", "name": "o"}}});
    let claim = admin.post(&format!("{DEFAULT}/persistentvolumeclaims"), &claim).await.expect(201);
    assert_eq!(
        (&claim["spec"]["dataSourceRef"]["name"], &claim["status"]["phase"]),
        (&json!("o"), &json!("Pending"))
    );

    let node = json!({"metadata": {"name": "n"}, "status": {"capacity": {"cpu": "2"}}});
    let node = admin.post("/api/v1/nodes", &node).await.expect(201);
    assert_eq!(node["status"]["allocatable"], json!({"cpu": "2"}));

    let service = json!({"metadata": {"name": "s"}, "spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Local",
        "ports": [{"port": 80}]}});
    let service = admin.post(&format!("{DEFAULT}/services"), &service).await.expect(201);
    assert!(service["spec"]["healthCheckNodePort"].as_i64().unwrap() >= 30000);

    let mut gated = pod("g");
    gated["spec"]["schedulingGates"] = json!([{"name": "x"}]);
    let gated = admin.post(PODS, &gated).await.expect(201);
    assert_eq!(gated["status"]["conditions"][0]["reason"], "SchedulingGated");
}

#[tokio::test]
async fn a_secrets_plain_text_is_data_to_its_owners_too() {
    let server = Server::start().await;
    let admin = server.admin();
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"a": "b"}});
    let secret = admin.post(&format!("{DEFAULT}/secrets"), &secret).await.expect(201);
    assert_eq!((&secret["data"]["a"], secret.get("stringData")), (&json!("Yg=="), None));
    let owned = &secret["metadata"]["managedFields"][0]["fieldsV1"];
    assert_eq!(owned["f:data"], json!({".": {}, "f:a": {}}));
}

#[tokio::test]
async fn a_status_leaves_alone_what_its_kind_says() {
    let server = Server::start().await;
    let admin = server.admin();
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let object = json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template()}});
    admin.post(deployments, &object).await.expect(201);
    let patch =
        json!({"metadata": {"labels": {"x": "y"}, "annotations": {"x": "y"}}, "status": {"replicas": 1}});
    let status = admin.patch(&format!("{deployments}/d/status"), "merge-patch", &patch).await.expect(200);
    assert_eq!(status["metadata"].get("labels"), None);
    assert_eq!(
        (&status["metadata"]["annotations"]["x"], &status["status"]["replicas"]),
        (&json!("y"), &json!(1))
    );
    // An annotation of the deployment counts as a change of it.
    let patch = json!({"metadata": {"annotations": {"z": "y"}}});
    let changed = admin.patch(&format!("{deployments}/d"), "merge-patch", &patch).await.expect(200);
    assert_eq!(changed["metadata"]["generation"], 2);
}

#[tokio::test]
async fn what_is_about_to_go_or_odd_is_warned_of() {
    let server = Server::start().await;
    let admin = server.admin();
    make_account(&admin).await;
    let answer = admin.get(&format!("{DEFAULT}/endpoints")).await;
    let expected = "299 - \"v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice\"";
    assert_eq!(answer.warnings(), [expected]);
    let mut object = pod("p");
    object["spec"]["topologySpreadConstraints"] =
        json!([{"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}]);
    let answer = admin.post(PODS, &object).await;
    let told =
        "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod";
    assert_eq!(answer.warnings(), [format!("299 - \"{told}\"")]);
    let patch = json!({"metadata": {"labels": {"x": "y"}}});
    let answer = admin.patch(&format!("{PODS}/p"), "merge-patch", &patch).await;
    assert_eq!(answer.warnings(), Vec::<String>::new());
    let patch = json!({"metadata": {"finalizers": ["plain"]}});
    let message =
        admin.patch(&format!("{PODS}/p"), "merge-patch", &patch).await.expect(422)["message"].clone();
    let why = "metadata.finalizers[0]: Invalid value: \"plain\": name is neither a standard finalizer name nor is it fully qualified";
    assert!(message.as_str().unwrap().contains(why), "{message}");
}

#[tokio::test]
async fn a_pods_refused_change_is_shown() {
    let server = Server::start().await;
    let admin = server.admin();
    make_account(&admin).await;
    let mut made = admin.post(PODS, &pod("p")).await.expect(201);
    made["spec"]["hostname"] = "h".into();
    made["spec"]["tolerations"] = json!([]);
    let message = admin.put(&format!("{PODS}/p"), &made).await.expect(422)["message"].clone();
    let message = message.as_str().unwrap();
    assert!(
        message.starts_with("Pod \"p\" is invalid: spec: Forbidden: pod updates may not change"),
        "{message}"
    );
    assert!(message.contains("\n+ \"hostname\": \"h\","), "{message}");
}
