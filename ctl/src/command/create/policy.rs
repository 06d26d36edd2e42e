//! Limits and precedence: ResourceQuotas, PodDisruptionBudgets, PriorityClasses.

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};

/// A ResourceQuota from flags.
#[derive(Debug, clap::Args)]
pub struct QuotaArgs {
    /// Its name
    pub name: String,
    /// RESOURCE=AMOUNT, separated by commas
    #[arg(long, value_delimiter = ',')]
    pub hard: Vec<String>,
    /// Only for pods of these scopes
    #[arg(long, value_delimiter = ',')]
    pub scopes: Vec<String>,
}

/// A PodDisruptionBudget from flags.
#[derive(Debug, clap::Args)]
pub struct BudgetArgs {
    /// Its name
    pub name: String,
    /// Labels of its pods, as a=b,c=d
    #[arg(long)]
    pub selector: String,
    /// How many, or what share, stay
    #[arg(long, required_unless_present = "max_unavailable", conflicts_with = "max_unavailable")]
    pub min_available: Option<String>,
    /// How many, or what share, may go
    #[arg(long)]
    pub max_unavailable: Option<String>,
}

/// A PriorityClass from flags.
#[derive(Debug, clap::Args)]
pub struct PriorityArgs {
    /// Its name
    pub name: String,
    /// The priority
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    pub value: i32,
    /// Of pods that name none
    #[arg(long)]
    pub global_default: bool,
    /// What it is for
    #[arg(long, default_value = "")]
    pub description: String,
    /// PreemptLowerPriority or Never
    #[arg(long, default_value = "PreemptLowerPriority")]
    pub preemption_policy: String,
}

fn pairs<'a>(pairs: impl Iterator<Item = &'a str>) -> Result<Map<String, Value>> {
    pairs
        .map(|pair| match pair.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), json!(value))),
            _ => Err(Error::usage(format!("Invalid argument syntax {pair}, expected <resource>=<value>"))),
        })
        .collect()
}

/// The ResourceQuota.
pub(super) fn quota(args: &QuotaArgs) -> Result<Value> {
    let mut spec = json!({});
    if !args.hard.is_empty() {
        spec["hard"] = Value::Object(pairs(args.hard.iter().map(String::as_str))?);
    }
    if !args.scopes.is_empty() {
        spec["scopes"] = json!(args.scopes);
    }
    Ok(json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": args.name}, "spec": spec}))
}

/// The PodDisruptionBudget.
pub(super) fn budget(args: &BudgetArgs) -> Result<Value> {
    let mut spec = json!({"selector": {"matchLabels": pairs(args.selector.split(','))?}});
    for (key, value) in [("minAvailable", &args.min_available), ("maxUnavailable", &args.max_unavailable)] {
        if let Some(text) = value {
            spec[key] = text.parse::<u32>().map_or_else(|_| json!(text), |number| json!(number));
        }
    }
    Ok(
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": args.name}, "spec": spec}),
    )
}

/// The PriorityClass.
pub(super) fn priority(args: &PriorityArgs) -> Value {
    let mut class = json!({
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": args.name},
        "value": args.value, "preemptionPolicy": args.preemption_policy,
    });
    if args.global_default {
        class["globalDefault"] = json!(true);
    }
    if !args.description.is_empty() {
        class["description"] = json!(args.description);
    }
    class
}
