//! What the managers of fields cost a write of a full pod.
#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::{Value, json};
use skiff_api::builtin::registry;
use skiff_api::ownership::{self, Tracker};
use skiff_api::walk;

fn container(name: String) -> Value {
    let env: Vec<Value> = (0..10).map(|n| json!({"name": format!("VAR_{n}"), "value": "x"})).collect();
    let mounts: Vec<Value> =
        (0..4).map(|n| json!({"name": format!("v{n}"), "mountPath": format!("/mnt/{n}")})).collect();
    json!({"name": name, "image": "example/app:1", "env": env, "volumeMounts": mounts,
        "ports": [{"containerPort": 80}, {"containerPort": 443, "protocol": "TCP", "name": "tls"}],
        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}, "readinessProbe": {"httpGet": {"port": 80}}})
}

fn writes(bench: &mut Criterion) {
    let pods = registry().resource("", "v1", "pods").expect("pods are built in").clone();
    let schema = &pods.stored().schema;
    let volumes: Vec<Value> = (0..4).map(|n| json!({"name": format!("v{n}"), "emptyDir": {}})).collect();
    let applied = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "d",
            "labels": {"app": "a", "tier": "b"}, "annotations": {"a": "b"}},
        "spec": {"containers": [container("a".into()), container("b".into()), container("c".into())],
            "volumes": volumes}});
    let mut pod = applied.clone();
    walk::default(schema, &mut pod);
    walk::normalise(schema, &mut pod);
    let reset = ownership::reset(&pods, "v1", "");
    let status = ownership::reset(&pods, "v1", "status");
    let now = "2026-05-01T10:00:00Z";
    let tracker = |subresource, reset| Tracker {
        versions: &*pods,
        api_version: "v1",
        kind: "Pod",
        subresource,
        reset,
        now,
    };
    let object = tracker("", &reset);
    let view = tracker("status", &status);
    let nothing = ownership::empty(schema, "v1", "Pod");

    let mut live = pod.clone();
    object.update(&nothing, &mut live, "maker", false);
    live["metadata"]["uid"] = "u".into();
    let mut running = live.clone();
    running["status"] = json!({"phase": "Running", "podIP": "10.0.0.1", "conditions": [
        {"type": "Ready", "status": "True"}, {"type": "PodScheduled", "status": "True"}]});
    let mine = object.apply(&live, &applied, "me", false).expect("nothing else owns it");

    bench.bench_function("create", |b| {
        b.iter(|| {
            let mut new = pod.clone();
            object.update(black_box(&nothing), &mut new, "maker", false);
            new
        });
    });
    bench.bench_function("update that changes nothing", |b| {
        b.iter(|| {
            let mut new = live.clone();
            object.update(black_box(&live), &mut new, "maker", false);
            new
        });
    });
    bench.bench_function("status", |b| {
        b.iter(|| {
            let mut new = running.clone();
            view.update(black_box(&live), &mut new, "kubelet", false);
            new
        });
    });
    bench.bench_function("apply again", |b| {
        b.iter(|| object.apply(black_box(&mine), &applied, "me", false));
    });
    bench.bench_function("a copy of the pod, to compare with", |b| b.iter(|| black_box(&live).clone()));
}

criterion_group!(benches, writes);
criterion_main!(benches);
