//! The kinds that ship in the binary, read from `kinds/builtin.txt`.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use crate::kind::{Action, Column, Kind, Presents, Registry, Subresource, Version};
use crate::schema;

pub(crate) const VERBS: [&str; 8] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// All built-in kinds.
pub fn registry() -> Registry {
    Registry::new(read(include_str!("../kinds/builtin.txt")))
}

/// Reads kinds in the format of `kinds/builtin.txt`. Structure comes from the built-in definitions, or
/// from a line ` schema JSON` of the kind's own.
pub fn read(text: &str) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let Some(part) = line.strip_prefix(' ') else {
            kinds.extend(kind(line));
            continue;
        };
        let Some(kind) = kinds.last_mut() else { continue };
        let (sort, rest) = part.split_once(' ').unwrap_or((part, ""));
        match sort {
            "presents" => kind.presents = presents(rest),
            "fields" => {
                for field in rest.split(' ') {
                    let (name, paths) = field.split_once('=').unwrap_or((field, ""));
                    kind.selectable.push(name.to_owned());
                    if !paths.is_empty() {
                        let paths = paths.split('|').map(str::to_owned).collect();
                        kind.selected_from.insert(name.to_owned(), paths);
                    }
                }
            }
            "also" => kind.versions.push(Version {
                name: rest.into(),
                schema: schema::definition(&schema::definition_of(&kind.group, rest, &kind.kind))
                    .cloned()
                    .unwrap_or_default(),
                ..kind.versions[0].clone()
            }),
            "deprecated" => {
                let version = &mut kind.versions[0];
                version.deprecated = Some(format!("{} {} is deprecated in {rest}", version.name, kind.kind));
            }
            "sub" => {
                for name in rest.split(' ') {
                    let sub = subresource(kind, name);
                    kind.versions[0].subresources.insert(name.into(), sub);
                }
            }
            "schema" => {
                if let Ok(raw) = serde_json::from_str(rest) {
                    kind.versions[0].schema = schema::from_json(&raw);
                }
            }
            "col" => kind.versions[0].columns.extend(column(rest)),
            _ => {}
        }
    }
    for kind in &mut kinds {
        complete_columns(kind);
        // What is said of the first version holds for the others.
        let (first, others) = kind.versions.split_first_mut().expect("a kind has a version");
        for version in others {
            version.subresources.clone_from(&first.subresources);
            version.columns.clone_from(&first.columns);
        }
    }
    kinds
}

fn kind(line: &str) -> Option<Kind> {
    let mut words = line.split(' ');
    let (name, at, plural, prefix) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let (group, version) = at.split_once('/').unwrap_or(("", at));
    let mut kind = Kind {
        group: group.into(),
        kind: name.into(),
        plural: plural.into(),
        singular: name.to_lowercase(),
        list_kind: format!("{name}List"),
        short_names: Vec::new(),
        categories: Vec::new(),
        namespaced: true,
        prefix: prefix.into(),
        verbs: VERBS.iter().map(ToString::to_string).collect(),
        versions: vec![Version {
            name: version.into(),
            served: true,
            deprecated: None,
            validator: None,
            rules: None,
            schema: schema::definition(&schema::definition_of(group, version, name))
                .cloned()
                .unwrap_or_default(),
            subresources: BTreeMap::new(),
            columns: Vec::new(),
        }],
        storage: 0,
        selectable: Vec::new(),
        selected_from: BTreeMap::new(),
        name_rule: "dns1123-subdomain".into(),
        ttl_s: None,
        generation: false,
        graceful: false,
        inert: false,
        presents: None,
        conversion: None,
    };
    let names = |value: &str| value.split(',').map(str::to_owned).collect::<Vec<_>>();
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        match key {
            "cluster" => kind.namespaced = false,
            "gen" => kind.generation = true,
            "graceful" => kind.graceful = true,
            "inert" => kind.inert = true,
            "noall" => kind.verbs.retain(|verb| verb != "deletecollection"),
            "ttl" => kind.ttl_s = value.parse().ok(),
            "short" => kind.short_names = names(value),
            "cat" => kind.categories = names(value),
            "rule" => kind.name_rule = value.into(),
            _ => {}
        }
    }
    Some(kind)
}

/// `v1/events a=b c=d`: the kind that is stored, and how its fields are called here.
fn presents(line: &str) -> Option<Presents> {
    let (at, renames) = line.split_once(' ').unwrap_or((line, ""));
    let (at, plural) = at.rsplit_once('/')?;
    let (group, version) = at.split_once('/').unwrap_or(("", at));
    let pair = |word: &str| word.split_once('=').map(|(stored, shown)| (stored.to_owned(), shown.to_owned()));
    Some(Presents {
        group: group.into(),
        version: version.into(),
        plural: plural.into(),
        renames: renames.split(' ').filter_map(pair).collect(),
    })
}

