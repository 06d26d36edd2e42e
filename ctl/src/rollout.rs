//! How far a rollout is, and what a Deployment's history holds. Pure.
//!
//! Upstream: `kubectl/pkg/polymorphichelpers/rollout_status.go` and `history.go`.

use serde_json::{Value, json};

/// The annotation that counts a ReplicaSet's place in its Deployment's history.
pub const REVISION: &str = "deployment.kubernetes.io/revision";

/// Where a rollout stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Complete.
    Done(String),
    /// Not yet.
    Waiting(String),
    /// It will not get there.
    Failed(String),
}

/// Judges an object of a kind that rolls out.
pub fn progress(object: &Value) -> Progress {
    let kind = object["kind"].as_str().unwrap_or_default();
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let status = &object["status"];
    let count = |key: &str| status[key].as_i64().unwrap_or(0);
    let stale = object["metadata"]["generation"].as_i64().unwrap_or(0) > count("observedGeneration");
    match kind {
        "Deployment" => {
            if stale {
                return Progress::Waiting("Waiting for deployment spec update to be observed...".to_owned());
            }
            let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
            if conditions
                .iter()
                .any(|c| c["type"] == "Progressing" && c["reason"] == "ProgressDeadlineExceeded")
            {
                return Progress::Failed(format!("deployment \"{name}\" exceeded its progress deadline"));
            }
            let wanted = object["spec"]["replicas"].as_i64().unwrap_or(1);
            let (replicas, updated, available) =
                (count("replicas"), count("updatedReplicas"), count("availableReplicas"));
            if updated < wanted {
                Progress::Waiting(format!(
                    "Waiting for deployment \"{name}\" rollout to finish: {updated} out of {wanted} new replicas have been updated..."
                ))
            } else if replicas > updated {
                let old = replicas - updated;
                Progress::Waiting(format!(
                    "Waiting for deployment \"{name}\" rollout to finish: {old} old replicas are pending termination..."
                ))
            } else if available < updated {
                Progress::Waiting(format!(
                    "Waiting for deployment \"{name}\" rollout to finish: {available} of {updated} updated replicas are available..."
                ))
            } else {
                Progress::Done(format!("deployment \"{name}\" successfully rolled out"))
            }
        }
        "DaemonSet" => {
            if stale {
                return Progress::Waiting("Waiting for daemon set spec update to be observed...".to_owned());
            }
            let (wanted, updated, available) =
                (count("desiredNumberScheduled"), count("updatedNumberScheduled"), count("numberAvailable"));
            if updated < wanted {
                Progress::Waiting(format!(
                    "Waiting for daemon set \"{name}\" rollout to finish: {updated} out of {wanted} new pods have been updated..."
                ))
            } else if available < wanted {
                Progress::Waiting(format!(
                    "Waiting for daemon set \"{name}\" rollout to finish: {available} of {wanted} updated pods are available..."
                ))
            } else {
                Progress::Done(format!("daemon set \"{name}\" successfully rolled out"))
            }
        }
        "StatefulSet" => {
            if stale {
                return Progress::Waiting("Waiting for statefulset spec update to be observed...".to_owned());
            }
            let wanted = object["spec"]["replicas"].as_i64().unwrap_or(1);
            if count("readyReplicas") < wanted {
                return Progress::Waiting(format!(
                    "Waiting for {} pods to be ready...",
                    wanted - count("readyReplicas")
                ));
            }
            if status["updateRevision"] != status["currentRevision"] {
                return Progress::Waiting(format!(
                    "waiting for statefulset rolling update to complete {} pods at revision {}...",
                    count("updatedReplicas"),
                    status["updateRevision"].as_str().unwrap_or_default()
                ));
            }
            Progress::Done(format!(
                "statefulset rolling update complete {} pods at revision {}...",
                count("currentReplicas"),
                status["currentRevision"].as_str().unwrap_or_default()
            ))
        }
        other => Progress::Failed(format!("no status viewer has been implemented for {other}")),
    }
}

