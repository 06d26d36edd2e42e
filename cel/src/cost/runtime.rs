//! What a call costs when it is evaluated (`interpreter/runtimecost.go`, `apiserver/pkg/cel/library/cost.go`).

use super::{Estimate, MAKE_LIST, MAKE_STRUCT, PATTERN, TRAVERSAL, scale};
use crate::library::Library;
use crate::program::CHECK_COST;
use crate::value::Value;

fn size(args: &[Value<'_>], place: usize) -> u64 {
    args.get(place).map_or(1, Value::size)
}

fn traversed(size: u64) -> u64 {
    scale(size, TRAVERSAL)
}

/// A text against a pattern.
fn matched(text: u64, pattern: u64) -> u64 {
    traversed(text.saturating_add(1)).saturating_mul(scale(pattern, PATTERN))
}

/// What `a == b` and `a != b` cost.
pub fn equality(a: &Value<'_>, b: &Value<'_>) -> u64 {
    match a {
        Value::Library(_) => 1,
        _ => traversed(a.size().min(b.size())),
    }
}

/// What parsing a selector costs.
pub fn selector(length: Estimate) -> Estimate {
    #[expect(clippy::cast_precision_loss, reason = "two small constants")]
    let requirement = (MAKE_LIST + MAKE_STRUCT) as f64;
    Estimate::fixed(MAKE_LIST).plus(length.scaled(TRAVERSAL)).plus(length.scaled(0.5).scaled(requirement))
}

/// What a call costs; the result is `None` if it failed.
pub fn call(name: &str, overload: &str, args: &[Value<'_>], result: Option<&Value<'_>>) -> u64 {
    let first = size(args, 0);
    match name {
        "check" => CHECK_COST,
        "fieldSelector" | "labelSelector" => selector(Estimate::fixed(size(args, 1))).max,
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => args.first().map_or(0, traversal),
        "url"
        | "lowerAscii"
        | "upperAscii"
        | "substring"
        | "trim"
        | "jsonpatch.escapeKey"
        | "cidr"
        | "isIP"
        | "isCIDR"
        | "quantity"
        | "isQuantity"
        | "semver"
        | "isSemver" => traversed(first),
        "replace" | "split" | "ip.isCanonical" => scale(first, 2.0 * TRAVERSAL),
        "join" => scale(result.map_or(1, Value::size), 2.0 * TRAVERSAL),
        "find" | "findAll" => matched(first, size(args, 1)),
        "ip" if overload == "cidr_ip" => 1,
        "ip" => traversed(first),
        "containsIP" | "containsCIDR" => {
            let mut cost = scale(first + first, TRAVERSAL);
            if name == "containsCIDR" {
                cost += traversed(first) + 1;
            }
            if matches!(overload, "cidr_contains_ip_string" | "cidr_contains_cidr_string") {
                cost += traversed(size(args, 1));
            }
            cost
        }
        "validate" => match args {
            [Value::Library(Library::Format(format)), text] => matched(text.size(), format.pattern_length),
            _ => 1,
        },
        _ => by_overload(overload, args, first, result),
    }
}

fn by_overload(overload: &str, args: &[Value<'_>], first: u64, result: Option<&Value<'_>>) -> u64 {
    match overload {
        "starts_with_string" | "ends_with_string" | "string_to_bytes" | "bytes_to_string"
        | "strings_quote" | "string_format" => traversed(first),
        "in_list" => size(args, 1),
        "less_string"
        | "greater_string"
        | "less_equals_string"
        | "greater_equals_string"
        | "less_bytes"
        | "greater_bytes"
        | "less_equals_bytes"
        | "greater_equals_bytes" => traversed(first.min(size(args, 1))),
        "add_string" | "add_bytes" => traversed(first.saturating_add(size(args, 1))),
        "matches_string" => matched(first, size(args, 1)),
        "contains_string" => traversed(first).saturating_mul(traversed(size(args, 1))),
        "list_slice" | "list_reverse" | "lists_range" => allocating(1.0, result.map_or(0, Value::size)),
        "list_flatten" => allocating(1.0, first),
        "list_flatten_int" => match args.get(1) {
            #[expect(clippy::cast_precision_loss, reason = "depths are small")]
            Some(Value::Int(depth)) => allocating(depth.max(&0).to_owned() as f64, first),
            _ => allocating(1.0, first),
        },
        "list_distinct" => compared_with_itself(args.first()),
        "list_sets_contains_list" | "list_sets_intersects_list" => 1 + first.saturating_mul(size(args, 1)),
        "list_sets_equivalent_list" => 1 + first.saturating_mul(size(args, 1)).saturating_mul(2),
        _ if overload.ends_with("_sort") => compared_with_itself(args.first()),
        _ if overload.ends_with("_sortByAssociatedKeys") => compared_with_itself(args.get(1)),
        _ => 1,
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "as cel-go, which rounds down here"
)]
fn allocating(factor: f64, size: u64) -> u64 {
    ((size as f64 * factor) as u64).saturating_add(1 + MAKE_LIST)
}

fn compared_with_itself(list: Option<&Value<'_>>) -> u64 {
    let Some(Value::List(list)) = list else { return 1 };
    let text = matches!(list.get(0), Some(Ok(Value::String(_) | Value::Bytes(_))));
    let size = list.len() as u64;
    allocating(if text { 2.0 + TRAVERSAL } else { 2.0 }, size.saturating_mul(size))
}

/// The cost of looking at everything within a value.
fn traversal(value: &Value<'_>) -> u64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "as upstream, which rounds down here"
    )]
    let text = |length: usize| (length as f64 * TRAVERSAL) as u64;
    match value {
        Value::String(string) => text(string.len()),
        Value::Bytes(bytes) => text(bytes.len()),
        Value::List(list) => list.iter().filter_map(|item| item.ok()).map(|item| traversal(&item)).sum(),
        Value::Map(map) => map
            .keys()
            .iter()
            .map(|key| {
                traversal(key) + map.get(key).and_then(|item| item.ok()).map_or(0, |item| traversal(&item))
            })
            .sum(),
        _ => 1,
    }
}
