//! What a call may cost and how large its result may be, by its name and overload (`library/cost.go`,
//! `checker/cost.go`, `ext/lists.go`, `ext/sets.go`).

use super::estimate::{Coster, Sized};
use super::runtime::selector;
use super::{Estimate, MAKE_LIST, PATTERN, TRAVERSAL, scale};
use crate::ast::{Kind, Literal};
use crate::program::CHECK_COST;
use crate::types::Type;

/// What a call costs, and the size of its result where something is known of it.
pub(super) struct Result {
    pub cost: Estimate,
    pub size: Option<Estimate>,
}

const ONE: Estimate = Estimate::fixed(1);
/// The longest pattern of a named format.
const FORMAT_PATTERN: f64 = 128.0;

fn costs(cost: Estimate) -> Result {
    Result { cost, size: None }
}

fn sized(cost: Estimate, size: Estimate) -> Result {
    Result { cost, size: Some(size) }
}

/// The size of a node that the language itself knows.
pub(super) fn known(node: &Sized<'_>) -> Estimate {
    node.size.unwrap_or(Estimate::UNKNOWN)
}

/// The cost of a call without its arguments.
pub(super) fn cost(
    coster: &Coster<'_, '_>,
    name: &str,
    overload: &str,
    target: Option<&Sized<'_>>,
    args: &[Sized<'_>],
) -> Result {
    of_lists(coster, overload, target, args)
        .or_else(|| of_library(coster, name, overload, target, args))
        .unwrap_or_else(|| of_language(overload, target, args))
}

fn traversed(size: Estimate) -> Estimate {
    size.scaled(TRAVERSAL)
}

fn of_library(
    coster: &Coster<'_, '_>,
    name: &str,
    overload: &str,
    target: Option<&Sized<'_>>,
    args: &[Sized<'_>],
) -> Option<Result> {
    let size = |node: &Sized<'_>| coster.library_size(node);
    let first = args.first();
    Some(match name {
        "check" => costs(Estimate::fixed(CHECK_COST)),
        "serviceAccount"
        | "path"
        | "group"
        | "resource"
        | "subresource"
        | "namespace"
        | "name"
        | "allowed"
        | "reason"
        | "error"
        | "errored"
        | "masked"
        | "prefixLength"
        | "family"
        | "isUnspecified"
        | "isLoopback"
        | "isLinkLocalMulticast"
        | "isLinkLocalUnicast"
        | "isGlobalUnicast"
        | "format.named"
        | "sign"
        | "asInteger"
        | "isInteger"
        | "asApproximateFloat"
        | "isGreaterThan"
        | "isLessThan"
        | "compareTo"
        | "add"
        | "sub"
        | "major"
        | "minor"
        | "patch"
        | "getScheme"
        | "getHostname"
        | "getHost"
        | "getPort"
        | "getEscapedPath"
        | "getQuery" => costs(ONE),
        "fieldSelector" | "labelSelector" => costs(selector(size(first?))),
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => {
            let target = target?;
            match target.ty {
                Type::List(of) => {
                    let mut each = ONE;
                    if matches!(**of, Type::String | Type::Bytes) {
                        each = each.plus(traversed(coster.item_size(target)));
                    }
                    costs(size(target).times(each))
                }
                _ => costs(traversed(size(target))),
            }
        }
        "url" | "jsonpatch.escapeKey" => sized(traversed(size(first?)), size(first?)),
        "lowerAscii" | "upperAscii" | "substring" | "trim" => {
            let size = size(target?);
            sized(traversed(size), size)
        }
        "replace" => {
            let text = size(target?);
            let result = replaced(text, size(first?), size(args.get(1)?));
            sized(text.scaled(2.0 * TRAVERSAL), result)
        }
        "split" => {
            let text = size(target?);
            let most = match args.get(1).map(|arg| &arg.expr.kind) {
                #[expect(clippy::cast_sign_loss, reason = "as upstream: a negative limit is no limit")]
                Some(Kind::Literal(Literal::Int(limit))) => *limit as u64,
                _ => text.max,
            };
            sized(text.scaled(2.0 * TRAVERSAL), Estimate::between(0, most))
        }
        "join" => {
            let target = target?;
            let count = size(target);
            let mut text = count.times(coster.item_size(target));
            if let Some(separator) = first {
                let between = Estimate::between(count.min.saturating_sub(1), count.max.saturating_sub(1));
                text = text.plus(size(separator).times(between));
            }
            sized(traversed(text), text)
        }
        "find" | "findAll" => {
            let text = size(target?);
            let cost = traversed(text.plus(ONE)).times(size(first?).scaled(PATTERN));
            sized(cost, Estimate::between(0, text.max))
        }
        "ip" if overload == "cidr_ip" => costs(ONE),
        "cidr" | "isIP" | "isCIDR" | "ip" | "quantity" | "isQuantity" | "semver" | "isSemver" => {
            costs(traversed(size(first?)))
        }
        "ip.isCanonical" => costs(size(first?).scaled(2.0 * TRAVERSAL)),
        "containsIP" | "containsCIDR" => {
            let address = Estimate::between(4, 16);
            let mut cost = traversed(address.plus(address));
            if name == "containsCIDR" {
                cost = cost.plus(traversed(address)).plus(ONE);
            }
            if matches!(overload, "cidr_contains_ip_string" | "cidr_contains_cidr_string") {
                cost = cost.plus(traversed(size(first?)));
            }
            costs(cost)
        }
        "validate" => costs(traversed(size(first?)).scaled(FORMAT_PATTERN * PATTERN)),
        "_==_" => match (args[0].ty, args[1].ty) {
            (Type::Opaque(left), Type::Opaque(right)) if left == right => costs(match *left {
                "kubernetes.NamedFormat" => Estimate::between(1, 64).scaled(TRAVERSAL),
                "kubernetes.URL" => {
                    Estimate::between(1, args[1].size.map_or(1, |size| size.max)).scaled(TRAVERSAL)
                }
                _ => ONE,
            }),
            _ => return None,
        },
        _ => return None,
    })
}

/// The size of a text in which something was replaced.
fn replaced(text: Estimate, old: Estimate, new: Estimate) -> Estimate {
    let (mut count, mut kept) = (Estimate::fixed(0), Estimate::fixed(0));
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "as upstream"
    )]
    let divided = |a: u64, b: u64| (a as f64 / b as f64).ceil() as u64;
    if old.min == 0 {
        count.max = text.max.saturating_add(1);
        kept.max = text.max;
    } else if new.max <= old.min {
        kept.max = text.max;
    } else {
        count.max = divided(text.max, old.min);
    }
    if old.max == 0 {
        count.min = text.min.saturating_add(1);
        kept.min = text.min;
    } else if old.max <= new.min {
        kept.min = text.min;
    } else {
        count.min = divided(text.min, old.max);
    }
    count.times(new).plus(kept)
}

