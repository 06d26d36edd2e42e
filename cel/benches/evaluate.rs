//! What one evaluation takes: a typical rule of a definition over an object of 200 fields.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::{Map, Value, json};
use skiff_cel::{Activation, Budget, Environment, Shape};

fn evaluate(criterion: &mut Criterion) {
    let names: Vec<String> = (0..200).map(|index| format!("field{index}")).collect();
    let properties: Map<String, Value> =
        names.iter().map(|name| (name.clone(), json!({"type": "string"}))).collect();
    let mut schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": properties},
        "ports": {"type": "array", "items": {"type": "object", "properties": {"port": {"type": "integer"}}}},
    }});
    let fields: Map<String, Value> = names.iter().map(|name| (name.clone(), json!("a value"))).collect();
    let ports: Vec<Value> = (0..20).map(|port| json!({"port": 8000 + port})).collect();
    let object = json!({"spec": fields, "ports": ports});
    schema["type"] = "object".into();
    let shape = Shape::structural(&schema, "selfType", true).expect("objects can be seen");
    let environment = Environment::new().variable("self", shape);
    for (name, rule) in [
        ("field", "self.spec.field7.size() < 20"),
        ("pattern", "self.spec.field7.matches('^[a-z ]+$')"),
        ("list", "self.ports.all(p, p.port > 0 && p.port < 65536)"),
        ("compare", "!has(self.spec.field8) || self.spec.field8 == self.spec.field9"),
    ] {
        let program = environment.compile(rule).expect("the rule compiles");
        let mut activation = Activation::new();
        activation.json("self", &object);
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                program.evaluate(&activation, &mut Budget::default()).map(|value| black_box(value.as_bool()))
            });
        });
    }
}

criterion_group!(benches, evaluate);
criterion_main!(benches);
