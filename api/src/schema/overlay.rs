//! What an API needs to know of its types beside their structure: how zeros are presented,
//! defaults, merge keys, list keys, enums, protobuf numbers. Facts, read from two small tables.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::{ListKind, Merge, Presence};

/// The facts about one field.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub presence: Presence,
    pub number: Vec<u32>,
    pub merge: Merge,
    pub list: ListKind,
    /// Whether it is replaced whole in apply, where the field says so itself.
    pub atomic: Option<bool>,
    pub allowed: Vec<String>,
    pub default: Option<Value>,
    /// Its type, where no generated schema has it: `string`, `[]T`, `{}T`, or a definition.
    pub sort: String,
}

/// What is known of one definition.
#[derive(Debug, Clone, Default)]
pub struct Definition {
    /// Whether apply replaces it whole.
    pub atomic: bool,
    /// By field.
    pub fields: BTreeMap<String, Facts>,
}

/// All facts, by definition.
pub type Overlay = HashMap<String, Definition>;

/// Reads both tables.
pub fn load() -> Overlay {
    let mut overlay = Overlay::new();
    let mut at = "";
    for line in lines(include_str!("../../overlay/fields.txt")) {
        match line.strip_prefix(' ') {
            None => {
                let (name, flag) = line.split_once(' ').unwrap_or((line, ""));
                at = name;
                overlay.entry(name.into()).or_default().atomic = flag == "atomic";
            }
            Some(line) => {
                let mut words = line.split(' ');
                let name = words.next().unwrap_or_default();
                overlay.entry(at.into()).or_default().fields.insert(name.into(), facts(words));
            }
        }
    }
    for line in lines(include_str!("../../overlay/defaults.txt")) {
        let mut words = line.splitn(3, ' ');
        if let (Some(definition), Some(field), Some(json)) = (words.next(), words.next(), words.next()) {
            let fields = &mut overlay.entry(definition.into()).or_default().fields;
            fields.entry(field.into()).or_default().default = serde_json::from_str(json).ok();
        }
    }
    overlay
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.starts_with('#'))
}

/// Reads `presence number word…`.
fn facts<'a>(mut words: impl Iterator<Item = &'a str>) -> Facts {
    let presence = match words.next() {
        Some("a") => Presence::Always,
        Some("z") => Presence::OmitZero,
        Some("n") => Presence::Null,
        _ => Presence::AsGiven,
    };
    let number = words.next().unwrap_or_default().split('.').filter_map(|part| part.parse().ok()).collect();
    let mut facts = Facts { presence, number, ..Facts::default() };
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let names = || value.split(',').map(str::to_owned).collect::<Vec<_>>();
        match key {
            "merge" => {
                facts.merge.merge = true;
                facts.merge.key = value.into();
            }
            "retain" => facts.merge.retain_keys = true,
            "atomic" => facts.atomic = Some(true),
            "granular" => facts.atomic = Some(false),
            "list" => {
                facts.list = match value {
                    "set" => ListKind::Set,
                    "atomic" => ListKind::Atomic,
                    _ => ListKind::Map(names()),
                };
            }
            "enum" => facts.allowed = names(),
            "default" => facts.default = serde_json::from_str(value).ok(),
            "t" => facts.sort = value.into(),
            _ => {}
        }
    }
    facts
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_default_is_json_of_a_known_field() {
        let known = super::load();
        for line in include_str!("../../overlay/defaults.txt").lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<&str> = line.splitn(3, ' ').collect();
            assert!(serde_json::from_str::<serde_json::Value>(words[2]).is_ok(), "{line}");
            assert!(!known[words[0]].fields[words[1]].number.is_empty(), "{line}");
        }
    }
}
