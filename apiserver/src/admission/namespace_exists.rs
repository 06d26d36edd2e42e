//! NamespaceExists and NamespaceAutoProvision: a namespace must be there for what is in it, or is made for it.

use serde_json::{Value, json};
use skiff_api::status::Status;

use super::{Operation, Plugin, Review};
use crate::write::{self, Owners};

pub struct NamespaceExists;

#[async_trait::async_trait]
impl Plugin for NamespaceExists {
    fn name(&self) -> &'static str {
        "NamespaceExists"
    }

    fn validates(&self, review: &Review<'_>) -> bool {
        review.call.kind.namespaced && review.operation != Operation::Connect
    }

    async fn validate(&self, review: &Review<'_>, _object: &Value) -> Result<(), Status> {
        let namespace = review.call.namespace();
        match review.find_now("", "namespaces", "", namespace).await? {
            Some(_) => Ok(()),
            None => Err(Status::not_found("", "namespaces", namespace)),
        }
    }
}

pub struct NamespaceAutoProvision;

#[async_trait::async_trait]
impl Plugin for NamespaceAutoProvision {
    fn name(&self) -> &'static str {
        "NamespaceAutoProvision"
    }

    fn mutates(&self, review: &Review<'_>) -> bool {
        review.call.kind.namespaced && review.operation == Operation::Create && !review.call.context.dry_run
    }

    async fn mutate(&self, review: &Review<'_>, _object: &mut Value) -> Result<(), Status> {
        let name = review.call.namespace();
        if review.find_now("", "namespaces", "", name).await?.is_some() {
            return Ok(());
        }
        let call = review.call.of_server("", "namespaces", "", "").ok_or_else(Status::no_such_path)?;
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        match write::create_object(&call, namespace, Owners::Tracked).await {
            Err(status) if status.reason != "AlreadyExists" => Err(status),
            _ => Ok(()),
        }
    }
}
