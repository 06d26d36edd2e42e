//! PodSecurity: pods are held to the Pod Security Standards, as their namespace's labels say.
//!
//! What is enforced refuses pods. What is warned of, and noted for the audit log, is seen in templates too. A namespace
//! that becomes stricter tells which of its pods would not be let in again.

mod checks;
mod policy;
mod settings;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use serde_json::Value;
use skiff_api::meta;
use skiff_api::status::Status;

use self::checks::Pod;
use self::policy::{Level, Policy, Standard};
use self::settings::Settings;
use super::{Operation, Plugin, Review, objects};

/// Kinds that make pods, and where their template is.
const TEMPLATES: [(&str, &str, &str); 8] = [
    ("", "replicationcontrollers", "/spec/template"),
    ("", "podtemplates", "/template"),
    ("apps", "replicasets", "/spec/template"),
    ("apps", "deployments", "/spec/template"),
    ("apps", "statefulsets", "/spec/template"),
    ("apps", "daemonsets", "/spec/template"),
    ("batch", "jobs", "/spec/template"),
    ("batch", "cronjobs", "/spec/jobTemplate/spec/template"),
];
/// Subresources of pods through which their spec changes, the pod itself among them.
const SPECS: [&str; 3] = ["", "ephemeralcontainers", "resize"];
/// How many pods of a namespace are looked at when it becomes stricter.
const PODS_MAX: usize = 3000;
/// How long that may take.
const PODS_TIME: Duration = Duration::from_secs(1);

/// What annotations of audit events begin with.
const AUDIT: &str = "pod-security.kubernetes.io/";

pub struct PodSecurity {
    settings: Settings,
}

impl PodSecurity {
    pub fn make(told: Option<&Value>) -> Result<Box<dyn Plugin>, String> {
        Ok(Box::new(Self { settings: Settings::read(told)? }))
    }
}

#[async_trait::async_trait]
impl Plugin for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    fn validates(&self, review: &Review<'_>) -> bool {
        review.writes("", "namespaces", "")
            || SPECS.iter().any(|part| review.writes("", "pods", part))
            || template_of(review).is_some()
    }

    async fn validate(&self, review: &Review<'_>, object: &Value) -> Result<(), Status> {
        if review.of("", "namespaces", "") {
            return self.namespace(review, object);
        }
        let call = review.call;
        let note = |key: &str, text: &str| call.context.annotate(&format!("{AUDIT}{key}"), text);
        let exempt = |list: &[String], name: &str| list.iter().any(|one| one == name);
        for (list, name, what) in [
            (&self.settings.namespaces, call.namespace(), "namespace"),
            (&self.settings.users, call.context.user.name.as_str(), "user"),
        ] {
            if exempt(list, name) {
                note("exempt", what);
                return Ok(());
            }
        }
        let template = template_of(review);
        let Some(labels) = labels_here(review).await? else {
            // Templates are judged by their pods later.
            return match template {
                Some(_) => Ok(()),
                None => Err(Status::internal(format!("failed to lookup namespace {:?}", call.namespace()))),
            };
        };
        let (policy, errors) = Policy::of(&labels, &self.settings.defaults);
        let privileged = match template {
            Some(_) => policy.warn.level == Level::Privileged && policy.audit.level == Level::Privileged,
            None => policy.is_privileged(),
        };
        if errors.is_empty() && privileged {
            if template.is_none() {
                note("enforce-policy", "privileged:latest");
            }
            return Ok(());
        }
        let of = match template {
            None => Some(object),
            Some(path) => object.pointer(path).filter(|template| template.is_object()),
        };
        let Some(of) = of else { return Ok(()) };
        if template.is_none() && review.old.is_some_and(|old| !is_significant(of, old)) {
            return Ok(());
        }
        let class = of["spec"]["runtimeClassName"].as_str().unwrap_or_default();
        if !class.is_empty() && exempt(&self.settings.runtime_classes, class) {
            note("exempt", "runtimeClass");
            return Ok(());
        }
        if !errors.is_empty() {
            let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
            note("error", &format!("Failed to parse policy: {}", all.join(", ")));
        }
        let pod = Pod { object: of, spec: &of["spec"] };
        let noted = checks::judge(policy.audit, pod);
        if !noted.is_empty() {
            let said = checks::detailed(&noted);
            note("audit-violations", &format!("would violate PodSecurity \"{}\": {said}", policy.audit));
        }
        if template.is_none() {
            note("enforce-policy", &policy.enforce.to_string());
            let violations = checks::judge(policy.enforce, pod);
            if !violations.is_empty() {
                let why =
                    format!("violates PodSecurity \"{}\": {}", policy.enforce, checks::detailed(&violations));
                return Err(review.forbidden(object, &why));
            }
        }
        let violations = checks::judge(policy.warn, pod);
        if !violations.is_empty() {
            let said = checks::detailed(&violations);
            call.context.warn(format!("would violate PodSecurity \"{}\": {said}", policy.warn));
        }
        Ok(())
    }
}

