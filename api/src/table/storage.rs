//! The cells of volumes, claims and drivers.

use super::at;
use super::cells::{joined, list, text};
use crate::{Object, meta};

/// The phase, or that it is going.
pub fn phase(object: &Object) -> String {
    if meta::deletion_timestamp(object).is_some() {
        "Terminating".into()
    } else {
        text(&object["status"]["phase"])
    }
}

/// The storage class; the beta annotation counts before the field.
pub fn class(object: &Object) -> String {
    let annotated = object["metadata"]["annotations"].get("volume.beta.kubernetes.io/storage-class");
    text(annotated.unwrap_or(&object["spec"]["storageClassName"]))
}

/// The size of the volume that a claim has.
pub fn claim_capacity(claim: &Object) -> String {
    if text(&claim["spec"]["volumeName"]).is_empty() {
        return String::new();
    }
    at(claim, ".status.capacity.storage").map_or("0".into(), text)
}

/// How the volume that a claim has may be mounted.
pub fn claim_modes(claim: &Object) -> String {
    if text(&claim["spec"]["volumeName"]).is_empty() {
        String::new()
    } else {
        joined(claim, ".status.accessModes")
    }
}

/// Whom a driver wants tokens for.
pub fn audiences(driver: &Object) -> String {
    match at(driver, ".spec.tokenRequests") {
        None => "<unset>".into(),
        Some(_) => {
            let requests = list(&driver["spec"], "tokenRequests").iter();
            requests.map(|request| text(&request["audience"])).collect::<Vec<_>>().join(",")
        }
    }
}

/// Whether a resource claim has its devices, and is in use.
pub fn claim_state(claim: &Object) -> String {
    let deleted = meta::deletion_timestamp(claim).is_some();
    let allocated = !claim["status"]["allocation"].is_null();
    let states = [
        (deleted, "deleted"),
        (!allocated && !deleted, "pending"),
        (allocated, "allocated"),
        (allocated && !list(&claim["status"], "reservedFor").is_empty(), "reserved"),
    ];
    states.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect::<Vec<_>>().join(",")
}
