//! The declared structure of values: what type an expression over them has, how large they may be, and how the JSON
//! of an object becomes values (`apiserver/pkg/cel/common/schemas.go`, `types.go`).

mod built_in;
mod escape;
mod structural;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use crate::types::Type;

pub use escape::{escape, is_identifier, unescape};

/// The largest request, in bytes: what bounds a size that no schema bounds.
pub const MAX_REQUEST_BYTES: u64 = 3 * 1024 * 1024;

/// The declared structure of a value.
#[derive(Debug, Clone)]
pub struct Shape {
    /// What it is.
    pub form: Form,
    /// Whether `null` is a value of its own.
    pub nullable: bool,
    /// How many characters, bytes, items or entries it may have. Zero for what has no size.
    pub max_elements: u64,
    /// How many bytes its shortest JSON has.
    pub min_size: u64,
}

/// The forms of values.
#[derive(Debug, Clone)]
pub enum Form {
    /// Anything, told by the value itself.
    Dyn,
    /// Kept but not known (`x-kubernetes-preserve-unknown-fields`): equality is all that can be asked.
    Hidden,
    /// A truth.
    Bool,
    /// A whole number.
    Int,
    /// A number.
    Double,
    /// A text.
    String,
    /// Bytes, in base64.
    Bytes,
    /// A point in time, as RFC 3339.
    DateTime,
    /// A day.
    Date,
    /// A span of time.
    Duration,
    /// A number or a text.
    IntOrString,
    /// A type of a library or another that JSON does not hold.
    Other(Type),
    /// A list.
    List {
        /// Of each item.
        items: Arc<Shape>,
        /// How lists are compared and joined.
        kind: ListKind,
    },
    /// Free keys.
    Map(Arc<Shape>),
    /// Known fields.
    Object(Arc<ObjectShape>),
}

/// How lists are compared and joined (`x-kubernetes-list-type`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ListKind {
    /// In order.
    #[default]
    Atomic,
    /// Whatever the order; `+` is a union.
    Set,
    /// By keys; `+` merges.
    Map(Vec<String>),
}

/// An object with known fields.
#[derive(Debug, Clone, Default)]
pub struct ObjectShape {
    /// The name of its type.
    pub name: String,
    /// Its fields by their names in JSON.
    pub fields: BTreeMap<String, FieldShape>,
}

/// A field of an object.
#[derive(Debug, Clone)]
pub struct FieldShape {
    /// What it holds.
    pub shape: Arc<Shape>,
    /// Whether expressions may name it.
    pub exposed: bool,
}

impl ObjectShape {
    /// The field that an expression names so.
    pub fn field(&self, name: &str) -> Option<&Arc<Shape>> {
        let field = self.fields.get(unescape(name)?.as_ref())?;
        field.exposed.then_some(&field.shape)
    }
}

/// The shape of a value of which nothing is declared.
pub static DYN: LazyLock<Arc<Shape>> = LazyLock::new(|| Arc::new(Shape::new(Form::Dyn, 0, 1)));

impl Shape {
    /// A shape of this form and these sizes.
    pub fn new(form: Form, max_elements: u64, min_size: u64) -> Self {
        Self { form, nullable: false, max_elements, min_size }
    }

    /// An object type that is made for expressions, such as `request`: field by field.
    pub fn object(name: &str, fields: impl IntoIterator<Item = (&'static str, Arc<Shape>)>) -> Arc<Self> {
        let fields =
            fields.into_iter().map(|(field, shape)| (field.to_owned(), FieldShape { shape, exposed: true }));
        let object = ObjectShape { name: name.into(), fields: fields.collect() };
        Arc::new(Self::new(Form::Object(Arc::new(object)), 0, 2))
    }

    /// A shape of a type alone, sizes unknown.
    pub fn of_type(of: &Type) -> Arc<Self> {
        let form = match of {
            Type::Dyn => Form::Dyn,
            Type::Bool => Form::Bool,
            Type::Int => Form::Int,
            Type::Double => Form::Double,
            Type::String => Form::String,
            Type::Bytes => Form::Bytes,
            Type::List(items) => Form::List { items: Self::of_type(items), kind: ListKind::Atomic },
            Type::Map(entry) if matches!(entry.0, Type::String) => Form::Map(Self::of_type(&entry.1)),
            Type::Object(object) => Form::Object(Arc::clone(object)),
            other => Form::Other(other.clone()),
        };
        Arc::new(Self::new(form, 0, 1))
    }

    /// The type of such a value.
    pub fn cel_type(&self) -> Type {
        match &self.form {
            Form::Dyn | Form::Hidden | Form::IntOrString => Type::Dyn,
            Form::Bool => Type::Bool,
            Form::Int => Type::Int,
            Form::Double => Type::Double,
            Form::String => Type::String,
            Form::Bytes => Type::Bytes,
            Form::DateTime | Form::Date => Type::Timestamp,
            Form::Duration => Type::Duration,
            Form::Other(of) => of.clone(),
            Form::List { items, .. } => Type::list(items.cel_type()),
            Form::Map(values) => Type::map(Type::String, values.cel_type()),
            Form::Object(object) => Type::Object(Arc::clone(object)),
        }
    }

    /// How often such a value may stand in one request, if nothing bounds the lists and maps around it.
    pub fn max_cardinality(&self) -> u64 {
        MAX_REQUEST_BYTES / (self.min_size + 1)
    }
}