impl PodSecurity {
    /// Labels must make sense, and pods that they would no longer let in are told.
    fn namespace(&self, review: &Review<'_>, namespace: &Value) -> Result<(), Status> {
        let defaults = &self.settings.defaults;
        let name = meta::name(namespace);
        let labels = labels(namespace);
        let (policy, errors) = Policy::of(&labels, defaults);
        let before = review.old.map(|old| Policy::of(&self::labels(old), defaults));
        let old_errors = before.as_ref().map(|(_, errors)| errors.as_slice()).unwrap_or_default();
        if !errors.is_empty() && errors != old_errors {
            return Err(Status::invalid("", "Namespace", name, &errors));
        }
        let context = &review.call.context;
        if let Some((before, _)) = before
            && !is_stricter(policy.enforce, before.enforce)
        {
            return Ok(());
        }
        if self.settings.namespaces.iter().any(|one| one == name) {
            policy.ignored(name, &labels, defaults).into_iter().for_each(|said| context.warn(said));
            return Ok(());
        }
        if review.operation == Operation::Update {
            let pods = objects::list_in(review.call, "", "pods", name);
            let until = Instant::now() + PODS_TIME;
            let warnings = existing(name, pods, policy.enforce, &self.settings.runtime_classes, until);
            warnings.into_iter().for_each(|said| context.warn(said));
        }
        Ok(())
    }
}