/// A ReplicaSet's revision.
pub fn revision(set: &Value) -> u64 {
    set["metadata"]["annotations"][REVISION].as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The ReplicaSets of a Deployment, by revision, the newest last.
pub fn history<'a>(deployment: &Value, sets: &'a [Value]) -> Vec<&'a Value> {
    let uid = &deployment["metadata"]["uid"];
    let mut own: Vec<&Value> = sets
        .iter()
        .filter(|set| {
            let owners = set["metadata"]["ownerReferences"].as_array().map(Vec::as_slice).unwrap_or_default();
            owners.iter().any(|owner| owner["controller"] == true && &owner["uid"] == uid)
        })
        .collect();
    own.sort_by_key(|set| revision(set));
    own
}

/// The ReplicaSet to return to: of a revision, or (0) the one before the newest.
pub fn undo_to<'a>(history: &[&'a Value], to: u64) -> Result<&'a Value, String> {
    match to {
        0 if history.len() < 2 => Err("no rollout history found for deployment".to_owned()),
        0 => Ok(history[history.len() - 2]),
        to => history
            .iter()
            .find(|set| revision(set) == to)
            .copied()
            .ok_or_else(|| format!("unable to find specified revision {to} in history")),
    }
}

/// The template of a ReplicaSet without what the Deployment controller put into it.
pub fn template(set: &Value) -> Value {
    let mut template = set["spec"]["template"].clone();
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        labels.remove("pod-template-hash");
    }
    if let Some(meta) = template["metadata"].as_object_mut() {
        meta.remove("creationTimestamp");
    }
    template
}

/// The JSON patch that puts a template back.
pub fn undo_patch(set: &Value) -> Value {
    json!([{"op": "replace", "path": "/spec/template", "value": template(set)}])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(generation: i64, status: Value) -> Value {
        json!({"kind": "Deployment", "metadata": {"name": "d", "generation": generation}, "spec": {"replicas": 3}, "status": status})
    }

    #[test]
    fn a_deployments_progress_is_told_in_kubectls_words() {
        let waiting = |text: &str| Progress::Waiting(text.to_owned());
        let cases = [
            (
                deployment(2, json!({"observedGeneration": 1})),
                waiting("Waiting for deployment spec update to be observed..."),
            ),
            (
                deployment(1, json!({"observedGeneration": 1, "updatedReplicas": 1})),
                waiting(
                    "Waiting for deployment \"d\" rollout to finish: 1 out of 3 new replicas have been updated...",
                ),
            ),
            (
                deployment(1, json!({"observedGeneration": 1, "replicas": 4, "updatedReplicas": 3})),
                waiting(
                    "Waiting for deployment \"d\" rollout to finish: 1 old replicas are pending termination...",
                ),
            ),
            (
                deployment(
                    1,
                    json!({"observedGeneration": 1, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 2}),
                ),
                waiting(
                    "Waiting for deployment \"d\" rollout to finish: 2 of 3 updated replicas are available...",
                ),
            ),
            (
                deployment(
                    1,
                    json!({"observedGeneration": 1, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3}),
                ),
                Progress::Done("deployment \"d\" successfully rolled out".to_owned()),
            ),
            (
                deployment(
                    1,
                    json!({"observedGeneration": 1, "conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]}),
                ),
                Progress::Failed("deployment \"d\" exceeded its progress deadline".to_owned()),
            ),
        ];
        for (object, want) in cases {
            assert_eq!(progress(&object), want);
        }
    }

    #[test]
    fn history_is_the_deployments_own_in_order() {
        let deployment = json!({"metadata": {"uid": "u"}});
        let set = |uid: &str, revision: &str| {
            json!({"metadata": {"ownerReferences": [{"controller": true, "uid": uid}],
            "annotations": {REVISION: revision}}, "spec": {"template": {"metadata": {"labels": {"a": "b", "pod-template-hash": "h"}}}}})
        };
        let sets = [set("u", "10"), set("u", "9"), set("other", "1"), set("u", "2")];
        let own = history(&deployment, &sets);
        assert_eq!(own.iter().map(|set| revision(set)).collect::<Vec<_>>(), [2, 9, 10]);
        assert_eq!(undo_to(&own, 0).map(revision), Ok(9));
        assert_eq!(undo_to(&own, 2).map(revision), Ok(2));
        assert_eq!(undo_to(&own, 5), Err("unable to find specified revision 5 in history".to_owned()));
        assert!(undo_to(&own[..1], 0).is_err());
        assert_eq!(undo_patch(&sets[0])[0]["value"], json!({"metadata": {"labels": {"a": "b"}}}));
    }
}
