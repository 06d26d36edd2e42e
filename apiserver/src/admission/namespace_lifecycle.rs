//! NamespaceLifecycle: a namespace must exist, and not be going, before something is made in it; some
//! can never go.

use serde_json::Value;
use skiff_api::meta;
use skiff_api::status::{Cause, Status};

use super::{Operation, Plugin, Review};

/// Namespaces that can never be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub struct NamespaceLifecycle;

#[async_trait::async_trait]
impl Plugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn mutates(&self, review: &Review<'_>) -> bool {
        match review.operation {
            Operation::Create => review.call.kind.namespaced,
            Operation::Delete => review.is(Operation::Delete, "", "namespaces", ""),
            _ => false,
        }
    }

    async fn mutate(&self, review: &Review<'_>, new: &mut Value) -> Result<(), Status> {
        let call = review.call;
        if review.operation == Operation::Delete {
            if IMMORTAL.contains(&call.name()) {
                let why = "this namespace may not be deleted";
                return Err(Status::forbidden("", "namespaces", call.name(), why));
            }
            return Ok(());
        }
        let namespace = call.namespace();
        let Some(found) = call.find("", "namespaces", "", namespace) else {
            return Err(Status::not_found("", "namespaces", namespace));
        };
        if meta::deletion_timestamp(&found).is_some() {
            let why = format!(
                "unable to create new content in namespace {namespace} because it is being terminated"
            );
            let mut status = Status::forbidden(&call.kind.group, &call.kind.plural, meta::name(new), &why);
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
