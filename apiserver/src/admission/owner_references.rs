//! OwnerReferencesPermissionEnforcement: who gives an object an owner could also delete the object, and who makes the
//! owner wait for it could also write the owner's finalizers.

use serde_json::Value;
use skiff_api::meta;
use skiff_api::status::Status;

use super::{Operation, Plugin, Review};
use crate::security::{Attributes, Authorizer, Decision};

pub struct OwnerReferencesPermissionEnforcement;

#[async_trait::async_trait]
impl Plugin for OwnerReferencesPermissionEnforcement {
    fn name(&self) -> &'static str {
        "OwnerReferencesPermissionEnforcement"
    }

    fn validates(&self, review: &Review<'_>) -> bool {
        // A pod's status cannot change its owners.
        matches!(review.operation, Operation::Create | Operation::Update) && !review.of("", "pods", "status")
    }

    async fn validate(&self, review: &Review<'_>, object: &Value) -> Result<(), Status> {
        let had = review.old.map(meta::owner_references).unwrap_or_default();
        if meta::owner_references(object) == had {
            return Ok(());
        }
        let call = review.call;
        let user = &call.context.user;
        if review.operation == Operation::Update {
            let asked = Attributes {
                user,
                verb: "delete",
                namespace: call.namespace(),
                group: &call.kind.group,
                version: &call.version,
                resource: &call.kind.plural,
                subresource: &call.info.subresource,
                name: call.name(),
                resource_request: true,
                ..Attributes::default()
            };
            if let Some(reason) = refused(call.app.authorizer.authorize(&asked)) {
                let why = format!("cannot set an ownerRef on a resource you can't delete: {reason}, <nil>");
                return Err(review.forbidden(object, &why));
            }
        }
        let blocking = new_blocking(object, review.old);
        let everything = Attributes {
            user,
            verb: "update",
            group: "*",
            version: "*",
            resource: "*",
            subresource: "finalizers",
            name: "*",
            resource_request: true,
            ..Attributes::default()
        };
        if blocking.is_empty() || call.app.authorizer.authorize(&everything).is_allowed() {
            return Ok(());
        }
        let registry = call.app.registry.load_full();
        for owner in blocking {
            let text = |key: &str| owner[key].as_str().unwrap_or_default();
            let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
            let kind = registry.kind(group, text("kind")).filter(|kind| kind.version(version).is_some());
            let Some(kind) = kind else {
                let why = format!(
                    "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion {} Kind {}: \
                     no matches for kind {:?} in version {:?}",
                    text("apiVersion"),
                    text("kind"),
                    text("kind"),
                    text("apiVersion")
                );
                return Err(review.forbidden(object, &why));
            };
            let asked = Attributes {
                group,
                version,
                resource: &kind.plural,
                name: text("name"),
                namespace: if kind.namespaced { call.namespace() } else { "" },
                ..everything
            };
            if let Some(reason) = refused(call.app.authorizer.authorize(&asked)) {
                let why = format!(
                    "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: \
                     {reason}, <nil>"
                );
                return Err(review.forbidden(object, &why));
            }
        }
        Ok(())
    }
}

fn refused(decision: Decision) -> Option<String> {
    (!decision.is_allowed()).then(|| decision.reason().to_owned())
}

/// The owners that now wait for the object and did not before.
fn new_blocking<'a>(new: &'a Value, old: Option<&Value>) -> Vec<&'a Value> {
    let had = old.map(meta::owner_references).unwrap_or_default();
    let blocked = |uid: &Value| had.iter().any(|one| one["uid"] == *uid && one["blockOwnerDeletion"] == true);
    let blocking = meta::owner_references(new).iter().filter(|one| one["blockOwnerDeletion"] == true);
    blocking.filter(|one| !blocked(&one["uid"])).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_owners_that_begin_to_wait_are_asked_about() {
        let object = |owners: Value| json!({"metadata": {"ownerReferences": owners}});
        let owner = |uid: &str, blocks: bool| json!({"uid": uid, "blockOwnerDeletion": blocks});
        let new = object(json!([owner("a", true), owner("b", true), owner("c", false)]));
        let old = object(json!([owner("a", true), owner("b", false)]));
        let uids = |old| new_blocking(&new, old).iter().map(|one| one["uid"].clone()).collect::<Vec<_>>();
        assert_eq!(uids(Some(&old)), ["b"]);
        assert_eq!(uids(None), ["a", "b"]);
    }
}
