//! What exists, read anew on each pass: a lost event costs nothing.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use bollard::{
    Docker,
    models::{ContainerInspectResponse, ContainerStateStatusEnum},
    query_parameters::{InspectContainerOptions, ListContainersOptionsBuilder},
};
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;

use super::{engine_error, network};
use crate::{
    cri::{Container, Observed, PodKey, Sandbox, State, label},
    error::Result,
};

type Filters = HashMap<String, Vec<String>>;

/// The pods that have a container.
pub async fn pods(docker: &Docker, filters: &Filters) -> Result<Vec<PodKey>> {
    let options = ListContainersOptionsBuilder::default().all(true).filters(filters).build();
    let found = docker.list_containers(Some(options)).await.map_err(engine_error)?;
    let keys: BTreeSet<_> = found
        .into_iter()
        .filter_map(|c| {
            let mut labels = c.labels?;
            Some(PodKey {
                uid: labels.remove(label::POD_UID)?,
                namespace: labels.remove(label::POD_NAMESPACE)?,
                name: labels.remove(label::POD_NAME)?,
            })
        })
        .collect();
    Ok(keys.into_iter().collect())
}

/// One pod's sandboxes and containers, newest first.
pub async fn observe(docker: &Docker, filters: &Filters, node: &str) -> Result<Observed> {
    let options = ListContainersOptionsBuilder::default().all(true).filters(filters).build();
    let found = docker.list_containers(Some(options)).await.map_err(engine_error)?;
    let inspected: Vec<Option<ContainerInspectResponse>> =
        futures::stream::iter(found.into_iter().filter_map(|c| c.id))
            .map(|id| async move {
                match docker
                    .inspect_container(&id, None::<InspectContainerOptions>)
                    .await
                    .map_err(engine_error)
                {
                    Ok(one) => Ok(Some(one)),
                    // Removed between the list and now.
                    Err(error) if error.is_not_found() => Ok(None),
                    Err(error) => Err(error),
                }
            })
            .buffer_unordered(4)
            .try_collect()
            .await?;
    let mut observed = Observed::default();
    for one in inspected.into_iter().flatten() {
        let labels = one.config.as_ref().and_then(|c| c.labels.clone()).unwrap_or_default();
        if labels.get(label::TYPE).is_some_and(|t| t == "podsandbox") {
            observed.sandboxes.extend(sandbox(&one, &labels, node));
        } else {
            observed.containers.extend(container(&one, &labels));
        }
    }
    observed.sandboxes.sort_by_key(|s| std::cmp::Reverse(s.attempt));
    observed.containers.sort_by_key(|c| std::cmp::Reverse((c.attempt, c.created)));
    Ok(observed)
}

fn attempt(labels: &HashMap<String, String>) -> u32 {
    labels.get(label::ATTEMPT).and_then(|a| a.parse().ok()).unwrap_or_default()
}

fn sandbox(one: &ContainerInspectResponse, labels: &HashMap<String, String>, node: &str) -> Option<Sandbox> {
    let state = one.state.as_ref();
    let ip = one
        .network_settings
        .as_ref()
        .and_then(|n| n.networks.as_ref())
        .and_then(|n| n.get(&network::name(node)))
        .and_then(|e| e.ip_address.as_deref())
        .and_then(|ip| ip.parse::<IpAddr>().ok());
    Some(Sandbox {
        id: one.id.clone()?,
        attempt: attempt(labels),
        running: state.and_then(|s| s.running).unwrap_or_default(),
        ip,
        pid: state.and_then(|s| s.pid).and_then(|p| i32::try_from(p).ok()).filter(|p| *p > 0),
    })
}

fn container(one: &ContainerInspectResponse, labels: &HashMap<String, String>) -> Option<Container> {
    let state = one.state.as_ref()?;
    let started = time(state.started_at.as_deref());
    let finished = time(state.finished_at.as_deref());
    let failed = state.error.clone().unwrap_or_default();
    let state = match state.status {
        // A start that failed leaves "created" with an error behind.
        Some(ContainerStateStatusEnum::CREATED) if failed.is_empty() => State::Created,
        _ if state.running.unwrap_or_default() => {
            State::Running { started: started.unwrap_or(Timestamp::UNIX_EPOCH) }
        }
        _ => State::Exited {
            started,
            finished: finished.or_else(|| time(one.created.as_deref())).unwrap_or(Timestamp::UNIX_EPOCH),
            code: state.exit_code.and_then(|c| i32::try_from(c).ok()).unwrap_or(-1),
            oom: state.oom_killed.unwrap_or_default(),
            error: failed,
        },
    };
    Some(Container {
        id: one.id.clone()?,
        name: labels.get(label::CONTAINER_NAME)?.clone(),
        attempt: attempt(labels),
        sandbox: labels.get(label::SANDBOX).cloned().unwrap_or_default(),
        state,
        image: labels.get(label::IMAGE).cloned().unwrap_or_default(),
        image_id: one.image.clone().unwrap_or_default(),
        termination_file: labels.get(label::TERMINATION_FILE).cloned(),
        created: time(one.created.as_deref()),
    })
}

/// Docker writes year 1 for "never".
fn time(text: Option<&str>) -> Option<Timestamp> {
    text?.parse::<Timestamp>().ok().filter(|t| *t > Timestamp::UNIX_EPOCH)
}