/// A subresource by its name; what is not known of is code of its own.
pub(crate) fn subresource(owner: &Kind, name: &str) -> Subresource {
    let (action, kind, group, version, verbs) = match name {
        "status" => (Action::View(vec!["status".into()]), owner.kind.as_str(), "", "", "get patch update"),
        "scale" => {
            let selector = if owner.kind == "ReplicationController" || owner.group == "apps" {
                ".spec.selector"
            } else {
                ""
            };
            let scale = Action::Scale {
                spec_replicas: ".spec.replicas".into(),
                status_replicas: ".status.replicas".into(),
                selector: selector.into(),
            };
            (scale, "Scale", "autoscaling", "v1", "get patch update")
        }
        "binding" => (Action::Custom, "Binding", "", "", "create"),
        "eviction" => (Action::Custom, "Eviction", "policy", "v1", "create"),
        "log" => (Action::Custom, "Pod", "", "", "get"),
        "exec" => (Action::Custom, "PodExecOptions", "", "", "create get"),
        "attach" => (Action::Custom, "PodAttachOptions", "", "", "create get"),
        "portforward" => (Action::Custom, "PodPortForwardOptions", "", "", "create get"),
        "proxy" if owner.kind == "Node" => {
            (Action::Custom, "NodeProxyOptions", "", "", "create delete get patch update")
        }
        "proxy" if owner.kind == "Service" => {
            (Action::Custom, "ServiceProxyOptions", "", "", "create delete get patch update")
        }
        "proxy" => (Action::Custom, "PodProxyOptions", "", "", "create delete get patch update"),
        "token" => (Action::Custom, "TokenRequest", "authentication.k8s.io", "v1", "create"),
        "finalize" => {
            (Action::View(vec!["spec.finalizers".to_owned()]), owner.kind.as_str(), "", "", "update")
        }
        "approval" => {
            (Action::View(vec!["status.conditions".into()]), owner.kind.as_str(), "", "", "get patch update")
        }
        "ephemeralcontainers" => {
            let paths = vec!["spec.ephemeralContainers".to_owned()];
            (Action::Part(paths), owner.kind.as_str(), "", "", "get patch update")
        }
        "resize" => {
            let path = |list: &str, field: &str| format!("spec.{list}[name].{field}");
            let paths = ["containers", "initContainers"]
                .into_iter()
                .flat_map(|list| [path(list, "resources"), path(list, "resizePolicy")]);
            (Action::Part(paths.collect()), owner.kind.as_str(), "", "", "get patch update")
        }
        _ => (Action::Custom, owner.kind.as_str(), "", "", "get patch update"),
    };
    Subresource {
        action,
        kind: kind.into(),
        group: group.into(),
        version: version.into(),
        verbs: verbs.split(' ').map(str::to_owned).collect(),
    }
}

fn column(line: &str) -> Option<Column> {
    if line == "-" {
        // Only a mark that no age follows.
        return Some(Column { name: "-".into(), ..column("||0||")? });
    }
    let mut parts = line.split('|');
    let (name, sort) = (parts.next()?, parts.next()?);
    let (sort, format) = sort.split_once('/').unwrap_or((sort, ""));
    Some(Column {
        name: name.into(),
        r#type: sort.into(),
        format: format.into(),
        priority: parts.next()?.parse().ok()?,
        source: parts.next()?.into(),
        description: described(parts.next()?),
    })
}

/// What is said of a name and an age.
pub(crate) const NAME: &str = "@meta.v1.ObjectMeta.name";
pub(crate) const AGE: &str = "@meta.v1.ObjectMeta.creationTimestamp";

/// What a column means: its own words, or (`@`) what is said of a field.
pub(crate) fn described(text: &str) -> String {
    static FIELDS: LazyLock<HashMap<String, String>> = LazyLock::new(|| {
        serde_json::from_str(include_str!(concat!(env!("OUT_DIR"), "/columns.json")))
            .expect("the build wrote this JSON")
    });
    match text.strip_prefix('@') {
        Some(field) => FIELDS.get(field).cloned().unwrap_or_default(),
        None => text.into(),
    }
}

/// Adds the name first and the age last, where the declaration leaves them out.
fn complete_columns(kind: &mut Kind) {
    let columns = &mut kind.versions[0].columns;
    let own_first = columns.first().is_some_and(|column| column.name.starts_with('!'));
    if own_first {
        columns[0].name.remove(0);
    } else if let Some(name) = column(&format!("Name|string/name|0|.metadata.name|{NAME}")) {
        columns.insert(0, name);
    }
    let no_age = columns.iter().any(|column| column.name == "-" || column.name == "Age");
    columns.retain(|column| column.name != "-");
    if !no_age {
        columns.extend(column(&format!("Age|string|0|=age|{AGE}")));
    }
    for column in columns.iter_mut().filter(|column| column.name == "Age") {
        column.description = described(AGE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Shape;

    #[test]
    fn every_kind_has_a_structure_and_columns() {
        let registry = registry();
        assert!(registry.iter().count() >= 40);
        for kind in registry.iter() {
            assert!(matches!(kind.stored().schema.shape, Shape::Object(_)), "{}", kind.kind);
            assert!(kind.stored().columns.len() >= 2, "{}", kind.kind);
        }
        let pods = registry.resource("", "v1", "pods").unwrap();
        assert_eq!(pods.key("default", "a"), "/registry/pods/default/a");
        assert_eq!(registry.resource("apps", "v1", "deployments").unwrap().prefix, "registry/deployments");
    }

    #[test]
    fn a_kind_can_be_invented_in_one_text() {
        let text = "Tower example.com/v1 towers registry/example.com/towers short=tw\n \
                    schema {\"type\":\"object\",\"properties\":{\"spec\":{\"type\":\"object\",\"properties\":\
                    {\"floors\":{\"type\":\"integer\",\"default\":3}}}}}\n sub status\n";
        let kinds = read(text);
        let version = kinds[0].stored();
        let mut tower = serde_json::json!({"metadata": {"name": "t"}, "spec": {"walls": 4}});
        assert_eq!(crate::walk::prune(&version.schema, &mut tower), ["spec.walls"]);
        crate::walk::default(&version.schema, &mut tower);
        assert_eq!(tower, serde_json::json!({"metadata": {"name": "t"}, "spec": {"floors": 3}}));
        assert!(version.subresources.contains_key("status"));
    }

    #[test]
    fn reading_the_registry_is_fast() {
        let start = std::time::Instant::now();
        registry();
        println!("registry in {:?}", start.elapsed());
    }
}
