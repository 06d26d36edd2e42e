//! What an object of a kind counts.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use super::matching;
use crate::quantity::Quantity;
use crate::resources::{self, HUGE_PAGES, ResourceList, Sum};
use crate::{Object, meta};

const REQUESTS: &str = "requests.";
const COUNT: &str = "count/";
const BY_CLASS: &str = ".storageclass.storage.k8s.io/";
const BY_DEVICE_CLASS: &str = ".deviceclass.resource.k8s.io/devices";
const DEVICE_CLASS: &str = "deviceclass.resource.kubernetes.io/";
/// As many devices as one allocation can have, for a request of all.
const ALL_DEVICES: usize = 32;

/// What pods count, besides devices and huge pages.
const POD: &[&str] = &[
    "count/pods",
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
];
const SERVICE: &[&str] = &["count/services", "services", "services.nodeports", "services.loadbalancers"];
/// What claims count, each also by storage class.
const CLAIM: &[&str] = &["persistentvolumeclaims", "requests.storage"];
/// Kinds whose number has an older name, too.
const OLD_NAMES: &[&str] = &["configmaps", "resourcequotas", "replicationcontrollers", "secrets"];
/// What a quota of cpu or memory obliges every container to say.
const REQUIRED: &[&str] =
    &["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
/// Kinds that no quota counts.
const IGNORED: &[(&str, &str)] = &[
    ("", "bindings"),
    ("", "componentstatuses"),
    ("", "events"),
    ("events.k8s.io", "events"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
];

/// How objects of one kind are counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// By their resources, while they run.
    Pods,
    /// By their node ports and load balancers.
    Services,
    /// By their size, also for each storage class.
    Claims,
    /// By their devices, for each device class.
    DeviceClaims,
    /// By their number.
    Count {
        /// The kind's group.
        group: String,
        /// The kind's plural.
        resource: String,
    },
}

impl Measure {
    /// How a kind is counted, if it is.
    pub fn of(group: &str, resource: &str) -> Option<Self> {
        if IGNORED.contains(&(group, resource)) {
            return None;
        }
        Some(match (group, resource) {
            ("", "pods") => Self::Pods,
            ("", "services") => Self::Services,
            ("", "persistentvolumeclaims") => Self::Claims,
            ("resource.k8s.io", "resourceclaims") => Self::DeviceClaims,
            _ => Self::Count { group: group.to_owned(), resource: resource.to_owned() },
        })
    }

    /// All that must be counted to know what is used of these.
    pub fn of_names<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<Self> {
        let mut all = BTreeSet::new();
        for name in names {
            let known = [Self::Pods, Self::Services, Self::Claims, Self::DeviceClaims];
            let fixed = known.into_iter().filter(|measure| measure.takes(name));
            let before = all.len();
            all.extend(fixed);
            let counted = match name.strip_prefix(COUNT) {
                Some(kind) => {
                    Some(kind.split_once('.').map_or(("", kind), |(plural, group)| (group, plural)))
                }
                None => OLD_NAMES.contains(&name).then_some(("", name)),
            };
            if all.len() == before
                && let Some((group, resource)) = counted
            {
                all.extend(Self::of(group, resource).filter(|measure| measure.takes(name)));
            }
        }
        all
    }

    /// Group and plural of the kind.
    pub fn kind(&self) -> (&str, &str) {
        match self {
            Self::Pods => ("", "pods"),
            Self::Services => ("", "services"),
            Self::Claims => ("", "persistentvolumeclaims"),
            Self::DeviceClaims => ("resource.k8s.io", "resourceclaims"),
            Self::Count { group, resource } => (group, resource),
        }
    }

    /// Of these names those that it counts.
    pub fn tracks<'a>(&self, names: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
        matching(names, |name| self.takes(name))
    }

    fn takes(&self, name: &str) -> bool {
        match self {
            Self::Pods => POD.contains(&name) || is_page(name) || is_device(name),
            Self::Services => SERVICE.contains(&name),
            Self::Claims => {
                let by_class =
                    |of: &&str| name.strip_suffix(*of).is_some_and(|before| before.ends_with(BY_CLASS));
                name == "count/persistentvolumeclaims" || CLAIM.contains(&name) || CLAIM.iter().any(by_class)
            }
            Self::DeviceClaims => {
                name == "count/resourceclaims.resource.k8s.io" || name.ends_with(BY_DEVICE_CLASS)
            }
            Self::Count { group, resource } => {
                name == count_name(group, resource)
                    || (group.is_empty() && name == resource && OLD_NAMES.contains(&name))
            }
        }
    }

    /// What an object counts at that time, in seconds.
    pub fn usage(&self, object: &Object, now_s: i64) -> ResourceList {
        let one = Quantity::count(1);
        match self {
            Self::Pods => pod(object, now_s),
            Self::Services => service(object),
            Self::Claims => claim(object),
            Self::DeviceClaims => device_claim(object),
            Self::Count { group, resource } => {
                let mut list = ResourceList::from([(count_name(group, resource), one)]);
                if group.is_empty() && OLD_NAMES.contains(&resource.as_str()) {
                    list.insert(resource.clone(), one);
                }
                list
            }
        }
    }

    /// Whether a change of an object can change what its namespace uses.
    pub fn differs(&self, old: &Object, new: &Object, now_s: i64) -> bool {
        let scope = |object: &Object| match self {
            Self::Pods => vec![object["spec"]["activeDeadlineSeconds"].clone()],
            Self::Claims => {
                let status = &object["status"];
                vec![
                    object["spec"]["volumeAttributesClassName"].clone(),
                    status["currentVolumeAttributesClassName"].clone(),
                    status["modifyVolumeStatus"]["targetVolumeAttributesClassName"].clone(),
                ]
            }
            _ => Vec::new(),
        };
        scope(old) != scope(new) || self.usage(old, now_s) != self.usage(new, now_s)
    }

    /// What an object must say to be counted under quotas of these.
    ///
    /// # Errors
    /// What it does not say.
    pub fn check(&self, object: &Object, limited: &BTreeSet<&str>) -> Result<(), String> {
        let spec = &object["spec"];
        if *self != Self::Pods || is_set(&spec["resources"]) {
            return Ok(());
        }
        let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let containers = ["containers", "initContainers"].into_iter();
        for container in containers.filter_map(|list| spec[list].as_array()).flatten() {
            let of = |what: &str| resources::read(&container["resources"][what]);
            let said = compute(&of("requests"), &of("limits"));
            for name in limited.iter().filter(|name| REQUIRED.contains(name) && !said.contains_key(**name)) {
                missing.entry(name).or_default().insert(container["name"].as_str().unwrap_or_default());
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let each = missing.iter().map(|(name, containers)| {
            format!("{name} for: {}", containers.iter().copied().collect::<Vec<_>>().join(","))
        });
        Err(format!("must specify {}", each.collect::<Vec<_>>().join("; ")))
    }
}

/// Whether resources are set for a pod as a whole.
fn is_set(list: &Value) -> bool {
    let known = |name: &str| matches!(name, "cpu" | "memory") || name.starts_with(HUGE_PAGES);
    let has = |of: &str| list[of].as_object().is_some_and(|map| map.keys().any(|name| known(name)));
    has("requests") || has("limits")
}

fn count_name(group: &str, resource: &str) -> String {
    if group.is_empty() { format!("{COUNT}{resource}") } else { format!("{COUNT}{resource}.{group}") }
}

fn is_page(name: &str) -> bool {
    name.strip_prefix(REQUESTS).unwrap_or(name).starts_with(HUGE_PAGES)
}

fn is_device(name: &str) -> bool {
    let class = name.strip_prefix(REQUESTS).is_some_and(|rest| rest.starts_with(DEVICE_CLASS));
    name.starts_with(REQUESTS) && (class || !resources::is_native(name))
}

/// Requests and limits under the names that quotas have for them.
fn compute(requests: &ResourceList, limits: &ResourceList) -> ResourceList {
    let mut list = ResourceList::from([("pods".to_owned(), Quantity::count(1))]);
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if let Some(amount) = requests.get(name) {
            list.insert(name.to_owned(), *amount);
            list.insert(format!("{REQUESTS}{name}"), *amount);
        }
        if let Some(amount) = limits.get(name) {
            list.insert(format!("limits.{name}"), *amount);
        }
    }
    for (name, amount) in requests {
        if name.starts_with(HUGE_PAGES) {
            list.insert(name.clone(), *amount);
            list.insert(format!("{REQUESTS}{name}"), *amount);
        }
        if resources::is_extended(name) || name.starts_with(DEVICE_CLASS) {
            list.insert(format!("{REQUESTS}{name}"), *amount);
        }
    }
    list
}

/// A pod that has ended, or should have, counts as an object only.
fn pod(pod: &Object, now_s: i64) -> ResourceList {
    let mut list = ResourceList::from([("count/pods".to_owned(), Quantity::count(1))]);
    let ended = matches!(pod["status"]["phase"].as_str(), Some("Failed" | "Succeeded"));
    let due = meta::deletion_timestamp(pod).and_then(|text| text.parse::<Timestamp>().ok());
    let grace = pod["metadata"]["deletionGracePeriodSeconds"].as_i64();
    let overdue = due.zip(grace).is_some_and(|(due, grace)| now_s > due.as_second() + grace);
    if ended || overdue {
        return list;
    }
    let sum = Sum { with_status: true, with_overhead: true, with_pod_huge_pages: true };
    resources::add(&mut list, &compute(&sum.requests(pod), &sum.limits(pod)));
    list
}

fn service(service: &Object) -> ResourceList {
    let spec = &service["spec"];
    let ports = spec["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let balanced = spec["type"] == "LoadBalancer";
    let node_ports = match spec["type"].as_str() {
        Some("LoadBalancer") if spec["allocateLoadBalancerNodePorts"] == false => {
            ports.iter().filter(|port| port["nodePort"].as_i64().unwrap_or(0) != 0).count()
        }
        Some("NodePort" | "LoadBalancer") => ports.len(),
        _ => 0,
    };
    let counts = [
        ("count/services", 1),
        ("services", 1),
        ("services.nodeports", node_ports),
        ("services.loadbalancers", usize::from(balanced)),
    ];
    counts.into_iter().map(|(name, number)| (name.to_owned(), Quantity::count(number))).collect()
}

fn claim(claim: &Object) -> ResourceList {
    let one = Quantity::count(1);
    let old_class =
        meta::annotations(claim).find(|(key, _)| *key == "volume.beta.kubernetes.io/storage-class");
    let class = match old_class {
        Some((_, class)) => class,
        None => claim["spec"]["storageClassName"].as_str().unwrap_or_default(),
    };
    let amount = |list: &Value| list["storage"].as_str().and_then(Quantity::parse);
    let asked = amount(&claim["spec"]["resources"]["requests"]);
    let given = amount(&claim["status"]["allocatedResources"]);
    let storage = asked.map(|asked| given.filter(|given| *given > asked).unwrap_or(asked).rounded_up());
    let mut list = ResourceList::from([("count/persistentvolumeclaims".to_owned(), one)]);
    for (name, amount) in [("persistentvolumeclaims", Some(one)), ("requests.storage", storage)] {
        let Some(amount) = amount else { continue };
        list.insert(name.to_owned(), amount);
        if !class.is_empty() {
            list.insert(format!("{class}{BY_CLASS}{name}"), amount);
        }
    }
    list
}

fn device_claim(claim: &Object) -> ResourceList {
    let number = |request: &Value| match request["allocationMode"].as_str() {
        Some("ExactCount") => Quantity::count(request["count"].as_u64().unwrap_or(0) as usize),
        Some("All") => Quantity::count(ALL_DEVICES),
        _ => Quantity::count(0),
    };
    let named = |request: &Value| {
        let class = request["deviceClassName"].as_str().unwrap_or_default();
        ResourceList::from([(format!("{class}{BY_DEVICE_CLASS}"), number(request))])
    };
    let mut list =
        ResourceList::from([("count/resourceclaims.resource.k8s.io".to_owned(), Quantity::count(1))]);
    for request in claim["spec"]["devices"]["requests"].as_array().into_iter().flatten() {
        let choices = request["firstAvailable"].as_array().filter(|choices| !choices.is_empty());
        let mut worst = ResourceList::new();
        match choices {
            // Which it will be is not known: each class may be the one.
            Some(choices) => choices.iter().for_each(|choice| resources::raise(&mut worst, &named(choice))),
            None if request["exactly"].is_object() => worst = named(&request["exactly"]),
            None => {}
        }
        resources::add(&mut list, &worst);
    }
    list
}
