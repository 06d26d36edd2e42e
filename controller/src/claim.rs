//! Who owns what: adopting orphans that a selector matches, releasing what it no longer matches.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::Resource;
use kube::api::{Api, Patch, PatchParams};
use kube::core::{Selector, SelectorExt};
use serde::de::DeserializeOwned;
use serde_json::json;
use skiff_runtime::view::View;

use crate::error::is_not_found;

/// The candidates of an owner, sorted out.
#[derive(Debug)]
pub(crate) struct Claim<K> {
    /// Its own.
    pub owned: Vec<Arc<K>>,
    /// Nobody's, and matching: to be made its own.
    pub adopt: Vec<Arc<K>>,
    /// Its own, but no longer matching: to be set free.
    pub release: Vec<Arc<K>>,
}

/// The owner that manages the object, if any.
pub(crate) fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// A reference by which `owner` manages an object.
pub(crate) fn controller_reference<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// A selector in a form that matches. One that cannot be read, or the empty one, matches nothing.
pub(crate) fn selector(of: &LabelSelector) -> Option<Selector> {
    Selector::try_from(of.clone()).ok().filter(|selector| !selector.selects_all())
}

/// Whether the labels match.
pub(crate) fn matches(selector: &Option<Selector>, labels: Option<&BTreeMap<String, String>>) -> bool {
    let none = BTreeMap::new();
    selector.as_ref().is_some_and(|selector| selector.matches(labels.unwrap_or(&none)))
}

/// Sorts candidates out. An owner that is being deleted takes nothing and lets nothing go.
pub(crate) fn claim<K: Resource>(
    owner: &ObjectMeta,
    selector: &Option<Selector>,
    candidates: impl IntoIterator<Item = Arc<K>>,
) -> Claim<K> {
    let mut claim = Claim { owned: Vec::new(), adopt: Vec::new(), release: Vec::new() };
    let leaving = owner.deletion_timestamp.is_some();
    for candidate in candidates {
        let meta = candidate.meta();
        let matching = matches(selector, meta.labels.as_ref());
        match controller_of(meta) {
            Some(controller) if Some(&controller.uid) == owner.uid.as_ref() => {
                if matching || leaving {
                    claim.owned.push(candidate)
                } else {
                    claim.release.push(candidate)
                }
            }
            Some(_) => {}
            None if matching && !leaving && meta.deletion_timestamp.is_none() => claim.adopt.push(candidate),
            None => {}
        }
    }
    claim
}

/// Writes the ownership that a [`Claim`] asks for. An object that changed or went meanwhile is left for the next look.
pub(crate) async fn settle<O, K>(
    api: &Api<K>,
    view: &View<K>,
    owner: &O,
    claim: &Claim<K>,
) -> Result<(), kube::Error>
where
    O: Resource<DynamicType = ()>,
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let uid = owner.meta().uid.as_deref().unwrap_or_default();
    let mine = controller_reference(owner);
    for (objects, adopted) in [(&claim.adopt, true), (&claim.release, false)] {
        for object in objects {
            let meta = object.meta();
            let mut owners: Vec<_> =
                meta.owner_references.iter().flatten().filter(|o| o.uid != uid).cloned().collect();
            owners.extend(adopted.then(|| mine.clone()));
            // The resource version makes it fail if the owners changed meanwhile.
            let patch = json!({"metadata": {
                "uid": meta.uid, "resourceVersion": meta.resource_version, "ownerReferences": owners,
            }});
            let name = meta.name.as_deref().unwrap_or_default();
            match api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await {
                Ok(written) => view.caught_up(&written).await,
                Err(error) if is_not_found(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Pod;

    fn pod(name: &str, app: &str, owner: Option<&str>) -> Arc<Pod> {
        let owner =
            owner.map(|uid| OwnerReference { uid: uid.into(), controller: Some(true), ..Default::default() });
        Arc::new(Pod {
            metadata: ObjectMeta {
                name: Some(name.into()),
                labels: Some([("app".to_owned(), app.to_owned())].into()),
                owner_references: owner.map(|owner| vec![owner]),
                ..Default::default()
            },
            ..Default::default()
        })
    }

    #[test]
    fn orphans_are_adopted_and_strays_released() {
        let selects = LabelSelector {
            match_labels: Some([("app".to_owned(), "web".to_owned())].into()),
            ..Default::default()
        };
        let owner = ObjectMeta { uid: Some("me".into()), ..Default::default() };
        let candidates = [
            pod("mine", "web", Some("me")),
            pod("stray", "other", Some("me")),
            pod("orphan", "web", None),
            pod("foreign", "web", Some("you")),
            pod("unrelated", "other", None),
        ];
        let names =
            |pods: &[Arc<Pod>]| pods.iter().map(|pod| pod.metadata.name.clone().unwrap()).collect::<Vec<_>>();
        let sorted = claim(&owner, &selector(&selects), candidates);
        assert_eq!(names(&sorted.owned), ["mine"]);
        assert_eq!(names(&sorted.release), ["stray"]);
        assert_eq!(names(&sorted.adopt), ["orphan"]);
    }

    #[test]
    fn an_empty_selector_matches_nothing() {
        assert!(selector(&LabelSelector::default()).is_none());
        assert!(!matches(&None, None));
    }
}
