//! The flow schemas and priority levels that a cluster starts with, read from `defaults.txt`.

use serde_json::{Value, json};

const TABLE: &str = include_str!("defaults.txt");
const API_VERSION: &str = "flowcontrol.apiserver.k8s.io/v1";
/// Says whether the server may bring an object up to date.
pub const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

/// All of them.
pub fn objects() -> Vec<Value> {
    let mut objects: Vec<Value> = Vec::new();
    for line in TABLE.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["level", name, shares, lendable, queuing @ ..] => {
                objects.push(object("PriorityLevelConfiguration", name, level(shares, lendable, queuing)));
            }
            ["schema", name, level, precedence, distinguisher, subjects] => {
                let mut spec = json!({
                    "priorityLevelConfiguration": {"name": level}, "matchingPrecedence": number(precedence),
                    "rules": [{"subjects": subjects.split(',').map(subject).collect::<Vec<_>>()}],
                });
                if *distinguisher != "-" {
                    spec["distinguisherMethod"] = json!({"type": distinguisher});
                }
                objects.push(object("FlowSchema", name, spec));
            }
            words => {
                let (list, rule) = rule(words);
                let rules = objects.last_mut().map(|schema| &mut schema["spec"]["rules"][0][list]);
                let rules = rules.expect("in our own table, a rule follows its schema");
                match rules.as_array_mut() {
                    Some(rules) => rules.push(rule),
                    None => *rules = json!([rule]),
                }
            }
        }
    }
    objects
}

/// Whether the server keeps this one as it is, whatever others write.
pub fn is_mandatory(name: &str) -> bool {
    matches!(name, "exempt" | "catch-all")
}

fn number(word: &str) -> u64 {
    word.parse().expect("our own table has numbers where they belong")
}

fn words(text: &str) -> Vec<&str> {
    text.split(',').map(|word| if word == "core" { "" } else { word }).collect()
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    let metadata = json!({"name": name.trim_start_matches('*'), "annotations": {AUTO_UPDATE: "true"}});
    json!({"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec})
}

fn level(shares: &str, lendable: &str, queuing: &[&str]) -> Value {
    let mut own = json!({"nominalConcurrencyShares": number(shares), "lendablePercent": number(lendable)});
    match queuing {
        ["exempt"] => return json!({"type": "Exempt", "exempt": own}),
        [queues, hand, length] => {
            own["limitResponse"] = json!({"type": "Queue", "queuing": {
                "queues": number(queues), "handSize": number(hand), "queueLengthLimit": number(length),
            }});
        }
        _ => own["limitResponse"] = json!({"type": "Reject"}),
    }
    json!({"type": "Limited", "limited": own})
}

fn subject(text: &str) -> Value {
    let (kind, name) = text.split_once(':').expect("our own table names the kinds of subjects");
    match kind {
        "user" => json!({"kind": "User", "user": {"name": name}}),
        "group" => json!({"kind": "Group", "group": {"name": name}}),
        _ => {
            let (namespace, name) = name.split_once(':').expect("our own table gives accounts a namespace");
            json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": namespace, "name": name}})
        }
    }
}

fn rule(line: &[&str]) -> (&'static str, Value) {
    match line {
        [verbs, "url", urls] => {
            ("nonResourceRules", json!({"verbs": words(verbs), "nonResourceURLs": words(urls)}))
        }
        [verbs, groups, resources, place] => {
            let mut rule = json!({
                "verbs": words(verbs), "apiGroups": words(groups), "resources": words(resources), "namespaces": ["*"],
            });
            if *place == "*" {
                rule["clusterScope"] = true.into();
            }
            ("resourceRules", rule)
        }
        _ => unreachable!("our own table has no other lines"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_object_of_a_new_cluster() {
        let objects = objects();
        let count = |kind: &str| objects.iter().filter(|object| object["kind"] == kind).count();
        assert_eq!((count("FlowSchema"), count("PriorityLevelConfiguration")), (11, 8));
        let node = objects.iter().find(|object| object["metadata"]["name"] == "system-node-high").unwrap();
        assert_eq!(
            node["spec"]["rules"][0]["resourceRules"][0],
            json!({"verbs": ["*"], "apiGroups": [""], "resources": ["nodes", "nodes/status"], "namespaces": ["*"],
                "clusterScope": true})
        );
    }
}
