//! Evictions: deletes on behalf of someone who drains a node, as far as disruption budgets allow.
//!
//! Matched to `pkg/registry/core/pod/storage/eviction.go`.

use axum::body::Body;
use http::{Request, Response};
use serde_json::{Value, json};
use skiff_api::selector::LabelSelector;
use skiff_api::status::{Cause, Details, Status};
use skiff_api::{meta, schema, walk};

use crate::admission::{Operation, Review};
use crate::app::Call;
use crate::write::{self, Owners};

/// How often an eviction is tried when others write in between.
const TRIES: usize = 5;
/// The most pods that a budget may wait for.
const DISRUPTED_MAX: usize = 2000;
const POLICY: &str = "policy";
const BUDGETS: &str = "poddisruptionbudgets";
const DEFINITION: &str = "io.k8s.api.policy.v1.Eviction";

/// Answers an eviction.
pub async fn create(call: &Call, request: Request<Body>) -> Result<Response<Body>, Status> {
    let (mut eviction, _) = write::parse(request, "Eviction").await?;
    if let Some(schema) = schema::definition(DEFINITION)
        && let Some(status) = walk::decode_error("Eviction", "v1", schema, &eviction)
    {
        return Err(status);
    }
    let named = meta::name(&eviction);
    if !named.is_empty() && named != call.name() {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let review = Review::new(call, Operation::Create, None, &Value::Null);
    call.app.admission.admit(&review, &mut eviction).await?;
    let mut options = eviction
        .get("deleteOptions")
        .filter(|options| options.is_object())
        .cloned()
        .unwrap_or_else(|| json!({}));
    if call.context.dry_run {
        options["dryRun"] = json!(["All"]);
    }
    let mut tries = TRIES;
    loop {
        tries -= 1;
        match evict(call, options.clone()).await {
            Err(status)
                if status.reason == "Conflict"
                    && tries > 0
                    && options["preconditions"]["resourceVersion"].is_null() => {}
            outcome => return outcome.map(|()| super::success()),
        }
    }
}

async fn evict(call: &Call, mut options: Value) -> Result<(), Status> {
    call.app.cache.catch_up().await?;
    let found = call.app.cache.of(&call.kind)?.get(call.namespace(), call.name());
    let pod = found.ok_or_else(|| call.not_found())?.object(&call.kind, &call.version);
    crate::security::node::may_evict(&call.context.user, &pod)
        .map_err(|why| Status::forbidden("", "pods", call.name(), &why))?;
    let dry_run = !options["dryRun"].as_array().is_none_or(Vec::is_empty);
    let phase = pod["status"]["phase"].as_str().unwrap_or_default();
    let free =
        matches!(phase, "Succeeded" | "Failed" | "Pending") || meta::deletion_timestamp(&pod).is_some();
    let mut exact = phase == "Pending" && meta::deletion_timestamp(&pod).is_none();
    if !free {
        let budgets = budgets_of(call, &pod)?;
        if budgets.len() > 1 {
            return Err(Status::new(
                500,
                "",
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ));
        }
        if let Some(budget) = budgets.first() {
            if is_unguarded(budget, &pod) {
                exact = true;
            } else {
                take(call, budget, dry_run).await?;
            }
        }
    }
    if exact && options["preconditions"]["resourceVersion"].is_null() {
        // It must not have become ready in between.
        options["preconditions"]["resourceVersion"] = meta::resource_version(&pod).into();
    }
    let mut plain = call.clone();
    plain.info.subresource.clear();
    write::delete_with(&plain, options).await
}

/// The budgets that guard a pod.
fn budgets_of(call: &Call, pod: &Value) -> Result<Vec<Value>, Status> {
    let Some(cache) = call.app.cache.find(POLICY, BUDGETS) else { return Ok(Vec::new()) };
    let labels = meta::labels(pod).map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let snapshot = cache.snapshot();
    let inside = snapshot.items.values().filter(|item| item.namespace() == call.namespace());
    let objects = inside.map(|item| item.object(cache.kind(), &cache.kind().stored().name));
    let guards = |budget: &Value| {
        let selector = budget["spec"].get("selector").unwrap_or(&Value::Null);
        selector.is_object()
            && LabelSelector::from_object(selector).is_ok_and(|selector| selector.matches(&labels))
    };
    Ok(objects.filter(guards).collect())
}

/// Whether a pod that is not ready may go without asking its budget.
fn is_unguarded(budget: &Value, pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    let ready = conditions.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True");
    if ready {
        return false;
    }
    let count = |field: &str| budget["status"][field].as_i64().unwrap_or(0);
    budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
        || (count("currentHealthy") >= count("desiredHealthy") && count("desiredHealthy") > 0)
}

/// Takes one disruption out of a budget.
async fn take(call: &Call, budget: &Value, dry_run: bool) -> Result<(), Status> {
    let mut target =
        call.of_server(POLICY, BUDGETS, meta::name(budget), "status").ok_or_else(Status::no_such_path)?;
    target.context.dry_run = dry_run;
    let now = write::time(call.context.now);
    write::change(&target, Owners::Tracked, |budget: &Value| {
        allows(budget)?;
        let mut budget = budget.clone();
        let left = budget["status"]["disruptionsAllowed"].as_i64().unwrap_or(0) - 1;
        budget["status"]["disruptionsAllowed"] = left.into();
        budget["status"]["disruptedPods"][call.name()] = now.as_str().into();
        Ok(budget)
    })
    .await
    .map(|_| ())
}

/// Whether a budget has a disruption left.
fn allows(budget: &Value) -> Result<(), Status> {
    let name = meta::name(budget);
    let status = &budget["status"];
    let count = |field: &str| status[field].as_i64().unwrap_or(0);
    if count("observedGeneration") < meta::generation(budget) {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(too_many(why, 10));
    }
    if count("disruptionsAllowed") < 0 {
        return Err(Status::forbidden(
            POLICY,
            "poddisruptionbudget",
            name,
            "pdb disruptions allowed is negative",
        ));
    }
    if status["disruptedPods"].as_object().is_some_and(|pods| pods.len() > DISRUPTED_MAX) {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(Status::forbidden(POLICY, "poddisruptionbudget", name, why));
    }
    if count("disruptionsAllowed") > 0 {
        return Ok(());
    }
    let conditions = status["conditions"].as_array();
    let refused = conditions
        .into_iter()
        .flatten()
        .find(|one| one["type"] == "DisruptionAllowed" && one["status"] == "False" && one["message"] != "");
    let text = |field: &str| refused.and_then(|one| one[field].as_str()).unwrap_or_default();
    let why = if text("reason") == "SyncFailed" {
        format!(
            "The disruption budget {name} does not allow evicting pods currently because it failed sync: {}",
            text("message")
        )
    } else if count("currentHealthy") <= count("desiredHealthy") {
        format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            count("desiredHealthy"),
            count("currentHealthy")
        )
    } else if refused.is_some_and(|one| one["message"].is_string()) {
        format!(
            "The disruption budget {name} does not allow evicting pods currently ({}): {}",
            text("reason"),
            text("message")
        )
    } else {
        format!("The disruption budget {name} does not allow evicting pods currently")
    };
    Err(too_many(why, 0))
}

/// 429, as kubectl drain understands it.
fn too_many(why: String, retry_after_s: u32) -> Status {
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    let mut status = Status::new(429, "TooManyRequests", message);
    status.details = Some(Details {
        causes: vec![Cause { reason: "DisruptionBudget", message: why, field: String::new() }],
        retry_after_s,
        ..Details::default()
    });
    status
}
