//! No text makes the compiler or an evaluation panic, or takes the stack with it.

use proptest::prelude::*;
use skiff_cel::{Activation, Budget, Environment, EvaluationError, Shape};

fn environment() -> Environment {
    let schema = serde_json::json!({"type": "object", "properties": {
        "a": {"type": "string"}, "n": {"type": "integer"}, "l": {"type": "array", "items": {"type": "string"}},
        "m": {"type": "object", "additionalProperties": {"type": "integer"}},
    }});
    let shape = Shape::structural(&schema, "selfType", true).expect("objects can be seen");
    Environment::new().variable("self", shape).json_patches().any_object_type()
}

fn try_all(source: &str) {
    let object = serde_json::json!({"a": "text", "n": 3, "l": ["x", "y"], "m": {"k": 1}});
    match environment().compile(source) {
        Err(errors) => assert!(!errors.to_string().is_empty()),
        Ok(program) => {
            let estimate = program.cost_estimate();
            assert!(estimate.min <= estimate.max, "{source}: {estimate:?}");
            let mut activation = Activation::new();
            activation.json("self", &object);
            if let Err(error) = program.evaluate(&activation, &mut Budget::default()) {
                assert!(!error.to_string().is_empty());
            }
        }
    }
}

const WORDS: &[&str] = &[
    "self",
    ".a",
    ".n",
    ".l",
    ".m",
    "[",
    "]",
    "(",
    ")",
    "{",
    "}",
    ",",
    ":",
    "?",
    ".?",
    "[?",
    "1",
    "2u",
    "1.5",
    "'x'",
    "b'y'",
    "true",
    "null",
    " + ",
    " - ",
    " * ",
    " / ",
    " % ",
    " == ",
    " < ",
    " && ",
    " || ",
    "!",
    " in ",
    ".all(x, ",
    ".map(x, ",
    ".filter(x, x",
    ".exists(i, v, ",
    ".sortBy(e, e)",
    ".optMap(o, o)",
    "optional.of(",
    "optional.none()",
    "size(",
    ".matches(",
    "int(",
    "string(",
    "duration('1h')",
    "timestamp('2020-01-01T00:00:00Z')",
    "has(",
    "x",
    ".split('')",
    ".join(',')",
    ".format([",
    "quantity('1')",
    "ip('::1')",
    "cidr('10.0.0.0/8')",
    "semver('1.2.3')",
    "url('http://a')",
    "Object{",
    "spec: ",
    "JSONPatch{",
    "op: ",
    "lists.range(3)",
    ".flatten()",
    ".slice(0, 1)",
    ".reverse()",
    ".distinct()",
    ".sum()",
    ".min()",
    "-",
    "9223372036854775807",
    "type(",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn words_in_any_order_do_no_harm(words in prop::collection::vec(prop::sample::select(WORDS), 1..14)) {
        try_all(&words.concat());
    }

    #[test]
    fn any_text_does_no_harm(text in "\\PC{0,60}") {
        try_all(&text);
    }
}

#[test]
fn depth_and_length_do_no_harm() {
    for source in [
        "(".repeat(100_000),
        "[".repeat(10_000),
        "!".repeat(50_000) + "true",
        "-".repeat(50_000) + "self.n",
        "self.n".to_owned() + &" + 1".repeat(20_000),
        "true".to_owned() + &" && true".repeat(9_000),
        "self".to_owned() + &".a".repeat(20_000),
        "[".repeat(240) + &"]".repeat(240),
        "1".to_owned() + &" + 1".repeat(240),
        "{'a': ".repeat(200) + "1" + &"}".repeat(200),
        "(".repeat(240) + "1" + &")".repeat(240),
        "true ? 1 : ".repeat(240) + "1",
        "[1].map(x, ".repeat(100) + "x" + &")".repeat(100),
        "self.l.all(x, ".repeat(80) + "true" + &")".repeat(80),
        "optional.of(1)".to_owned() + &".optMap(x, x)".repeat(60),
        "'".to_owned() + &"a".repeat(200_000) + "'",
        "'".to_owned() + &"a".repeat(90_000) + "'.replace('', '" + &"b".repeat(5_000) + "')",
        "9".repeat(50_000),
        "lists.range(9223372036854775807)".into(),
        "'x'.matches('(a*)*b{1001}')".into(),
        "'x'.matches('(((((a{1000}){1000}){1000}){1000}){1000})')".into(),
        "'%.999999999999f'.format([1.0])".into(),
        "timestamp('9999-12-31T23:59:59Z') + duration('2562047h')".into(),
        "duration('-2562047h') - duration('2562047h')".into(),
        "-9223372036854775808 / -1".into(),
        "-9223372036854775808 % -1".into(),
        "int(-9223372036854775808.0)".into(),
    ] {
        // A thread of the server has so little stack.
        let thread = std::thread::Builder::new().stack_size(2 * 1024 * 1024);
        let text: String = source.chars().take(40).collect();
        let done = thread.spawn(move || try_all(&source)).expect("a thread starts").join();
        assert!(done.is_ok(), "{text}");
    }
}

#[test]
fn what_costs_too_much_ends() {
    let text = "self.l";
    let walks = format!("{text}.all(a, {text}.all(b, {text}.all(c, {text}.all(d, true))))");
    let items: Vec<String> = (0..200).map(|index| index.to_string()).collect();
    let object = serde_json::json!({"l": items});
    let environment = environment();
    let program = environment.compile(&walks).expect("it compiles");
    let mut activation = Activation::new();
    activation.json("self", &object);
    let mut budget = Budget::default();
    let error = program.evaluate(&activation, &mut budget).expect_err("it costs too much");
    assert_eq!(error, EvaluationError::CallLimit);
    assert_eq!(error.to_string(), "operation cancelled: actual cost limit exceeded");
    assert!(budget.remaining < Budget::default().remaining, "what it cost is taken");
    let mut little = Budget::new(10);
    let program = environment.compile("self.l.all(x, x != '')").expect("it compiles");
    assert_eq!(
        program.evaluate(&activation, &mut little).expect_err("the budget ends"),
        EvaluationError::Budget
    );
}
