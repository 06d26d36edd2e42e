//! What an expression may use, and the way from a text to a program.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::check::{self, Checked};
use crate::error::{CompileErrors, Mistake};
use crate::library::declarations::opaque;
use crate::parse;
use crate::program::Program;
use crate::shape::{ObjectShape, Shape};
use crate::types::Type;

/// Variables and types that expressions may use. Cheap to clone and to extend.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    pub(crate) variables: BTreeMap<String, Variable>,
    pub(crate) types: BTreeMap<String, Arc<ObjectShape>>,
    pub(crate) patches: bool,
    pub(crate) options: Options,
}

/// A declared variable.
#[derive(Debug, Clone)]
pub(crate) struct Variable {
    pub ty: Type,
    pub shape: Arc<Shape>,
}

/// How an environment departs from the usual.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Whether constants are evaluated each time, as cel-go does without its optimizer. Costs differ by it.
    pub unoptimized: bool,
    /// Whether the literals of lists and maps may mix types, as cel-go allows where it is not told otherwise.
    pub mixed_literals: bool,
}

impl Environment {
    /// With the libraries of v1.36 and no variables.
    pub fn new() -> Self {
        Self::default()
    }

    /// With other options.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Declares a variable with this structure.
    #[must_use]
    pub fn variable(mut self, name: &str, shape: Arc<Shape>) -> Self {
        self.variables.insert(name.into(), Variable { ty: shape.cel_type(), shape });
        self
    }

    /// Declares a variable of a type; nothing is known of its sizes.
    #[must_use]
    pub fn typed(mut self, name: &str, ty: Type) -> Self {
        let shape = Shape::of_type(&ty);
        self.variables.insert(name.into(), Variable { ty, shape });
        self
    }

    /// Declares a variable that is an optional of this structure (`oldSelf` with `optionalOldSelf`).
    #[must_use]
    pub fn optional(mut self, name: &str, shape: Arc<Shape>) -> Self {
        self.variables.insert(name.into(), Variable { ty: Type::optional(shape.cel_type()), shape });
        self
    }

    /// Declares `authorizer`: [`crate::Authorizer`] answers it.
    #[must_use]
    pub fn authorizer(self, name: &str) -> Self {
        self.typed(name, opaque("kubernetes.authorization.Authorizer").unwrap_or(Type::Dyn))
    }

    /// Declares `authorizer.requestResource` or another check of a resource that is there already.
    #[must_use]
    pub fn resource_check(self, name: &str) -> Self {
        self.typed(name, opaque("kubernetes.authorization.ResourceCheck").unwrap_or(Type::Dyn))
    }

    /// Lets expressions make objects of this type and of all below: `Object{spec: Object.spec{replicas: 3}}`. The
    /// types are named by their place, the root by the name of the shape; a field whose structure is not known takes
    /// any map.
    #[must_use]
    pub fn object_type(mut self, shape: &Shape) -> Self {
        add_types(&mut self.types, shape);
        self
    }

    /// Lets expressions make `Object{…}` with any fields, whatever their names, as MutatingAdmissionPolicies do:
    /// `Object.spec.template` is a type too.
    #[must_use]
    pub fn any_object_type(mut self) -> Self {
        self.types.insert(
            "Object".into(),
            Arc::new(ObjectShape { name: "Object".into(), ..ObjectShape::default() }),
        );
        self
    }

    /// Lets expressions make `JSONPatch{op: …, path: …}` and call `jsonpatch.escapeKey`.
    #[must_use]
    pub fn json_patches(mut self) -> Self {
        self.patches = true;
        let text = || Arc::new(Shape::new(crate::shape::Form::String, 0, 2));
        let fields =
            [("op", text()), ("path", text()), ("from", text()), ("value", Arc::clone(&crate::shape::DYN))];
        let shape = Shape::object("JSONPatch", fields);
        self.object_type(&shape)
    }

    /// Compiles an expression whose result may have any type.
    pub fn compile(&self, source: &str) -> Result<Program, CompileErrors> {
        let parsed = parse::parse(source)?;
        let checked: Checked = check::check(self, source, parsed)?;
        Program::new(self, source, checked)
    }

    /// Compiles an expression whose result must have this type; `otherwise` is told of any other, at the beginning.
    pub fn compile_to(
        &self,
        source: &str,
        expected: &Type,
        otherwise: &str,
    ) -> Result<Program, CompileErrors> {
        let program = self.compile(source)?;
        if program.result_type().is(expected) {
            return Ok(program);
        }
        Err(CompileErrors::new(source, vec![Mistake { offset: 0, message: otherwise.into() }]))
    }
}

fn add_types(types: &mut BTreeMap<String, Arc<ObjectShape>>, shape: &Shape) {
    use crate::shape::Form;
    match &shape.form {
        Form::Object(object) if types.insert(object.name.clone(), Arc::clone(object)).is_none() => {
            for field in object.fields.values() {
                add_types(types, &field.shape);
            }
        }
        Form::List { items, .. } => add_types(types, items),
        Form::Map(values) => add_types(types, values),
        _ => {}
    }
}
