//! Sets of fields, as sorted trees.
//!
//! A field is in the set when its node is a member. Members above a member are not implied. Every
//! operation is one pass over two sorted lists at each level.

use std::cmp::Ordering;

use super::element::{self, Element};

/// A set of fields of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Set {
    nodes: Vec<Node>,
}

/// One field: in the set itself, or the way to such, or both. Never neither.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The last step of its path.
    pub element: Element,
    /// Whether it is in the set itself.
    pub member: bool,
    /// What is in the set below it.
    pub below: Set,
}

impl Set {
    /// The empty set.
    pub const EMPTY: Self = Self { nodes: Vec::new() };

    /// A set of these paths, each of field names.
    pub fn of_fields(paths: &[&[&str]]) -> Self {
        let mut set = Self::default();
        for path in paths {
            set.insert(&path.iter().map(|name| Element::field(name)).collect::<Vec<_>>());
        }
        set
    }

    /// The nodes of the first level, in order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// How many fields are in it.
    pub fn len(&self) -> usize {
        self.nodes.iter().map(|node| usize::from(node.member) + node.below.len()).sum()
    }

    fn find(&self, element: &Element) -> Result<usize, usize> {
        // What is read or walked in order is added at the end.
        match self.nodes.last().map(|last| last.element.cmp(element)) {
            None | Some(Ordering::Less) => Err(self.nodes.len()),
            Some(_) => self.nodes.binary_search_by(|node| node.element.cmp(element)),
        }
    }

    /// The node of that element.
    pub fn get(&self, element: &Element) -> Option<&Node> {
        self.find(element).ok().map(|at| &self.nodes[at])
    }

    /// What is in the set below that element.
    pub fn below(&self, element: &Element) -> &Self {
        static NOTHING: Set = Set::EMPTY;
        self.get(element).map_or(&NOTHING, |node| &node.below)
    }

    /// Adds to the node of that element; a node that would be in no set is not made.
    pub fn add(&mut self, element: Element, member: bool, below: Self) {
        if !member && below.is_empty() {
            return;
        }
        match self.find(&element) {
            Ok(at) => {
                let node = &mut self.nodes[at];
                node.member |= member;
                node.below = if node.below.is_empty() { below } else { node.below.union(&below) };
            }
            Err(at) => self.nodes.insert(at, Node { element, member, below }),
        }
    }

    /// Adds a path. The empty path is no field.
    pub fn insert(&mut self, path: &[Element]) {
        if let Some((first, rest)) = path.split_first() {
            let mut below = Self::default();
            below.insert(rest);
            self.add(first.clone(), rest.is_empty(), below);
        }
    }

    /// Whether a path is in it.
    pub fn has(&self, path: &[Element]) -> bool {
        match path {
            [] => false,
            [last] => self.get(last).is_some_and(|node| node.member),
            [first, rest @ ..] => self.below(first).has(rest),
        }
    }

    /// What is in either.
    pub fn union(&self, other: &Self) -> Self {
        let mut nodes = Vec::with_capacity(self.nodes.len().max(other.nodes.len()));
        for pair in Pairs::of(self, other) {
            nodes.push(match pair {
                (Some(a), Some(b)) => {
                    let below = a.below.union(&b.below);
                    Node { element: a.element.clone(), member: a.member || b.member, below }
                }
                (Some(one), None) | (None, Some(one)) => one.clone(),
                (None, None) => continue,
            });
        }
        Self { nodes }
    }

    /// What is in both.
    pub fn intersection(&self, other: &Self) -> Self {
        let mut out = Self::default();
        for pair in Pairs::of(self, other) {
            if let (Some(a), Some(b)) = pair {
                out.push(&a.element, a.member && b.member, a.below.intersection(&b.below));
            }
        }
        out
    }

    /// What is in this one and not in the other. A parent does not stand for its children.
    pub fn difference(&self, other: &Self) -> Self {
        let mut out = Self::default();
        for pair in Pairs::of(self, other) {
            match pair {
                (Some(a), Some(b)) => {
                    out.push(&a.element, a.member && !b.member, a.below.difference(&b.below));
                }
                (Some(a), None) => out.nodes.push(a.clone()),
                _ => {}
            }
        }
        out
    }

