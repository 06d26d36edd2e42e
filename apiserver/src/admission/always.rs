//! AlwaysAdmit and AlwaysDeny: the two that judge nothing.

use serde_json::Value;
use skiff_api::status::Status;

use super::{Plugin, Review};

pub struct AlwaysAdmit;

#[async_trait::async_trait]
impl Plugin for AlwaysAdmit {
    fn name(&self) -> &'static str {
        "AlwaysAdmit"
    }
}

pub struct AlwaysDeny;

#[async_trait::async_trait]
impl Plugin for AlwaysDeny {
    fn name(&self) -> &'static str {
        "AlwaysDeny"
    }

    fn mutates(&self, _review: &Review<'_>) -> bool {
        true
    }

    async fn mutate(&self, review: &Review<'_>, object: &mut Value) -> Result<(), Status> {
        Err(review.forbidden(object, "admission control is denying all modifications"))
    }
}
