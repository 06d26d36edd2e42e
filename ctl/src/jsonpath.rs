//! kubectl's JSONPath dialect: a template of text and `{…}` parts, with `range`, filters, unions and slices.
//!
//! Pure: a [`Template`] is parsed once and evaluated against JSON values. Upstream: `client-go/util/jsonpath`.

mod eval;
mod parse;

pub use parse::relaxed;

use serde_json::Value;

/// A parsed template.
#[derive(Debug, Clone, PartialEq)]
pub struct Template(pub(crate) Vec<Part>);

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Part {
    /// Text outside braces, or a quoted string inside.
    Text(String),
    /// A path whose results are printed, a blank between them.
    Path(Path),
    /// `{range …}` to `{end}`.
    Range(Path, Vec<Part>),
}

/// Steps from a value to values.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Path {
    /// Whether it starts at the root (`$`) even inside a range.
    pub(crate) root: bool,
    pub(crate) steps: Vec<Step>,
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// `.name` or `['name']`
    Field(String),
    /// `.*` or `[*]`
    Wildcard,
    /// `..`
    Recursive,
    /// `[3]` or `[-1]`
    Index(i64),
    /// `[from:to:step]`
    Slice(Option<i64>, Option<i64>, i64),
    /// `[a,b]`
    Union(Vec<Step>),
    /// `[?(left op right)]`
    Filter(Operand, Option<(Operator, Operand)>),
}

/// A side of a filter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operand {
    Path(Path),
    Literal(Value),
}

/// How a filter compares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Template {
    /// Parses a template; the error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        parse::template(text)
    }

    /// The printed result.
    pub fn render(&self, value: &Value) -> Result<String, String> {
        eval::render(self, value)
    }

    /// The values that the template's paths reach, in order.
    pub fn find<'a>(&self, value: &'a Value) -> Result<Vec<&'a Value>, String> {
        eval::find(self, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn data() -> Value {
        json!({
            "kind": "List", "n": 3, "yes": true, "none": null,
            "items": [
                {"metadata": {"name": "a", "labels": {"app.kubernetes.io/name": "x"}}, "v": 1, "ready": true},
                {"metadata": {"name": "b", "labels": {}}, "v": 2.5, "ready": false},
                {"metadata": {"name": "c"}, "v": 10}
            ],
            "users": [
                {"name": "me", "pw": "p1", "tags": ["t1", "t2"]},
                {"name": "you", "pw": "p2", "tags": ["t3"]}
            ]
        })
    }

    #[test]
    fn templates_render_as_kubectl_renders_them() {
        let cases = [
            (".kind", ".kind"),
            ("{.kind}", "List"),
            ("{$.kind}", "List"),
            ("{kind}", "List"),
            ("x{.n}y", "x3y"),
            ("{.yes}", "true"),
            ("{.none}", ""),
            ("{.missing}", ""),
            ("{.missing.deeper}", ""),
            ("{.items[0].metadata.name}", "a"),
            ("{.items[-1].metadata.name}", "c"),
            ("{.items[*].metadata.name}", "a b c"),
            ("{.items.*.metadata.name}", "a b c"),
            ("{.items[0:2].metadata.name}", "a b"),
            ("{.items[1:].metadata.name}", "b c"),
            ("{.items[::2].metadata.name}", "a c"),
            ("{.items[0,2].metadata.name}", "a c"),
            ("{.items[-2:].metadata.name}", "b c"),
            ("{.items[0].metadata.labels.app\\.kubernetes\\.io/name}", "x"),
            ("{.items[0].metadata.labels['app\\.kubernetes\\.io/name']}", "x"),
            ("{.items[0].metadata.labels}", r#"{"app.kubernetes.io/name":"x"}"#),
            ("{['kind','n']}", "List 3"),
            ("{.users[*]['name','pw']}", "me you p1 p2"),
            ("{..name}", "a b c me you"),
            ("{.users..tags[0]}", "t1 t3"),
            ("{range .items[*]}{.metadata.name}{\"\\t\"}{.v}{\"\\n\"}{end}", "a\t1\nb\t2.5\nc\t10\n"),
            ("{range .users[*]}{.name}:{range .tags[*]}{@},{end};{end}", "me:t1,t2,;you:t3,;"),
            ("{.items[?(@.metadata.name==\"b\")].v}", "2.5"),
            ("{.items[?(@.metadata.name=='b')].v}", "2.5"),
            ("{.items[?(@.metadata.name!=\"b\")].v}", "1 10"),
            ("{.items[?(@.v>2)].metadata.name}", "b c"),
            ("{.items[?(@.v >= 2.5)].metadata.name}", "b c"),
            ("{.items[?(@.v<2)].metadata.name}", "a"),
            ("{.items[?(@.ready)].metadata.name}", "a b"),
            ("{.items[?(@.ready==true)].metadata.name}", "a"),
            ("{.users[?(@.name=='me')].tags}", r#"["t1","t2"]"#),
            ("{\"{\"}", "{"),
            ("{.kind} {.n}", "List 3"),
            ("{@.n}", "3"),
        ];
        for (template, want) in cases {
            let got = Template::parse(template).and_then(|parsed| parsed.render(&data()));
            assert_eq!(got.as_deref(), Ok(want), "{template}");
        }
    }

    #[test]
    fn a_broken_template_says_what_is_wrong() {
        let cases = [
            ("{.a", "unclosed action"),
            ("{range .a}x", "unterminated range"),
            ("{end}", "not in range"),
            ("{.a[}", "unterminated array"),
            ("{.a[?(@.b=='1']}", "unterminated filter"),
            ("{.a[?(@.b==1x)]}", "unrecognized value"),
            ("{\"x}", "unterminated quoted string"),
            ("{.a[x:y]}", "invalid array index"),
        ];
        for (template, want) in cases {
            let error = Template::parse(template).expect_err(template);
            assert!(error.contains(want), "{template}: {error}");
        }
        let error = Template::parse("{.items[7]}")
            .and_then(|parsed| parsed.render(&data()))
            .expect_err("out of bounds");
        assert_eq!(error, "array index out of bounds: index 7, length 3");
    }

    #[test]
    fn columns_accept_paths_in_every_clothing() {
        for text in [".kind", "kind", "{.kind}", "{kind}"] {
            let parsed = relaxed(text).expect("valid");
            assert_eq!(parsed.find(&data()), Ok(vec![&json!("List")]), "{text}");
        }
    }
}
