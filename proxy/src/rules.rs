//! The rules as a value, and the difference between two of them.
//!
//! Each service compiles to a [`Part`]. [`Rules`] holds the parts of all services, and [`Rules::apply`] puts new parts in
//! the place of old ones and tells what must change in the kernel: its cost, and the size of the answer, are those of
//! the parts that changed, never of the whole.

use std::collections::{BTreeMap, BTreeSet};

use skiff_runtime::Key;

use crate::conntrack::Flow;

/// A shared map or set of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Container {
    /// address . protocol . port → where to go.
    ServiceIps,
    /// protocol . port → where to go, for packets to any of the machine's own addresses.
    NodePorts,
    /// Pods that may reach themselves through a Service: address . same address.
    Hairpin,
    /// address . protocol . port of Services that nobody serves.
    RejectedIps,
    /// protocol . port of node ports that nobody serves.
    RejectedPorts,
}

impl Container {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::ServiceIps, Self::NodePorts, Self::Hairpin, Self::RejectedIps, Self::RejectedPorts];

    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::ServiceIps => "service_ips",
            Self::NodePorts => "node_ports",
            Self::Hairpin => "hairpin",
            Self::RejectedIps => "rejected_ips",
            Self::RejectedPorts => "rejected_ports",
        }
    }

    /// `map` or `set`, and its type.
    pub fn declaration(self) -> (&'static str, &'static str) {
        match self {
            Self::ServiceIps => ("map", "ipv4_addr . inet_proto . inet_service : verdict"),
            Self::NodePorts => ("map", "inet_proto . inet_service : verdict"),
            Self::Hairpin => ("set", "ipv4_addr . ipv4_addr"),
            Self::RejectedIps => ("set", "ipv4_addr . inet_proto . inet_service"),
            Self::RejectedPorts => ("set", "inet_proto . inet_service"),
        }
    }
}

/// An entry of a container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Element {
    /// Where it is.
    pub container: Container,
    /// Its key, such as `10.96.0.1 . tcp . 443`.
    pub key: String,
}

/// What one service needs in the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// Sets of its own (clients of an endpoint): name to declaration. What a set is never changes under one name.
    pub sets: BTreeMap<String, String>,
    /// Chains of its own: name to rules.
    pub chains: BTreeMap<String, Vec<String>>,
    /// Entries of shared containers, with what a map holds for them (empty in a set).
    pub elements: BTreeMap<Element, String>,
    /// Where UDP packets come to and go to.
    pub udp: BTreeSet<Flow>,
}

/// The rules of all services.
#[derive(Debug, Default)]
pub struct Rules {
    parts: BTreeMap<Key, Part>,
    /// Who wants an element: two services may name the same external address. The first by name has it.
    wanted: BTreeMap<Element, BTreeMap<Key, String>>,
}

/// What must change in the kernel, in the order of the fields.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Elements to delete.
    pub delete_elements: Vec<Element>,
    /// Sets to make.
    pub add_sets: BTreeMap<String, String>,
    /// Chains to make.
    pub new_chains: BTreeMap<String, Vec<String>>,
    /// Chains to fill anew. Apart from the new ones because `nft` reads the whole table before it empties a chain.
    pub chains: BTreeMap<String, Vec<String>>,
    /// Elements to add; one of another value was deleted above.
    pub add_elements: Vec<(Element, String)>,
    /// Chains to delete, all emptied before the first goes since they name each other.
    pub delete_chains: Vec<String>,
    /// Sets to delete.
    pub delete_sets: Vec<String>,
    /// UDP connections that the kernel should forget once the rules are in place: to endpoints that went, and to
    /// services that had no rules when the connection began. Not a matter of rules.
    pub stale_udp: BTreeSet<Flow>,
}

impl Change {
    /// Whether the kernel's rules stay as they are.
    pub fn is_empty(&self) -> bool {
        self.delete_elements.is_empty()
            && self.add_sets.is_empty()
            && self.new_chains.is_empty()
            && self.chains.is_empty()
            && self.add_elements.is_empty()
            && self.delete_chains.is_empty()
            && self.delete_sets.is_empty()
    }
}

impl Rules {
    /// Puts new parts in the place of old ones (`None`: the service is gone) and tells the difference.
    pub fn apply(&mut self, parts: BTreeMap<Key, Option<Part>>) -> Change {
        let mut change = Change::default();
        let mut before: BTreeMap<Element, Option<String>> = BTreeMap::new();
        for (key, new) in parts {
            let old = match new.clone() {
                Some(new) => self.parts.insert(key.clone(), new),
                None => self.parts.remove(&key),
            }
            .unwrap_or_default();
            let new = new.unwrap_or_default();
            change.compare(&old, &new);
            for element in old.elements.keys().chain(new.elements.keys()) {
                if !before.contains_key(element) {
                    before.insert(element.clone(), self.winner(element).cloned());
                }
            }
            self.want(&key, &old, &new);
        }
        for (element, before) in before {
            let after = self.winner(&element).cloned();
            if before == after {
                continue;
            }
            if before.is_some() {
                change.delete_elements.push(element.clone());
            }
            if let Some(value) = after {
                change.add_elements.push((element, value));
            }
        }
        change
    }

