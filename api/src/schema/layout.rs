//! The fields of an object in the order of protobuf, with the messages that JSON inlines.

use std::collections::BTreeMap;

use super::Field;

/// A message's fields by number, ascending.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Layout(Vec<(u32, Slot)>);

/// What stands at a number.
#[derive(Debug, Clone, PartialEq)]
pub enum Slot {
    /// A field of the object.
    Field(String, Field),
    /// A message whose fields JSON shows as if they were the object's own.
    Inlined(Layout),
}

impl Layout {
    pub(super) fn of(known: &BTreeMap<String, Field>) -> Self {
        let mut layout = Self::default();
        for (name, field) in known {
            layout.add(&field.number, name, field);
        }
        layout
    }

    fn add(&mut self, path: &[u32], name: &str, field: &Field) {
        let Some((&number, rest)) = path.split_first() else { return };
        let place = self.0.partition_point(|(at, _)| *at < number);
        if rest.is_empty() {
            self.0.insert(place, (number, Slot::Field(name.into(), field.clone())));
            return;
        }
        if self.0.get(place).is_none_or(|(at, _)| *at != number) {
            self.0.insert(place, (number, Slot::Inlined(Self::default())));
        }
        if let (_, Slot::Inlined(inner)) = &mut self.0[place] {
            inner.add(rest, name, field);
        }
    }

    /// What stands at that number.
    pub fn get(&self, number: u32) -> Option<&Slot> {
        let place = self.0.binary_search_by_key(&number, |(at, _)| *at).ok()?;
        Some(&self.0[place].1)
    }

    /// All slots, by number.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u32, &Slot)> {
        self.0.iter().map(|(number, slot)| (*number, slot))
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Shape, definition};
    use super::*;

    fn numbers(layout: &Layout) -> Vec<u32> {
        layout.iter().map(|(number, _)| number).collect()
    }

    #[test]
    fn inlined_messages_are_layouts_within_layouts() {
        let Shape::Object(rule) =
            &definition("io.k8s.api.admissionregistration.v1.NamedRuleWithOperations").unwrap().shape
        else {
            panic!("an object")
        };
        assert_eq!(numbers(rule.layout()), [1, 2]);
        let Some(Slot::Inlined(operations)) = rule.layout().get(2) else { panic!("inlined") };
        assert_eq!(numbers(operations), [1, 2]);
        let Some(Slot::Inlined(rule)) = operations.get(2) else { panic!("inlined") };
        assert!(matches!(rule.get(1), Some(Slot::Field(name, _)) if name == "apiGroups"));
    }
}
