//! What an API needs to know of its types beside their structure: how zeros are presented,
//! defaults, merge keys, list keys, enums, protobuf numbers. Facts, read from two small tables.

use std::collections::HashMap;

use serde_json::Value;

use super::{ListKind, Merge, Presence};

/// The facts about one field.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub presence: Presence,
    pub number: u32,
    pub merge: Merge,
    pub list: ListKind,
    pub atomic: bool,
    pub allowed: Vec<String>,
    pub default: Option<Value>,
}

/// All facts: definition to field to facts.
pub type Overlay = HashMap<String, HashMap<String, Facts>>;

/// Reads both tables.
pub fn load() -> Overlay {
    let mut overlay = Overlay::new();
    let mut at = "";
    for line in include_str!("../../overlay/fields.txt").lines().filter(|line| !line.starts_with('#')) {
        match line.strip_prefix(' ') {
            None => at = line,
            Some(line) => {
                let mut words = line.split(' ');
                let name = words.next().unwrap_or_default();
                overlay.entry(at.into()).or_default().insert(name.into(), facts(words));
            }
        }
    }
    for line in include_str!("../../overlay/defaults.txt").lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.splitn(3, ' ');
        if let (Some(definition), Some(field), Some(json)) = (words.next(), words.next(), words.next()) {
            let facts = overlay.entry(definition.into()).or_default().entry(field.into()).or_default();
            facts.default = serde_json::from_str(json).ok();
        }
    }
    overlay
}

fn facts<'a>(words: impl Iterator<Item = &'a str>) -> Facts {
    let mut facts = Facts::default();
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let names = || value.split(',').map(str::to_owned).collect::<Vec<_>>();
        match key {
            "a" => facts.presence = Presence::Always,
            "z" => facts.presence = Presence::OmitZero,
            "p" => facts.presence = Presence::AsGiven,
            "merge" => {
                facts.merge.merge = true;
                facts.merge.key = value.into();
            }
            "retain" => facts.merge.retain_keys = true,
            "atomic" => facts.atomic = true,
            "list" => {
                facts.list = if value == "set" { ListKind::Set } else { ListKind::Map(names()) };
            }
            "enum" => facts.allowed = names(),
            "default" => facts.default = serde_json::from_str(value).ok(),
            number => facts.number = number.parse().unwrap_or_default(),
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
            assert_ne!(known[words[0]][words[1]].number, 0, "{line}");
        }
    }
}
