//! NodeRestriction: a node agent writes only what is its own. The rules are in `security/restriction.rs`.

use serde_json::Value;
use skiff_api::meta;
use skiff_api::status::Status;

use super::{Operation, Plugin, Review};
use crate::lookup;
use crate::security::{Objects, node};

pub struct NodeRestriction;

#[async_trait::async_trait]
impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn validates(&self, review: &Review<'_>) -> bool {
        review.operation != Operation::Connect
    }

    async fn validate(&self, review: &Review<'_>, object: &Value) -> Result<(), Status> {
        let call = review.call;
        let info = &call.info;
        let gone = review.operation == Operation::Delete;
        let (verb, new) = if gone { ("delete", None) } else { (info.verb.as_str(), Some(object)) };
        let user = &call.context.user;
        let own = user.node().and_then(|node| lookup::Objects(call.app.cache.clone()).get("nodes", "", node));
        let uid = own.as_deref().map(meta::uid);
        node::node_restriction(user, verb, &info.resource, &info.subresource, new, review.old, uid).map_err(
            |why| {
                let name = if gone { call.name() } else { meta::name(object) };
                Status::forbidden(&call.kind.group, &call.kind.plural, name, &why)
            },
        )
    }
}
