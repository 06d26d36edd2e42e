//! What points at a node, so that definitions are shared and may reach themselves.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use super::{Node, definition};

/// A node of a schema: the node, or the name of a built-in definition, which is how one that
/// reaches itself ends. Cheap to clone; who walks it sees a [`Node`] either way.
#[derive(Clone, PartialEq)]
pub struct Schema(Pointer);

#[derive(Clone, PartialEq)]
enum Pointer {
    Node(Arc<Node>),
    Named(Arc<str>),
}

impl Schema {
    /// A node of its own.
    pub fn new(node: Node) -> Self {
        Self(Pointer::Node(Arc::new(node)))
    }

    /// The built-in definition of that name, looked up when it is first followed.
    pub(super) fn named(name: &str) -> Self {
        Self(Pointer::Named(name.into()))
    }

    /// Whether it names a definition instead of holding a node.
    pub(super) fn is_named(&self) -> bool {
        matches!(self.0, Pointer::Named(_))
    }

    /// Whether both are the same node, not merely equal.
    pub fn same(&self, other: &Self) -> bool {
        std::ptr::eq::<Node>(&**self, &**other)
    }
}

impl Default for Schema {
    fn default() -> Self {
        Self::new(Node::default())
    }
}

impl Deref for Schema {
    type Target = Node;

    fn deref(&self) -> &Node {
        static ANY: LazyLock<Node> = LazyLock::new(Node::default);
        match &self.0 {
            Pointer::Node(node) => node,
            Pointer::Named(name) => definition(name).map_or(&*ANY, |schema| &**schema),
        }
    }
}

/// A name is shown as a name: what it stands for has no end.
impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Pointer::Node(node) => node.fmt(f),
            Pointer::Named(name) => write!(f, "Named({name:?})"),
        }
    }
}