    /// Everything, as a change of an empty table.
    pub fn whole(&self) -> Change {
        let mut change = Change::default();
        for part in self.parts.values() {
            change.add_sets.extend(part.sets.clone());
            change.new_chains.extend(part.chains.clone());
        }
        change.add_elements = self
            .wanted
            .iter()
            .filter_map(|(element, by)| Some((element.clone(), by.values().next()?.clone())))
            .collect();
        change
    }

    /// The services that have a part.
    pub fn services(&self) -> impl Iterator<Item = &Key> {
        self.parts.keys()
    }

    fn winner(&self, element: &Element) -> Option<&String> {
        self.wanted.get(element)?.values().next()
    }

    fn want(&mut self, key: &Key, old: &Part, new: &Part) {
        for element in old.elements.keys().filter(|element| !new.elements.contains_key(element)) {
            if let Some(by) = self.wanted.get_mut(element) {
                by.remove(key);
                if by.is_empty() {
                    self.wanted.remove(element);
                }
            }
        }
        for (element, value) in &new.elements {
            self.wanted.entry(element.clone()).or_default().insert(key.clone(), value.clone());
        }
    }
}

impl Change {
    /// Adds the difference in what belongs to one service alone.
    fn compare(&mut self, old: &Part, new: &Part) {
        for (name, declaration) in new.sets.iter().filter(|(name, _)| !old.sets.contains_key(*name)) {
            self.add_sets.insert(name.clone(), declaration.clone());
        }
        for (name, rules) in &new.chains {
            let changed = match old.chains.get(name) {
                None => &mut self.new_chains,
                Some(held) if held != rules => &mut self.chains,
                Some(_) => continue,
            };
            changed.insert(name.clone(), rules.clone());
        }
        self.delete_chains.extend(old.chains.keys().filter(|name| !new.chains.contains_key(*name)).cloned());
        self.delete_sets.extend(old.sets.keys().filter(|name| !new.sets.contains_key(*name)).cloned());
        let ended = old.udp.difference(&new.udp).filter(|flow| matches!(flow, Flow::Endpoint(_)));
        let begun = new.udp.difference(&old.udp).filter(|flow| matches!(flow, Flow::Service { .. }));
        self.stale_udp.extend(ended.chain(begun).copied());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(key: &str) -> Element {
        Element { container: Container::ServiceIps, key: key.to_owned() }
    }

    fn part(chain: &str, rule: &str, key: &str) -> Part {
        Part {
            chains: [(chain.to_owned(), vec![rule.to_owned()])].into(),
            elements: [(element(key), format!("goto {chain}"))].into(),
            ..Part::default()
        }
    }

    fn apply(rules: &mut Rules, service: &str, part: Option<Part>) -> Change {
        rules.apply([(Key::new("default", service), part)].into())
    }

    #[test]
    fn a_change_of_one_service_names_nothing_else() {
        let mut rules = Rules::default();
        for n in 0..1000 {
            apply(&mut rules, &format!("s{n}"), Some(part(&format!("c{n}"), "drop", &format!("k{n}"))));
        }
        let change = apply(&mut rules, "s500", Some(part("c500", "accept", "k500")));
        assert_eq!(
            change,
            Change { chains: [("c500".into(), vec!["accept".into()])].into(), ..Change::default() }
        );
        assert!(apply(&mut rules, "s500", Some(part("c500", "accept", "k500"))).is_empty());
        let gone = apply(&mut rules, "s500", None);
        assert_eq!(gone.delete_elements, [element("k500")]);
        assert_eq!(gone.delete_chains, ["c500"]);
        assert!(gone.add_elements.is_empty() && gone.chains.is_empty());
        assert_eq!(rules.services().count(), 999);
    }

    #[test]
    fn an_element_two_services_want_passes_on_when_the_first_goes() {
        let mut rules = Rules::default();
        apply(&mut rules, "b", Some(part("cb", "drop", "k")));
        let first = apply(&mut rules, "a", Some(part("ca", "drop", "k")));
        assert_eq!(first.delete_elements, [element("k")]);
        assert_eq!(first.add_elements, [(element("k"), "goto ca".to_owned())]);
        let second = apply(&mut rules, "b", Some(part("cb", "accept", "k")));
        assert!(second.delete_elements.is_empty() && second.add_elements.is_empty());
        let passed = apply(&mut rules, "a", None);
        assert_eq!(passed.add_elements, [(element("k"), "goto cb".to_owned())]);
        assert_eq!(rules.whole().add_elements, [(element("k"), "goto cb".to_owned())]);
    }
}