    /// What is in this one, neither in the other nor below anything in it.
    pub fn without(&self, other: &Self) -> Self {
        let mut out = Self::default();
        for pair in Pairs::of(self, other) {
            match pair {
                (Some(a), Some(b)) if !b.member => {
                    out.push(&a.element, a.member, a.below.without(&b.below));
                }
                (Some(a), None) => out.nodes.push(a.clone()),
                _ => {}
            }
        }
        out
    }

    /// Only what a pattern matches, or what is below it.
    pub fn matching(&self, pattern: &Pattern) -> Self {
        let mut out = Self::default();
        for node in &self.nodes {
            let Some((_, below)) = pattern.0.iter().find(|(step, _)| step.matches(&node.element)) else {
                continue;
            };
            match below {
                None => out.nodes.push(node.clone()),
                Some(below) => out.push(&node.element, node.member, node.below.matching(below)),
            }
        }
        out
    }

    /// The members with nothing below them.
    pub fn leaves(&self) -> Self {
        let mut out = Self::default();
        for node in &self.nodes {
            out.push(&node.element, node.member && node.below.is_empty(), node.below.leaves());
        }
        out
    }

    fn push(&mut self, element: &Element, member: bool, below: Self) {
        if member || !below.is_empty() {
            self.nodes.push(Node { element: element.clone(), member, below });
        }
    }

    /// Changes every node of the first level in place; nodes that end up in no set go.
    pub(super) fn for_each_node(&mut self, mut change: impl FnMut(&mut Node)) {
        self.nodes.iter_mut().for_each(&mut change);
        self.nodes.retain(|node| node.member || !node.below.is_empty());
    }

    /// Every path in it: at each level first the members, then what is below.
    pub fn paths(&self) -> Vec<Vec<Element>> {
        let mut out = Vec::new();
        self.collect(&mut Vec::new(), &mut out);
        out
    }

    fn collect(&self, prefix: &mut Vec<Element>, out: &mut Vec<Vec<Element>>) {
        for node in self.nodes.iter().filter(|node| node.member) {
            let mut path = prefix.clone();
            path.push(node.element.clone());
            out.push(path);
        }
        for node in &self.nodes {
            prefix.push(node.element.clone());
            node.below.collect(prefix, out);
            prefix.pop();
        }
    }
}

/// One path a line.
impl std::fmt::Display for Set {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lines: Vec<String> = self.paths().iter().map(|path| element::text(path)).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// Paths with wildcards: each step, with what follows it; nothing stands for all below.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pattern(Vec<(Step, Option<Pattern>)>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Any,
    Element(Element),
}

impl Step {
    fn matches(&self, element: &Element) -> bool {
        match self {
            Self::Any => true,
            Self::Element(own) => own == element,
        }
    }
}

impl Pattern {
    /// Of paths of field names, where `*` stands for any one step.
    pub fn of_fields(paths: &[&[&str]]) -> Self {
        let mut pattern = Self::default();
        for path in paths {
            pattern.insert(path);
        }
        pattern
    }

    fn insert(&mut self, path: &[&str]) {
        let Some((first, rest)) = path.split_first() else { return };
        let step = if *first == "*" { Step::Any } else { Step::Element(Element::field(first)) };
        let at = self.0.iter().position(|(known, _)| *known == step).unwrap_or_else(|| {
            self.0.push((step, (!rest.is_empty()).then(Self::default)));
            self.0.len() - 1
        });
        if let Some(below) = &mut self.0[at].1 {
            below.insert(rest);
        }
    }
}

/// Walks two sorted lists side by side.
struct Pairs<'a> {
    left: &'a [Node],
    right: &'a [Node],
}

impl<'a> Pairs<'a> {
    fn of(left: &'a Set, right: &'a Set) -> Self {
        Self { left: &left.nodes, right: &right.nodes }
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (Option<&'a Node>, Option<&'a Node>);

    fn next(&mut self) -> Option<Self::Item> {
        let order = match (self.left.first(), self.right.first()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.element.cmp(&b.element),
        };
        let mut left = None;
        let mut right = None;
        if order.is_le() {
            left = self.left.first();
            self.left = &self.left[1..];
        }
        if order.is_ge() {
            right = self.right.first();
            self.right = &self.right[1..];
        }
        Some((left, right))
    }
}
