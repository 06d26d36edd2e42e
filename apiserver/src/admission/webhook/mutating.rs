//! MutatingAdmissionWebhook: each is asked in turn, and sees what those before it changed.

use std::sync::Arc;

use serde_json::{Value, json};
use skiff_api::schema::Schema;
use skiff_api::status::Status;
use skiff_api::{meta, patch, walk};

use super::call::{self, Refusal};
use super::hook::Hook;
use super::{GROUP, concerns};
use crate::admission::{Operation, Plugin, Review};
use crate::cache::Derived;
use crate::conversion;

/// What of an object's metadata no webhook changes, as no client does.
const KEPT: [&str; 7] = [
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "resourceVersion",
    "namespace",
];

/// The plugin.
pub struct MutatingAdmissionWebhook(Derived<Vec<Arc<Hook>>>);

impl Default for MutatingAdmissionWebhook {
    fn default() -> Self {
        Self(Derived::new(GROUP, "mutatingwebhookconfigurations", Hook::all))
    }
}

#[async_trait::async_trait]
impl Plugin for MutatingAdmissionWebhook {
    fn name(&self) -> &'static str {
        "MutatingAdmissionWebhook"
    }

    fn mutates(&self, review: &Review<'_>) -> bool {
        concerns(review) && !self.0.get(&review.call.app.cache).is_empty()
    }

    async fn mutate(&self, review: &Review<'_>, object: &mut Value) -> Result<(), Status> {
        let configurations = self.0.get(&review.call.app.cache);
        let hooks = configurations.iter().flat_map(|hooks| hooks.iter()).enumerate();
        if review.is_of_own_kind() && object.is_object() {
            // As a client would see it.
            walk::normalise(review.call.schema(), object);
        }
        review.reinvocation.compare(object);
        let mut shown = Shown { version: review.call.version.clone(), object: object.take(), old: None };
        for (index, hook) in hooks {
            shown.ask(review, hook, index).await?;
        }
        shown.turn(review, &review.call.version).await?;
        *object = shown.object;
        review.reinvocation.leave(object);
        Ok(())
    }
}

/// The object on its way from one webhook to the next.
struct Shown {
    version: String,
    object: Value,
    /// What it was before, in this version; none if it has not been asked for.
    old: Option<Value>,
}

impl Shown {
    /// Shows both objects in another version.
    async fn turn(&mut self, review: &Review<'_>, version: &str) -> Result<(), Status> {
        if self.version != version {
            self.object = conversion::shown(review, self.object.take(), version).await?;
            self.old = None;
            version.clone_into(&mut self.version);
        }
        Ok(())
    }

    async fn ask(&mut self, review: &Review<'_>, hook: &Hook, index: usize) -> Result<(), Status> {
        let Some(version) = hook.about.version(review, &self.object)? else { return Ok(()) };
        self.turn(review, &version).await?;
        let old = match self.old.take() {
            Some(old) => old,
            None => match review.old {
                Some(old) => conversion::shown(review, old.clone(), &version).await?,
                None => Value::Null,
            },
        };
        let old = self.old.insert(old);
        if !super::conditions::hold(review, hook, &version, &self.object, old)? {
            return Ok(());
        }
        let who = format!("{}/{}", hook.configuration, hook.name);
        let state = &review.reinvocation;
        if !state.asks(&who) {
            return Ok(());
        }
        let schema =
            review.call.kind.version(&version).filter(|_| review.is_of_own_kind()).map(|v| &v.schema);
        let answer = call::ask(review, hook, &version, &self.object, old, true).await;
        let changed = match answer {
            Ok(answer) if answer.patch.is_empty() => Ok(false),
            Ok(answer) => change(hook, review.operation, schema, &mut self.object, &answer.patch),
            Err(refused) => Err(refused),
        };
        let round = u8::from(state.is_again());
        let place = format!("round_{round}_index_{index}");
        let told = json!({"configuration": hook.configuration, "webhook": hook.name, "mutated": matches!(changed, Ok(true))});
        let context = &review.call.context;
        context.annotate(&format!("mutation.webhook.admission.k8s.io/{place}"), &told.to_string());
        if matches!(changed, Ok(true)) {
            state.changed();
        }
        if hook.reinvoked {
            state.asked(who);
        }
        let Err(refusal) = changed else { return Ok(()) };
        if matches!(refusal, Refusal::Failed(_)) && hook.ignores_failures {
            context.annotate(&format!("failed-open.mutation.webhook.admission.k8s.io/{place}"), &hook.name);
        }
        refusal.counted(hook).map_or(Ok(()), Err)
    }
}

/// Applies a webhook's patch; answers whether that changed anything.
fn change(
    hook: &Hook,
    operation: Operation,
    schema: Option<&Schema>,
    object: &mut Value,
    bytes: &[u8],
) -> Result<bool, Refusal> {
    let operations: Vec<Value> = serde_json::from_slice(bytes).map_err(|error| {
        Refusal::Failed(format!("received undecodable patch in webhook response: {error}"))
    })?;
    if operations.is_empty() {
        return Ok(false);
    }
    if object.is_null() {
        let why = format!(
            "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
            hook.name
        );
        return Err(Refusal::Denied(Status::internal(why)));
    }
    let internal = |why: &str| Refusal::Denied(Status::internal(why));
    let mut new = patch::json(object, bytes).map_err(|status| internal(&status.message))?;
    if !new.is_object() {
        return Err(internal("the patched object is not an object"));
    }
    if let Some(schema) = schema {
        let (kind, version) =
            (object["kind"].as_str().unwrap_or_default(), object["apiVersion"].as_str().unwrap_or_default());
        if let Some(status) = walk::decode_error(kind, version, schema, &new) {
            return Err(internal(&status.message));
        }
        walk::prune(schema, &mut new);
        walk::default(schema, &mut new);
        walk::normalise(schema, &mut new);
        keep(operation, object, &mut new);
    }
    let changed = new != *object;
    *object = new;
    Ok(changed)
}

/// Puts back what is not a webhook's to change.
fn keep(operation: Operation, before: &Value, after: &mut Value) {
    let named = (operation == Operation::Update).then_some("name");
    for key in KEPT.into_iter().chain(named) {
        let was = before["metadata"].get(key).cloned();
        if was.as_ref() != after["metadata"].get(key) {
            match was {
                Some(value) => meta::set(after, key, value),
                None => {
                    if let Some(metadata) = after["metadata"].as_object_mut() {
                        metadata.remove(key);
                    }
                }
            }
        }
    }
    for key in ["kind", "apiVersion"] {
        after[key] = before[key].clone();
    }
}