fn allocating(factor: f64, size: Estimate) -> Result {
    sized(size.scaled(factor).plus(Estimate::fixed(1 + MAKE_LIST)), size)
}

fn number(node: &Sized<'_>, otherwise: u64) -> u64 {
    match &node.expr.kind {
        Kind::Literal(Literal::Int(value)) => u64::try_from(*value).unwrap_or(0),
        _ => otherwise,
    }
}

fn of_lists(
    coster: &Coster<'_, '_>,
    overload: &str,
    target: Option<&Sized<'_>>,
    args: &[Sized<'_>],
) -> Option<Result> {
    let size = |node: &Sized<'_>| coster.library_size(node);
    Some(match overload {
        "list_slice" => {
            let (start, end) = (number(args.first()?, 0), number(args.get(1)?, size(target?).max));
            allocating(1.0, Estimate::fixed(end.saturating_sub(start)))
        }
        "list_flatten" => allocating(1.0, size(target?)),
        #[expect(clippy::cast_precision_loss, reason = "as cel-go")]
        "list_flatten_int" => allocating(number(args.first()?, u64::MAX) as f64, size(target?)),
        "list_reverse" => allocating(1.0, size(target?)),
        "lists_range" => allocating(1.0, Estimate::fixed(number(args.first()?, u64::MAX))),
        "list_distinct" => allocating(2.0, size(target?).times(size(target?))),
        _ if overload.ends_with("_sort") || overload.ends_with("_sortByAssociatedKeys") => {
            let keys = if overload.ends_with("_sort") { size(target?) } else { size(args.first()?) };
            let text = overload.starts_with("list_string") || overload.starts_with("list_bytes");
            allocating(if text { 2.0 + TRAVERSAL } else { 2.0 }, keys.times(keys))
        }
        "list_sets_contains_list" | "list_sets_intersects_list" => {
            costs(size(args.first()?).times(size(args.get(1)?)).plus(ONE))
        }
        "list_sets_equivalent_list" => {
            costs(size(args.first()?).times(size(args.get(1)?)).scaled(2.0).plus(ONE))
        }
        _ => return None,
    })
}

fn of_language(overload: &str, target: Option<&Sized<'_>>, args: &[Sized<'_>]) -> Result {
    let size = |place: usize| args.get(place).map_or(Estimate::UNKNOWN, known);
    let receiver = target.map_or(Estimate::UNKNOWN, known);
    match overload {
        "string_format" => costs(traversed(receiver)),
        "string_to_bytes" => {
            let text = size(0);
            sized(traversed(text), Estimate::between(text.min, text.max.wrapping_mul(4)))
        }
        "bytes_to_string" => {
            let bytes = size(0);
            sized(traversed(bytes), Estimate::between(bytes.min / 4, bytes.max))
        }
        "strings_quote" => {
            let text = size(0);
            let quoted =
                Estimate::between(text.min.wrapping_add(2), text.max.wrapping_mul(2).wrapping_add(2));
            sized(traversed(text), quoted)
        }
        "starts_with_string" | "ends_with_string" => costs(traversed(size(0))),
        "in_list" => costs(Estimate { min: size(1).min, max: scale(size(1).max, 1.0) }),
        "matches_string" => costs(traversed(receiver.plus(ONE)).times(size(0).scaled(PATTERN))),
        "contains_string" => costs(traversed(receiver).times(traversed(size(0)))),
        "add_list" => sized(ONE, size(0).plus(size(1))),
        "add_string" | "add_bytes" => {
            let size = size(0).plus(size(1));
            sized(traversed(size), size)
        }
        "less_string"
        | "greater_string"
        | "less_equals_string"
        | "greater_equals_string"
        | "less_bytes"
        | "greater_bytes"
        | "less_equals_bytes"
        | "greater_equals_bytes"
        | "equals"
        | "not_equals" => {
            let least = size(0).max.min(size(1).max);
            costs(Estimate::between(u64::from(least > 0), least).scaled(TRAVERSAL))
        }
        _ => costs(ONE),
    }
}
