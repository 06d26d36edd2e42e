//! The signatures of all functions, read from `functions.txt`.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::types::Type;

/// One way to call a function.
#[derive(Debug)]
pub struct Overload {
    /// Its name in cel-go; costs depend on it.
    pub id: &'static str,
    /// Whether it is called on its first argument.
    pub member: bool,
    /// The types of the arguments, the receiver first. Parameters are numbered from zero.
    pub args: Vec<Type>,
    /// The type of the result.
    pub result: Type,
    /// How many parameters there are.
    pub parameters: u32,
}

const TABLE: &str = include_str!("functions.txt");

/// The types that have names of their own in the language.
const OPAQUE: &[&str] = &[
    "kubernetes.URL",
    "kubernetes.Quantity",
    "net.IP",
    "net.CIDR",
    "kubernetes.NamedFormat",
    "kubernetes.Semver",
    "kubernetes.authorization.Authorizer",
    "kubernetes.authorization.PathCheck",
    "kubernetes.authorization.GroupCheck",
    "kubernetes.authorization.ResourceCheck",
    "kubernetes.authorization.Decision",
];

/// All functions by name.
pub static FUNCTIONS: LazyLock<HashMap<&'static str, Vec<Overload>>> = LazyLock::new(|| {
    let mut functions: HashMap<&str, Vec<Overload>> = HashMap::new();
    for line in TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let words: Vec<&'static str> = line.split(' ').collect();
        let arrow =
            words.iter().position(|word| *word == "->").expect("every line of the table has an arrow");
        let mut parameters = Vec::new();
        let args = words[3..arrow].iter().map(|word| read(word, &mut parameters)).collect();
        let result = read(words[arrow + 1], &mut parameters);
        let parameters = u32::try_from(parameters.len()).expect("a signature has few parameters");
        let overload = Overload { id: words[1], member: words[2] == ".", args, result, parameters };
        functions.entry(words[0]).or_default().push(overload);
    }
    functions
});

/// The type of a library by its name.
pub fn opaque(name: &str) -> Option<Type> {
    OPAQUE.iter().find(|known| **known == name).map(|name| Type::Opaque(name))
}

fn read(text: &'static str, parameters: &mut Vec<&'static str>) -> Type {
    let inner = |open: &str| text.strip_prefix(open).and_then(|rest| rest.strip_suffix(')'));
    if let Some(of) = inner("list(") {
        return Type::list(read(of, parameters));
    }
    if let Some(of) = inner("optional(") {
        return Type::optional(read(of, parameters));
    }
    if let Some(of) = inner("type(") {
        return Type::Type(std::sync::Arc::new(read(of, parameters)));
    }
    if let Some((key, value)) = inner("map(").and_then(|of| of.split_once(',')) {
        return Type::map(read(key, parameters), read(value, parameters));
    }
    match text {
        "dyn" => Type::Dyn,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "timestamp" => Type::Timestamp,
        "duration" => Type::Duration,
        other => opaque(other).unwrap_or_else(|| {
            let place = parameters.iter().position(|known| *known == other).unwrap_or_else(|| {
                parameters.push(other);
                parameters.len() - 1
            });
            Type::Param(u32::try_from(place).expect("a signature has few parameters"))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::FUNCTIONS;

    #[test]
    fn no_two_overloads_have_one_name() {
        let mut ids: Vec<&str> = FUNCTIONS.values().flatten().map(|overload| overload.id).collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert!(all > 250, "the table is read: {all}");
        assert_eq!(ids.len(), all);
    }
}