fn template_of(review: &Review<'_>) -> Option<&'static str> {
    let of = |(group, plural, _): &&(&str, &str, &str)| review.writes(group, plural, "");
    TEMPLATES.iter().find(of).map(|(.., path)| *path)
}

fn labels(object: &Value) -> BTreeMap<String, String> {
    meta::labels(object).map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// The labels of the namespace that is written to; nothing if it is not there.
async fn labels_here(review: &Review<'_>) -> Result<Option<BTreeMap<String, String>>, Status> {
    let (app, name) = (&review.call.app, review.call.namespace());
    let Some(cache) = app.cache.find("", "namespaces") else { return Ok(None) };
    // The cache has them apart: the object is not decoded.
    if let Some(item) = cache.get("", name) {
        return Ok(Some(item.labels.clone()));
    }
    app.cache.catch_up().await?;
    Ok(cache.get("", name).map(|item| item.labels.clone()))
}

/// Whether pods that the old one let in may not be let in by the new one.
fn is_stricter(new: Standard, old: Standard) -> bool {
    new != old && new.level != Level::Privileged && (new.version != old.version || new.level > old.level)
}

/// Whether an update brings what has not been judged: a container, or an image.
fn is_significant(new: &Value, old: &Value) -> bool {
    let each = |pod: &'_ Value, list: &str| pod["spec"][list].as_array().cloned().unwrap_or_default();
    let changed = ["containers", "initContainers"].iter().any(|list| {
        let (now, had) = (each(new, list), each(old, list));
        now.len() != had.len() || now.iter().zip(&had).any(|(now, had)| now["image"] != had["image"])
    });
    let had = each(old, "ephemeralContainers");
    changed
        || each(new, "ephemeralContainers").iter().any(|now| {
            let before = had.iter().find(|had| had["name"] == now["name"]);
            before.is_none_or(|before| before["image"] != now["image"])
        })
}

/// What to say about pods that are there and would no longer be let in.
fn existing(
    namespace: &str,
    pods: Vec<Value>,
    enforce: Standard,
    exempt: &[String],
    until: Instant,
) -> Vec<String> {
    // One of each controller first: the rest are like it.
    let (mut owners, mut twins) = (BTreeSet::new(), Vec::new());
    let mut first = Vec::new();
    for pod in pods {
        let class = pod["spec"]["runtimeClassName"].as_str().unwrap_or_default();
        if !class.is_empty() && exempt.iter().any(|one| one == class) {
            continue;
        }
        let owner = meta::owner_references(&pod).iter().find(|owner| owner["controller"] == true);
        let uid = owner.and_then(|owner| owner["uid"].as_str()).map(str::to_owned);
        let known = uid.is_some_and(|uid| !owners.insert(uid));
        if known { twins.push(pod) } else { first.push(pod) }
    }
    first.append(&mut twins);
    let total = first.len();
    let mut checked = total.min(PODS_MAX);
    let mut found: HashMap<String, (String, usize)> = HashMap::new();
    for (at, pod) in first.iter().take(PODS_MAX).enumerate() {
        let violations = checks::judge(enforce, Pod { object: pod, spec: &pod["spec"] });
        if !violations.is_empty() {
            let name = meta::name(pod);
            let (least, count) =
                found.entry(checks::brief(&violations)).or_insert_with(|| (name.to_owned(), 0));
            *count += 1;
            if name < least.as_str() {
                name.clone_into(least);
            }
        }
        if Instant::now() >= until {
            checked = at + 1;
            break;
        }
    }
    let mut said = Vec::new();
    if checked < total {
        said.push(format!(
            "new PodSecurity enforce level only checked against the first {checked} of {total} existing pods"
        ));
    }
    if !found.is_empty() {
        said.push(format!(
            "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{enforce}\""
        ));
    }
    let mut each: Vec<String> = found
        .into_iter()
        .map(|(reasons, (name, count))| match count {
            1 => format!("{name}: {reasons}"),
            2 => format!("{name} (and 1 other pod): {reasons}"),
            count => format!("{name} (and {} other pods): {reasons}", count - 1),
        })
        .collect();
    each.sort();
    said.append(&mut each);
    said
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::policy::Version;
    use super::*;

    fn pod(name: &str, owner: Option<&str>, privileged: bool) -> Value {
        let owners = owner.map(|uid| json!([{"uid": uid, "controller": true}])).unwrap_or_default();
        json!({"metadata": {"name": name, "ownerReferences": owners}, "spec": {"containers": [
            {"name": "c", "image": "i", "securityContext": {"privileged": privileged}}]}})
    }

    #[test]
    fn pods_that_would_no_longer_be_let_in_are_told_once_for_each_reason() {
        let enforce = Standard { level: Level::Baseline, version: Version::Latest };
        let mut network = pod("z", None, false);
        network["spec"]["hostNetwork"] = true.into();
        let pods = vec![
            pod("c", Some("1"), true),
            pod("b", Some("1"), true),
            pod("a", None, true),
            network,
            pod("ok", None, false),
        ];
        let later = Instant::now() + PODS_TIME;
        assert_eq!(
            existing("n", pods.clone(), enforce, &[], later),
            [
                "existing pods in namespace \"n\" violate the new PodSecurity enforce level \"baseline:latest\"",
                "a (and 2 other pods): privileged",
                "z: host namespaces",
            ]
        );
        let cut = existing("n", pods, enforce, &[], Instant::now());
        assert_eq!(
            cut[0],
            "new PodSecurity enforce level only checked against the first 1 of 5 existing pods"
        );
        assert_eq!(existing("n", vec![pod("ok", None, false)], enforce, &[], later), Vec::<String>::new());
    }

    #[test]
    fn only_what_becomes_stricter_is_looked_at() {
        let standard = |level, version| Standard { level, version };
        let (base, latest, old) = (Level::Baseline, Version::Latest, Version::Minor(20));
        assert!(is_stricter(standard(base, latest), Standard::NOTHING));
        assert!(is_stricter(standard(base, latest), standard(Level::Restricted, old)));
        assert!(!is_stricter(standard(base, latest), standard(Level::Restricted, latest)));
        assert!(!is_stricter(Standard::NOTHING, standard(base, old)));
        assert!(!is_stricter(standard(base, old), standard(base, old)));
    }

    #[test]
    fn an_update_is_judged_if_it_brings_an_image() {
        let old = pod("p", None, false);
        let mut new = old.clone();
        new["metadata"]["labels"]["a"] = "b".into();
        assert!(!is_significant(&new, &old));
        new["spec"]["ephemeralContainers"] = json!([{"name": "e", "image": "x"}]);
        assert!(is_significant(&new, &old));
        let mut image = old.clone();
        image["spec"]["containers"][0]["image"] = "other".into();
        assert!(is_significant(&image, &old));
    }
}
