//! What was probably meant: the nearest name for a kind or field that the server does not know, and the place of a
//! quantity that does not parse.

use serde_json::Value;
use skiff_api::quantity::Quantity;

use crate::command::apply;
use crate::discovery::Kinds;
use crate::error::Error;
use crate::manifest::Document;
use crate::merge::schema::Schema;
use crate::session::Session;
use crate::term;

/// After the server's refusal of a manifest: says what it leaves open, if the server's schema tells.
pub async fn advise(session: &Session, document: &Document, error: &Error) {
    let Error::Status { status, .. } = error else { return };
    if status.code != 400 {
        return;
    }
    let Ok(kinds) = session.kinds().await else { return };
    let Some(kind) = kinds.of(document.api_version(), document.kind()) else { return };
    let Some(schema) = apply::schema(session, kind).await else { return };
    let mut lines = fields(&schema, &status.message);
    if status.message.contains("quantities must match") {
        quantities(&schema, &document.object, String::new(), &mut lines);
    }
    lines.iter().for_each(|line| term::err(format!("  {line}")));
}

/// The kind that was meant, or the versions that serve it.
pub fn kind(kinds: &Kinds, api_version: &str, kind: &str) -> Option<String> {
    let served: Vec<String> =
        kinds.0.iter().filter(|known| known.kind == kind).map(crate::discovery::Kind::api_version).collect();
    if !served.is_empty() {
        return Some(format!("kind \"{kind}\" is served in {}", served.join(", ")));
    }
    let of_version = kinds.0.iter().filter(|known| known.api_version() == api_version);
    let names: Vec<&str> = of_version.map(|known| known.kind.as_str()).collect();
    nearest(kind, &names).map(|name| format!("did you mean kind \"{name}\"?"))
}

/// A line for each `unknown field "a.b[0].c"` of a refusal.
fn fields(schema: &Schema, message: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for part in message.split("unknown field \"").skip(1) {
        let Some((path, _)) = part.split_once('"') else { continue };
        let mut steps: Vec<&str> =
            path.split('.').map(|step| step.split_once('[').map_or(step, |(name, _)| name)).collect();
        let Some(wrong) = steps.pop() else { continue };
        let place = steps.iter().try_fold(schema.clone(), |at, step| {
            let declared = at.property(step)?.clone();
            Some(at.inside(&declared))
        });
        let Some(place) = place else { continue };
        let names = place.names();
        lines.push(match nearest(wrong, &names) {
            Some(name) => format!("{path}: did you mean \"{name}\"?"),
            None => format!("{path}: the fields here are {}", names.join(", ")),
        });
    }
    lines
}

/// A line for each quantity that does not parse.
fn quantities(schema: &Schema, value: &Value, path: String, lines: &mut Vec<String>) {
    let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    for (key, inside) in value.as_object().into_iter().flatten() {
        let Some(declared) = schema.property(key) else { continue };
        let name = schema.type_name(declared);
        if name == "Quantity" || name == "map[string]Quantity" {
            let named = inside
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, one)| (join(&format!("{key}.{name}")), one));
            let all = named.chain((!inside.is_object()).then(|| (join(key), inside)));
            for (path, one) in all {
                if let Some(text) = one.as_str().filter(|text| Quantity::parse(text).is_none()) {
                    lines.push(format!(
                        "{path}: \"{text}\" is no quantity: a number, and none or one of n, u, m, k, M, G, T, P, E, Ki, Mi, Gi, Ti, Pi, Ei"
                    ));
                }
            }
            continue;
        }
        let below = schema.inside(declared);
        match inside {
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    quantities(&below, item, join(&format!("{key}[{index}]")), lines);
                }
            }
            other => quantities(&below, other, join(key), lines),
        }
    }
}

/// The candidate that differs least, if it differs little.
fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let (distance, found) =
        candidates.iter().map(|name| (distance(&lower, &name.to_lowercase()), *name)).min()?;
    (distance <= 1.max(word.chars().count() / 3)).then_some(found)
}

/// How many characters must be put in, taken out, changed or swapped with their neighbour.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows = vec![(0..=to.len()).collect::<Vec<usize>>()];
    for (at, a) in from.iter().enumerate() {
        let mut row = vec![at + 1];
        for (other, b) in to.iter().enumerate() {
            let same = usize::from(a != b);
            let mut least = (rows[at][other] + same).min(rows[at][other + 1] + 1).min(row[other] + 1);
            if at > 0 && other > 0 && *a == to[other - 1] && from[at - 1] == *b {
                least = least.min(rows[at - 1][other - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_nearest_name_is_found_if_it_is_near() {
        let names = ["image", "imagePullPolicy", "ports", "resources"];
        for (word, want) in [
            ("imagePullPolice", Some("imagePullPolicy")),
            ("imgae", Some("image")),
            ("Ports", Some("ports")),
            ("port", Some("ports")),
            ("lifecycle", None),
        ] {
            assert_eq!(nearest(word, &names), want, "{word}");
        }
    }

    #[test]
    fn an_unknown_field_is_corrected_where_it_stands() {
        let schema = crate::merge::schema::tests::pod();
        let message = "strict decoding error: unknown field \"spec.containers[0].arg\", unknown field \"spec.nothingLike\"";
        assert_eq!(
            fields(&schema, message),
            [
                "spec.containers[0].arg: did you mean \"args\"?",
                "spec.nothingLike: the fields here are containers, strategy"
            ]
        );
    }

    #[test]
    fn a_kind_of_another_version_is_found_there() {
        let kinds = crate::discovery::tests::sample();
        assert_eq!(
            kind(&kinds, "apps/v2", "Deployment").as_deref(),
            Some("kind \"Deployment\" is served in apps/v1")
        );
        assert_eq!(
            kind(&kinds, "apps/v1", "Deploiment").as_deref(),
            Some("did you mean kind \"Deployment\"?")
        );
        assert_eq!(kind(&kinds, "x/v1", "Thing"), None);
    }

    #[test]
    fn bad_quantities_are_placed() {
        let document = json!({"components": {"schemas": {"t.Pod": {
            "x-kubernetes-group-version-kind": [{"group": "", "version": "v1", "kind": "Pod"}],
            "properties": {"list": {"type": "array", "items": {"properties": {
                "limits": {"type": "object", "additionalProperties": {"$ref": "#/components/schemas/t.Quantity"}}}}}}},
            "t.Quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]}}}});
        let schema = Schema::of_kind(document.into(), "", "v1", "Pod").expect("it is there");
        let mut lines = Vec::new();
        quantities(
            &schema,
            &json!({"list": [{"limits": {"cpu": "1x", "memory": "1Mi"}}]}),
            String::new(),
            &mut lines,
        );
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with("list[0].limits.cpu: \"1x\" is no quantity"), "{lines:?}");
    }
}
