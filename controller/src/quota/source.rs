//! The objects that quotas count: views that other controllers have anyway, and one for each further kind that some quota
//! names, from the first time on.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use jiff::Timestamp;
use kube::api::{Api, DynamicObject};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher;
use serde::Serialize;
use serde_json::{Value, json};
use skiff_api::quota::{self, Measure};
use skiff_runtime::Key;
use skiff_runtime::queue::Queue;
use skiff_runtime::view::{Change, View};
use tokio::sync::Mutex;

use crate::context::Context;
use crate::error::Error;
use crate::resources::discover;

/// The objects of one kind.
#[derive(Clone)]
enum Source {
    Pods,
    Services,
    Claims,
    /// Quotas count too, the one that counts among them.
    Quotas,
    /// As they are.
    Whole(View<DynamicObject>),
    /// How many there are: what is in them does not matter.
    Counted(View<PartialObjectMeta<DynamicObject>>),
}

pub(super) struct Sources {
    context: Arc<Context>,
    queue: Queue<Key>,
    /// Those that are followed; at most one a kind.
    followed: Mutex<HashMap<Measure, Source>>,
}

impl Sources {
    pub fn new(context: Arc<Context>, queue: Queue<Key>) -> Self {
        Self { context, queue, followed: Mutex::default() }
    }

    /// All objects of a kind in a namespace; nothing if there is no such kind.
    pub async fn objects(&self, measure: &Measure, namespace: &str) -> Result<Option<Vec<Value>>, Error> {
        let Some(source) = self.follow(measure).await? else { return Ok(None) };
        let stop = &self.context.shutdown;
        let listed = async {
            Some(match &source {
                Source::Pods => list(&self.context.pods, namespace).await,
                Source::Services => list(&self.context.services, namespace).await,
                Source::Claims => list(&self.context.claims, namespace).await,
                Source::Quotas => list(&self.context.quotas, namespace).await,
                Source::Whole(view) => list(view, namespace).await,
                Source::Counted(view) => {
                    view.synced().await;
                    vec![json!({}); view.list_in(namespace).len()]
                }
            })
        };
        tokio::select! { listed = listed => Ok(listed), () = stop.cancelled() => Ok(None) }
    }

    /// The source of a kind, which is followed from now on.
    async fn follow(&self, measure: &Measure) -> Result<Option<Source>, Error> {
        let mut followed = self.followed.lock().await;
        if let Some(source) = followed.get(measure) {
            return Ok(Some(source.clone()));
        }
        let context = &self.context;
        let source = match measure {
            Measure::Pods => Source::Pods,
            Measure::Services => Source::Services,
            Measure::Claims => Source::Claims,
            Measure::Count { .. } if measure.kind() == ("", "resourcequotas") => Source::Quotas,
            _ => {
                let id = measure.kind();
                let kinds = discover(&context.client).await?;
                let found =
                    kinds.into_iter().find(|kind| (&*kind.resource.group, &*kind.resource.plural) == id);
                let Some(kind) = found.filter(|kind| kind.namespaced && kind.can("watch")) else {
                    return Ok(None);
                };
                let (client, stop) = (context.client.clone(), context.shutdown.child_token());
                let all = watcher::Config::default();
                match measure {
                    Measure::Count { .. } => {
                        Source::Counted(View::spawn(Api::all_with(client, &kind.resource), all, stop))
                    }
                    _ => Source::Whole(View::spawn(Api::all_with(client, &kind.resource), all, stop)),
                }
            }
        };
        match &source {
            Source::Pods => self.notice(measure, &context.pods),
            Source::Services => self.notice(measure, &context.services),
            Source::Claims => self.notice(measure, &context.claims),
            Source::Quotas => self.notice(measure, &context.quotas),
            Source::Whole(view) => self.notice(measure, view),
            Source::Counted(view) => self.notice(measure, view),
        }
        followed.insert(measure.clone(), source.clone());
        Ok(Some(source))
    }

    /// Has the quotas of a namespace counted anew when something goes there, or takes another amount.
    fn notice<K>(&self, measure: &Measure, view: &View<K>)
    where
        K: kube::Resource + Serialize + Debug + Send + Sync + 'static,
    {
        let (context, queue, measure) = (self.context.clone(), self.queue.clone(), measure.clone());
        view.follow(context.shutdown.clone(), move |change| {
            let Some(old) = &change.old else { return };
            let namespace = old.meta().namespace.as_deref().unwrap_or_default();
            let quotas = context.quotas.list_in(namespace);
            if quotas.is_empty() || !matters(&measure, change) {
                return;
            }
            for quota in quotas {
                let value = serde_json::to_value(quota.as_ref()).unwrap_or_default();
                if quota::concerns(&value, &measure) {
                    queue.add(Key::of(quota.as_ref()));
                }
            }
        });
    }
}

fn matters<K: Serialize>(measure: &Measure, change: &Change<K>) -> bool {
    let (Some(old), Some(new)) = (&change.old, &change.new) else { return change.new.is_none() };
    let value = |object: &Arc<K>| serde_json::to_value(object.as_ref()).unwrap_or_default();
    !matches!(measure, Measure::Count { .. })
        && measure.differs(&value(old), &value(new), Timestamp::now().as_second())
}

async fn list<K>(view: &View<K>, namespace: &str) -> Vec<Value>
where
    K: kube::Resource + Serialize + Send + Sync + 'static,
{
    view.synced().await;
    let objects = view.list_in(namespace);
    objects.iter().filter_map(|object| serde_json::to_value(object.as_ref()).ok()).collect()
}
