//! ValidatingAdmissionWebhook: all are asked at once, and each may refuse.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;
use serde_json::Value;
use skiff_api::status::Status;

use super::hook::Hook;
use super::{GROUP, call, concerns};
use crate::admission::{Plugin, Review};
use crate::cache::Derived;
use crate::conversion;

/// The plugin.
pub struct ValidatingAdmissionWebhook(Derived<Vec<Arc<Hook>>>);

impl Default for ValidatingAdmissionWebhook {
    fn default() -> Self {
        Self(Derived::new(GROUP, "validatingwebhookconfigurations", Hook::all))
    }
}

#[async_trait::async_trait]
impl Plugin for ValidatingAdmissionWebhook {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionWebhook"
    }

    fn validates(&self, review: &Review<'_>) -> bool {
        concerns(review) && !self.0.get(&review.call.app.cache).is_empty()
    }

    async fn validate(&self, review: &Review<'_>, object: &Value) -> Result<(), Status> {
        let configurations = self.0.get(&review.call.app.cache);
        let mut concerned = Vec::new();
        // Both objects in each version that someone asks for, made once.
        let mut shown = BTreeMap::new();
        for hook in configurations.iter().flat_map(|hooks| hooks.iter()) {
            let Some(version) = hook.about.version(review, object)? else { continue };
            if !shown.contains_key(&version) {
                let both = conversion::both(review, object, &version).await?;
                shown.insert(version.clone(), both);
            }
            let (new, old) = &shown[&version];
            if super::conditions::hold(review, hook, &version, new, old)? {
                concerned.push((hook, version));
            }
        }
        let asked = concerned.iter().map(|(hook, version)| {
            let (new, old) = &shown[version];
            async move { call::ask(review, hook, version, new, old, false).await.err()?.counted(hook) }
        });
        match join_all(asked).await.into_iter().flatten().next() {
            Some(refused) => Err(refused),
            None => Ok(()),
        }
    }
}
