//! APIServices of what this server serves itself: those that it always has, and those of custom kinds.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{FutureExt, StreamExt, TryStreamExt};
use http::Method;
use serde_json::{Value, json};
use skiff_api::meta;

use super::availability::{Verdict, told};
use super::{GROUP, PLURAL};
use crate::app::App;
use crate::bootstrap::send;
use crate::{discovery, write};

/// Says who looks after an APIService: `onstart` those that are always there, `true` those of custom kinds.
const AUTOMANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
/// Objects that are written at once.
const AT_ONCE: usize = 32;
const PATH: &str = "/apis/apiregistration.k8s.io/v1/apiservices";

/// The priority of groups, and of versions where one differs from the rest, as upstream gives them.
const PRIORITIES: &[(&str, i64)] = &[
    ("", 18000),
    ("apiregistration.k8s.io", 18000),
    ("apps", 17800),
    ("events.k8s.io", 17750),
    ("authentication.k8s.io", 17700),
    ("authorization.k8s.io", 17600),
    ("autoscaling", 17500),
    ("batch", 17400),
    ("certificates.k8s.io", 17300),
    ("networking.k8s.io", 17200),
    ("policy", 17100),
    ("rbac.authorization.k8s.io", 17000),
    ("storage.k8s.io", 16800),
    ("apiextensions.k8s.io", 16700),
    ("admissionregistration.k8s.io", 16700),
    ("scheduling.k8s.io", 16600),
    ("coordination.k8s.io", 16500),
    ("node.k8s.io", 16300),
    ("discovery.k8s.io", 16200),
    ("flowcontrol.apiserver.k8s.io", 16100),
    ("internal.apiserver.k8s.io", 16000),
    ("resource.k8s.io", 15900),
    ("storagemigration.k8s.io", 15800),
];
const VERSIONS: &[(&str, &str, i64)] =
    &[("", "v1", 1), ("autoscaling", "v2", 30), ("flowcontrol.apiserver.k8s.io", "v1", 21)];
/// What custom kinds get.
const CUSTOM: (i64, i64) = (1000, 100);

/// The priorities of a group and version of this server's.
pub fn priority(group: &str, version: &str) -> (i64, i64) {
    let Some((_, of_group)) = PRIORITIES.iter().find(|(known, _)| *known == group) else { return CUSTOM };
    let of_version = VERSIONS.iter().find(|(g, v, _)| *g == group && *v == version);
    let by_stability = if version.contains("alpha") || version.contains("beta") { 9 } else { 15 };
    (*of_group, of_version.map_or(by_stability, |(_, _, priority)| *priority))
}

/// The APIServices that there should be: names to objects without status.
fn wanted(app: &App) -> BTreeMap<String, Value> {
    let registry = app.registry.load_full();
    let mut wanted = BTreeMap::new();
    for (group, versions) in discovery::groups(&registry) {
        if group == GROUP {
            continue;
        }
        let builtin = PRIORITIES.iter().any(|(known, _)| *known == group);
        for version in versions {
            let name = format!("{version}.{group}");
            let (of_group, of_version) = priority(&group, &version);
            let managed = if builtin { "onstart" } else { "true" };
            let object = json!({
                "kind": "APIService", "apiVersion": "apiregistration.k8s.io/v1",
                "metadata": {"name": name, "labels": {AUTOMANAGED: managed}},
                "spec": {"group": group, "version": version, "groupPriorityMinimum": of_group, "versionPriority": of_version},
            });
            wanted.insert(name, object);
        }
    }
    wanted
}

/// Makes the APIServices what they should be. What someone else made or took over stays as it is.
pub async fn reconcile(app: &Arc<App>) -> anyhow::Result<()> {
    let Some(cache) = app.cache.find(GROUP, PLURAL) else { return Ok(()) };
    app.cache.catch_up().await?;
    let wanted = wanted(app);
    let snapshot = cache.snapshot();
    let live = |name: &str| snapshot.items.get(name).map(|item| item.object(cache.kind(), "v1"));
    let mut work = Vec::new();
    for (name, object) in wanted.iter().map(|(name, object)| (name.clone(), object.clone())) {
        let live = live(&name);
        let done = live.as_ref().is_some_and(|live| {
            label(live).is_none()
                || live["spec"]["service"].is_object()
                || told(&live["status"], &Verdict::local(), "").is_none()
        });
        if !done {
            work.push(ensure(app.clone(), name, live, object).boxed());
        }
    }
    for name in snapshot.items.keys().filter(|name| !wanted.contains_key(&***name)) {
        let Some(object) = live(name) else { continue };
        if label(&object).as_deref() == Some("true") && !object["spec"]["service"].is_object() {
            work.push(remove(app.clone(), object).boxed());
        }
    }
    // A store acknowledges many together.
    futures::stream::iter(work).buffer_unordered(AT_ONCE).try_collect::<()>().await
}

fn label(object: &Value) -> Option<String> {
    object["metadata"]["labels"][AUTOMANAGED].as_str().map(str::to_owned)
}

/// Makes one that is missing, and says that it is available.
async fn ensure(app: Arc<App>, name: String, live: Option<Value>, wanted: Value) -> anyhow::Result<()> {
    let object = match live {
        Some(live) => live,
        None => {
            let (code, made) = send(&app, Method::POST, PATH, &wanted).await?;
            anyhow::ensure!(code < 300 || code == 409, "{}", made["message"]);
            // Another server was faster.
            if code == 409 {
                return Ok(());
            }
            made
        }
    };
    let now = write::time(jiff::Timestamp::now());
    match told(&object["status"], &Verdict::local(), &now) {
        Some(status) => say(&app, &name, object, status).await,
        None => Ok(()),
    }
}

async fn remove(app: Arc<App>, object: Value) -> anyhow::Result<()> {
    let path = format!("{PATH}/{}", meta::name(&object));
    let only = json!({"preconditions": {"uid": meta::uid(&object)}});
    let (code, answer) = send(&app, Method::DELETE, &path, &only).await?;
    anyhow::ensure!(code < 300 || code == 404 || code == 409, "{}", answer["message"]);
    Ok(())
}

/// Writes a status; another server may have been faster, which is as good.
pub async fn say(app: &Arc<App>, name: &str, mut object: Value, status: Value) -> anyhow::Result<()> {
    object["status"] = status;
    let (code, answer) = send(app, Method::PUT, &format!("{PATH}/{name}/status"), &object).await?;
    anyhow::ensure!(code < 300 || code == 404 || code == 409, "{}", answer["message"]);
    Ok(())
}
