//! Carrying out: binding a pod, saying why it waits, and driving others out.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};
use skiff_runtime::event::{Type, reference};
use skiff_runtime::key::Key;
use skiff_runtime::queue::Action;

use super::{LOOK_AGAIN, Shell, uid_of};
use crate::preemption::Preemption;
use crate::schedule::FitError;

/// Does what was decided for a pod.
pub(super) async fn carry_out(
    shell: &Shell,
    pod: &Pod,
    key: &Key,
    decided: Result<String, Box<(FitError, Option<Preemption>)>>,
) -> Result<Action, kube::Error> {
    let api: Api<Pod> = Api::namespaced(shell.client.clone(), &key.namespace);
    match decided {
        Ok(node) => {
            if let Err(error) = bind(&api, pod, key, &node).await {
                shell.state().unplace(uid_of(pod));
                return match error {
                    // Gone, or bound by someone else: the view will tell.
                    kube::Error::Api(status) if matches!(status.code, 404 | 409) => Ok(Action::Done),
                    other => Err(other),
                };
            }
            let text = format!("Successfully assigned {}/{} to {node}", key.namespace, key.name);
            shell.recorder.event(&reference(pod), Type::Normal, "Scheduled", text);
            Ok(Action::Done)
        }
        Err(refused) => {
            let (error, preemption) = *refused;
            let text = error.to_string();
            shell.recorder.event(&reference(pod), Type::Warning, "FailedScheduling", text.as_str());
            let nominated = preemption.as_ref().map(|preemption| preemption.node.as_str());
            tell(&api, pod, key, &text, nominated).await?;
            if let Some(preemption) = &preemption {
                drive_out(shell, pod, preemption).await?;
            }
            Ok(Action::After(LOOK_AGAIN))
        }
    }
}

/// Deletes the victims, each told why.
async fn drive_out(shell: &Shell, pod: &Pod, preemption: &Preemption) -> Result<(), kube::Error> {
    for (uid, victim) in preemption.victims.iter().filter(|(_, victim)| !victim.leaving) {
        let api: Api<Pod> = Api::namespaced(shell.client.clone(), &victim.namespace);
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let patch = json!({"metadata": {"uid": uid}, "status": {"conditions": [{
            "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
            "message": format!("{}: preempting to accommodate a higher priority pod", shell.config.scheduler_name),
            "lastTransitionTime": now,
        }]}});
        let patch = kube::api::Patch::Strategic(patch);
        let condition = api.patch_status(&victim.name, &PatchParams::default(), &patch).await.map(|_| ());
        let only = Preconditions { uid: Some(uid.clone()), resource_version: None };
        let params = DeleteParams { preconditions: Some(only), ..DeleteParams::default() };
        match condition.and(api.delete(&victim.name, &params).await.map(|_| ())) {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => continue,
            other => other?,
        }
        if let Some(object) = shell.pods.get(&victim.namespace, &victim.name) {
            let text = format!("Preempted by pod {} on node {}", uid_of(pod), preemption.node);
            shell.recorder.event(&reference(&*object), Type::Normal, "Preempted", text);
        }
    }
    Ok(())
}

async fn bind(api: &Api<Pod>, pod: &Pod, key: &Key, node: &str) -> Result<(), kube::Error> {
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding",
        "metadata": {"name": key.name, "namespace": key.namespace, "uid": uid_of(pod)},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    });
    api.create_subresource::<Value, Value>("binding", &key.name, &PostParams::default(), &binding)
        .await
        .map(|_| ())
}

/// Says in the pod's status why it waits; not again if it stands there already.
async fn tell(
    api: &Api<Pod>,
    pod: &Pod,
    key: &Key,
    text: &str,
    nominated: Option<&str>,
) -> Result<(), kube::Error> {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let said = conditions
        .filter(|condition| condition.type_ == "PodScheduled")
        .any(|condition| condition.status == "False" && condition.message.as_deref() == Some(text));
    if said && nominated.is_none() {
        return Ok(());
    }
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut patch = json!({"status": {"conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": text,
        "lastProbeTime": null, "lastTransitionTime": now,
    }]}});
    if let Some(node) = nominated {
        patch["status"]["nominatedNodeName"] = node.into();
    }
    let patched =
        api.patch_status(&key.name, &PatchParams::default(), &kube::api::Patch::Strategic(patch)).await;
    match patched {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(|_| ()),
    }
}
