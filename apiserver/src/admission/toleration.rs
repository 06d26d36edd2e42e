//! Tolerations beside each other. Behaviour: upstream's `pkg/util/tolerations`.

use serde_json::Value;

/// Both lists as one, without what another of them says already.
pub fn merge(first: &[Value], second: &[Value]) -> Vec<Value> {
    let all: Vec<&Value> = first.iter().chain(second).collect();
    let mut merged: Vec<Value> = Vec::new();
    for (at, one) in all.iter().enumerate() {
        let said = merged.iter().any(|kept| covers(kept, one));
        let later = all[at + 1..].iter().any(|other| !same(other, one) && covers(other, one));
        if !said && !later {
            merged.push((*one).clone());
        }
    }
    merged
}

/// Whether each of these is covered by one of the allowed.
pub fn all_allowed(tolerations: &[Value], allowed: &[Value]) -> bool {
    allowed.is_empty() || tolerations.iter().all(|one| allowed.iter().any(|other| covers(other, one)))
}

fn text<'a>(toleration: &'a Value, field: &str) -> &'a str {
    toleration[field].as_str().unwrap_or_default()
}

fn same(a: &Value, b: &Value) -> bool {
    ["key", "operator", "value", "effect"].into_iter().all(|field| text(a, field) == text(b, field))
        && a["tolerationSeconds"] == b["tolerationSeconds"]
}

/// Whether `wide` tolerates all that `narrow` does.
fn covers(wide: &Value, narrow: &Value) -> bool {
    if same(wide, narrow) {
        return true;
    }
    let everything = text(wide, "key").is_empty() && text(wide, "operator") == "Exists";
    if text(wide, "key") != text(narrow, "key") && !everything {
        return false;
    }
    let effect = text(wide, "effect");
    if effect != text(narrow, "effect") && !effect.is_empty() {
        return false;
    }
    if effect == "NoExecute"
        && let Some(most) = wide["tolerationSeconds"].as_i64()
        && narrow["tolerationSeconds"].as_i64().is_none_or(|seconds| seconds > most)
    {
        return false;
    }
    match text(wide, "operator") {
        "Equal" | "" => text(narrow, "operator") == "Equal" && text(narrow, "value") == text(wide, "value"),
        "Exists" => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_wider_toleration_stays() {
        let all = json!({"operator": "Exists"});
        let key = json!({"key": "a", "operator": "Exists"});
        let value = json!({"key": "a", "operator": "Equal", "value": "1", "effect": "NoSchedule"});
        let brief = json!({"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5});
        let long = json!({"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 9});
        let list = |all: &[&Value]| all.iter().map(|one| (*one).clone()).collect::<Vec<_>>();
        for (first, second, expected) in [
            (list(&[&value]), list(&[&key]), list(&[&key])),
            (list(&[&key]), list(&[&value]), list(&[&key])),
            (list(&[&key, &value]), list(&[&all]), list(&[&all])),
            (list(&[&brief]), list(&[&long]), list(&[&long])),
            (list(&[&value, &brief]), list(&[&value]), list(&[&value, &brief])),
        ] {
            assert_eq!(merge(&first, &second), expected);
        }
        assert!(all_allowed(&list(&[&value, &brief]), &list(&[&key])));
        assert!(!all_allowed(&list(&[&value, &all]), &list(&[&key])));
        assert!(all_allowed(&list(&[&all]), &[]));
    }
}
