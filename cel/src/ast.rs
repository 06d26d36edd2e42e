//! The tree of an expression, macros expanded, as cel-go's `common/ast` has it.
//!
//! Every node has a number; positions, types and the overloads that the checker chose are kept beside the tree by
//! that number.

/// The number of a node.
pub type Id = usize;

/// A node.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// Its number.
    pub id: Id,
    /// What it is.
    pub kind: Kind,
}

/// The kinds of nodes.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A constant.
    Literal(Literal),
    /// A name.
    Ident(String),
    /// `operand.field`, or its presence (`has`).
    Select {
        /// Of what.
        operand: Box<Expr>,
        /// Which field.
        field: String,
        /// Whether only its presence is asked for.
        test: bool,
    },
    /// A function, an operator (`_+_`) or a method.
    Call {
        /// The receiver of a method.
        target: Option<Box<Expr>>,
        /// The function's name.
        function: String,
        /// Its arguments without the receiver.
        args: Vec<Expr>,
    },
    /// `[a, ?b]`.
    List(Vec<Element>),
    /// `{k: v, ?k: v}`.
    Map(Vec<Entry>),
    /// `Name{field: value}`.
    Struct {
        /// The type's name.
        name: String,
        /// The fields.
        fields: Vec<FieldInit>,
    },
    /// What a macro over a list or a map became.
    Comprehension(Box<Comprehension>),
}

/// A constant.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    /// `null`.
    Null,
    /// `true`.
    Bool(bool),
    /// `1`.
    Int(i64),
    /// `1u`.
    Uint(u64),
    /// `1.0`.
    Double(f64),
    /// `'text'`.
    String(String),
    /// `b'bytes'`.
    Bytes(Vec<u8>),
}

/// An item of a list literal.
#[derive(Debug, Clone, PartialEq)]
pub struct Element {
    /// Its value.
    pub value: Expr,
    /// Whether it is an optional that is left out when empty.
    pub optional: bool,
}

/// An entry of a map literal.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The number of the entry.
    pub id: Id,
    /// Its key.
    pub key: Expr,
    /// Its value.
    pub value: Expr,
    /// Whether the value is an optional that is left out when empty.
    pub optional: bool,
}

/// A field of a struct literal.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldInit {
    /// The number of the field.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Expr,
    /// Whether the value is an optional that is left out when empty.
    pub optional: bool,
}

/// A fold over a list or a map.
#[derive(Debug, Clone, PartialEq)]
pub struct Comprehension {
    /// What is walked over.
    pub range: Expr,
    /// The variable of an item, a key, or (with two) an index.
    pub variable: String,
    /// The second variable: the item, or the value of a map.
    pub second: Option<String>,
    /// The variable of what is gathered.
    pub accumulator: String,
    /// Its first value.
    pub init: Expr,
    /// Whether to go on.
    pub condition: Expr,
    /// The next value of the accumulator.
    pub step: Expr,
    /// The result.
    pub result: Expr,
}

/// The accumulator of every macro.
pub const ACCUMULATOR: &str = "@result";
/// The name by which an expression might try to reach it.
pub const OLD_ACCUMULATOR: &str = "__result__";

/// Goes one deeper into a tree, on more stack if there is little left.
pub fn deeper<R>(step: impl FnOnce() -> R) -> R {
    stacker::maybe_grow(128 * 1024, 1024 * 1024, step)
}

impl Expr {
    /// `a.b.c` as one name, if the node is nothing but names and selections.
    pub fn qualified_name(&self) -> Option<String> {
        match &self.kind {
            Kind::Ident(name) => Some(name.clone()),
            Kind::Select { operand, field, test: false } => {
                Some(format!("{}.{field}", operand.qualified_name()?))
            }
            _ => None,
        }
    }

    /// Whether a comprehension only names a value (`cel.bind`): an empty range that is never walked.
    pub fn is_bind(comprehension: &Comprehension) -> bool {
        matches!(&comprehension.range.kind, Kind::List(items) if items.is_empty())
            && comprehension.condition.kind == Kind::Literal(Literal::Bool(false))
            && comprehension.accumulator != OLD_ACCUMULATOR
    }

    /// The nodes directly below.
    pub fn children(&self) -> Vec<&Expr> {
        match &self.kind {
            Kind::Literal(_) | Kind::Ident(_) => Vec::new(),
            Kind::Select { operand, .. } => vec![operand],
            Kind::Call { target, args, .. } => target.iter().map(AsRef::as_ref).chain(args).collect(),
            Kind::List(items) => items.iter().map(|item| &item.value).collect(),
            Kind::Map(entries) => entries.iter().flat_map(|entry| [&entry.key, &entry.value]).collect(),
            Kind::Struct { fields, .. } => fields.iter().map(|field| &field.value).collect(),
            Kind::Comprehension(fold) => {
                vec![&fold.range, &fold.init, &fold.condition, &fold.step, &fold.result]
            }
        }
    }
}
