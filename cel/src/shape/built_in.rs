//! Shapes of the schemas of built-in kinds, for expressions that are checked against them.

use std::sync::Arc;

use skiff_api::schema::{self, Node};

use super::{FieldShape, Form, ListKind, MAX_REQUEST_BYTES, ObjectShape, Shape, escape};

impl Shape {
    /// The shape of a schema of [`skiff_api`]. Definitions that hold themselves are `dyn` where they begin again.
    ///
    /// `name` is the name of the type of the whole; what lies below is named by its path.
    pub fn of_schema(schema: &schema::Schema, name: &str) -> Arc<Shape> {
        of(schema, name, &mut Vec::new())
    }
}

fn of<'a>(node: &'a Node, name: &str, above: &mut Vec<&'a str>) -> Arc<Shape> {
    let repeated = !node.definition.is_empty() && above.contains(&node.definition.as_str());
    if repeated {
        return Arc::clone(&super::DYN);
    }
    above.push(&node.definition);
    let text = MAX_REQUEST_BYTES - 2;
    let mut shape = match &node.shape {
        schema::Shape::Any | schema::Shape::Either(_) => Shape::new(Form::Dyn, 0, 1),
        schema::Shape::Object(fields) => {
            let known = fields.known.iter().map(|(field, of_field)| {
                let escaped = escape(field);
                let type_name = format!("{name}.{}", escaped.as_deref().unwrap_or(field));
                let exposed = escaped.is_some();
                (field.clone(), FieldShape { shape: of(&of_field.schema, &type_name, above), exposed })
            });
            let object = ObjectShape { name: name.into(), fields: known.collect() };
            if object.fields.is_empty() {
                Shape::new(Form::Dyn, 0, 1)
            } else {
                Shape::new(Form::Object(Arc::new(object)), 0, 2)
            }
        }
        schema::Shape::Map(values) => {
            let values = of(values, &format!("{name}.@elem"), above);
            let max = (MAX_REQUEST_BYTES - 2) / (values.min_size + 6);
            Shape::new(Form::Map(values), max, 2)
        }
        schema::Shape::List { items, kind } => {
            let items = of(items, &format!("{name}.@idx"), above);
            let kind = match kind {
                schema::ListKind::Atomic => ListKind::Atomic,
                schema::ListKind::Set => ListKind::Set,
                schema::ListKind::Map(keys) => ListKind::Map(keys.clone()),
            };
            let max = (MAX_REQUEST_BYTES - 2) / (items.min_size + 1);
            Shape::new(Form::List { items, kind }, max, 2)
        }
        schema::Shape::String { format, .. } => match format.as_str() {
            "byte" => Shape::new(Form::Bytes, text, 2),
            "date-time" => Shape::new(Form::DateTime, 32, 21),
            "date" => Shape::new(Form::Date, 12, 12),
            "duration" => Shape::new(Form::Duration, 32, 3),
            "int-or-string" => Shape::new(Form::IntOrString, text, 1),
            _ => Shape::new(Form::String, text, 2),
        },
        schema::Shape::Integer { .. } => Shape::new(Form::Int, 0, 1),
        schema::Shape::Number => Shape::new(Form::Double, 0, 1),
        schema::Shape::Boolean => Shape::new(Form::Bool, 0, 4),
        schema::Shape::IntOrString => Shape::new(Form::IntOrString, text, 1),
        schema::Shape::Quantity => Shape::new(Form::String, text, 2),
    };
    shape.nullable = node.nullable;
    above.pop();
    Arc::new(shape)
}
