//! StorageObjectInUseProtection and PersistentVolumeClaimResize: what is in use stays until it is not, and a claim grows
//! only where its class can.

use serde_json::Value;
use skiff_api::meta;
use skiff_api::quantity::Quantity;
use skiff_api::status::Status;

use super::{Operation, Plugin, Review};

/// What keeps an object of each kind.
const KEPT: [(&str, &str, &str); 3] = [
    ("", "persistentvolumes", "kubernetes.io/pv-protection"),
    ("", "persistentvolumeclaims", "kubernetes.io/pvc-protection"),
    ("storage.k8s.io", "volumeattributesclasses", "kubernetes.io/vac-protection"),
];

pub struct StorageObjectInUseProtection;

impl StorageObjectInUseProtection {
    fn finalizer(review: &Review<'_>) -> Option<&'static str> {
        let of = |(group, plural, _): &&(&str, &str, &str)| review.is(Operation::Create, group, plural, "");
        KEPT.iter().find(of).map(|(.., finalizer)| *finalizer)
    }
}

#[async_trait::async_trait]
impl Plugin for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    fn mutates(&self, review: &Review<'_>) -> bool {
        Self::finalizer(review).is_some()
    }

    async fn mutate(&self, review: &Review<'_>, object: &mut Value) -> Result<(), Status> {
        let Some(finalizer) = Self::finalizer(review) else { return Ok(()) };
        let mut finalizers: Vec<String> = meta::finalizers(object).into_iter().map(str::to_owned).collect();
        if !finalizers.iter().any(|known| known == finalizer) {
            finalizers.push(finalizer.to_owned());
            meta::set(object, "finalizers", finalizers);
        }
        Ok(())
    }
}

pub struct PersistentVolumeClaimResize;

#[async_trait::async_trait]
impl Plugin for PersistentVolumeClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    fn validates(&self, review: &Review<'_>) -> bool {
        review.is(Operation::Update, "", "persistentvolumeclaims", "")
    }

    async fn validate(&self, review: &Review<'_>, claim: &Value) -> Result<(), Status> {
        let Some(old) = review.old else { return Ok(()) };
        if size(claim) <= size(old) {
            return Ok(());
        }
        if old["status"]["phase"] != "Bound" {
            return Err(review.forbidden(claim, "Only bound persistent volume claims can be expanded"));
        }
        let name = class(claim);
        let found = review.call.find("storage.k8s.io", "storageclasses", "", name);
        let grows = found.is_some_and(|class| class["allowVolumeExpansion"] == true);
        if name.is_empty() || name != class(old) || !grows {
            let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc \
                       must support resize";
            return Err(review.forbidden(claim, why));
        }
        Ok(())
    }
}

fn size(claim: &Value) -> Quantity {
    let text = claim["spec"]["resources"]["requests"]["storage"].as_str().unwrap_or_default();
    Quantity::parse(text).unwrap_or(Quantity::count(0))
}

fn class(claim: &Value) -> &str {
    match meta::annotations(claim).find(|(key, _)| *key == "volume.beta.kubernetes.io/storage-class") {
        Some((_, class)) => class,
        None => claim["spec"]["storageClassName"].as_str().unwrap_or_default(),
    }
}
