//! NamespaceLifecycle: a namespace must exist, and not be going, before something is made in it; some
//! can never go.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use serde_json::Value;
use skiff_api::meta;
use skiff_api::status::{Cause, Status};

use super::{Operation, Plugin, Review};

/// Namespaces that can never be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];
/// Namespaces whose deletion was just asked for are looked at anew; the latest are remembered.
const LEAVING_MAX: usize = 100;

#[derive(Default)]
pub struct NamespaceLifecycle {
    /// Whose deletion was asked for lately: the cache may not show it yet.
    leaving: Mutex<VecDeque<String>>,
}

impl NamespaceLifecycle {
    fn leaving(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.leaving.lock().expect("no holder of this lock panics")
    }

    fn remember(&self, name: &str) {
        let mut leaving = self.leaving();
        if !leaving.iter().any(|known| known == name) {
            leaving.push_back(name.to_owned());
            while leaving.len() > LEAVING_MAX {
                leaving.pop_front();
            }
        }
    }
}

#[async_trait::async_trait]
impl Plugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn mutates(&self, review: &Review<'_>) -> bool {
        match review.operation {
            Operation::Create | Operation::Update => review.call.kind.namespaced,
            Operation::Delete => review.is(Operation::Delete, "", "namespaces", ""),
            Operation::Connect => false,
        }
    }

    async fn mutate(&self, review: &Review<'_>, new: &mut Value) -> Result<(), Status> {
        let call = review.call;
        if review.operation == Operation::Delete {
            if IMMORTAL.contains(&call.name()) {
                return Err(review.forbidden(new, "this namespace may not be deleted"));
            }
            self.remember(call.name());
            return Ok(());
        }
        let namespace = call.namespace();
        let Some(mut found) = review.find_now("", "namespaces", "", namespace).await? else {
            return Err(Status::not_found("", "namespaces", namespace));
        };
        if review.operation == Operation::Update {
            return Ok(());
        }
        if !is_leaving(&found) && self.leaving().iter().any(|name| name == namespace) {
            call.app.cache.catch_up().await?;
            let now = call.find("", "namespaces", "", namespace);
            found = now.ok_or_else(|| Status::not_found("", "namespaces", namespace))?;
        }
        if is_leaving(&found) {
            let why = format!(
                "unable to create new content in namespace {namespace} because it is being terminated"
            );
            let mut status = review.forbidden(new, &why);
            if let Some(details) = &mut status.details {
                details.causes.push(Cause {
                    reason: "NamespaceTerminating",
                    message: format!("namespace {namespace} is being terminated"),
                    field: "metadata.namespace".into(),
                });
            }
            return Err(status);
        }
        Ok(())
    }
}

fn is_leaving(namespace: &Value) -> bool {
    meta::deletion_timestamp(namespace).is_some()
}
