//! Charging: what a write costs under each quota of its namespace, and whether that is left.

use std::collections::BTreeSet;

use super::{Measure, Scopes, hard_names, scope};
use crate::quantity::Quantity;
use crate::resources::{self, ResourceList};
use crate::{Object, meta};

/// A write to be charged.
#[derive(Debug, Clone)]
pub struct Change {
    /// How its kind is counted.
    pub measure: Measure,
    /// The subresource that is written, or nothing.
    pub subresource: String,
    /// What is to be stored.
    pub new: Object,
    /// What is there; nothing if it is made.
    pub old: Option<Object>,
    /// Now, in seconds.
    pub now_s: i64,
}

/// Why a write is refused, in upstream's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(pub String);

impl Change {
    /// Whether such a write can cost anything.
    pub fn counts(&self) -> bool {
        let (made, sub) = (self.old.is_none(), self.subresource.as_str());
        match (&self.measure, sub) {
            (Measure::Pods, "") => {
                let moved = |old| scope::is_terminating(old) != scope::is_terminating(&self.new);
                self.old.as_ref().is_none_or(moved)
            }
            (Measure::Pods, "resize") => !made,
            (Measure::Claims, "status") => !made,
            (Measure::Services | Measure::Claims | Measure::DeviceClaims, "") => true,
            (Measure::Count { .. }, "") => made,
            _ => false,
        }
    }

    /// What the whole object uses.
    pub fn usage(&self) -> ResourceList {
        self.measure.usage(&self.new, self.now_s)
    }

    fn falls_under(&self, quota: &Object, object: &Object) -> bool {
        !self.measure.tracks(hard_names(quota)).is_empty() && Scopes::of(quota).take(&self.measure, object)
    }

    /// What it costs under this quota; nothing if it does not fall under it.
    fn cost(&self, quota: &Object) -> Result<Option<ResourceList>, Refusal> {
        if !self.falls_under(quota, &self.new) {
            return Ok(None);
        }
        let name = meta::name(quota);
        let limited = self.measure.tracks(hard_names(quota));
        self.measure
            .check(&self.new, &limited)
            .map_err(|why| Refusal(format!("failed quota: {name}: {why}")))?;
        let status = &quota["status"];
        if limited.iter().any(|resource| status["used"][*resource].is_null()) {
            let names: Vec<&str> = limited.into_iter().collect();
            let names = names.join(",");
            return Err(Refusal(format!("status unknown for quota: {name}, resources: {names}")));
        }
        let mut cost = self.usage();
        let negative: Vec<&str> =
            cost.iter().filter(|(_, amount)| amount.is_negative()).map(|(name, _)| name.as_str()).collect();
        if !negative.is_empty() {
            let names = negative.join(",");
            return Err(Refusal(format!("quota usage is negative for resource(s): {names}")));
        }
        if let Some(old) = self.old.as_ref().filter(|old| self.falls_under(quota, old)) {
            let before = self.measure.usage(old, self.now_s);
            for (name, amount) in &mut cost {
                let had = before.get(name).copied().unwrap_or(Quantity::count(0));
                // Nothing is given back here: the controller counts anew.
                *amount = if had < *amount { amount.minus(had) } else { Quantity::count(0) };
            }
        }
        let hard: BTreeSet<&str> = hard_names(quota).collect();
        let mut cost = resources::only(&cost, &hard);
        cost.retain(|_, amount| amount.signum() != 0);
        Ok(Some(cost))
    }
}

/// What each quota, by its place, would use after a write; only those that it changes.
///
/// # Errors
/// The first quota that has not enough left, or that does not know what it needs to.
pub fn charge(quotas: &[Object], change: &Change) -> Result<Vec<(usize, ResourceList)>, Refusal> {
    let costs: Vec<_> = quotas.iter().map(|quota| change.cost(quota)).collect::<Result<_, _>>()?;
    let mut charged = Vec::new();
    for (place, (quota, cost)) in quotas.iter().zip(costs).enumerate() {
        let Some(cost) = cost.filter(|cost| !cost.is_empty()) else { continue };
        let hard = resources::read(&quota["status"]["hard"]);
        let used = resources::read(&quota["status"]["used"]);
        let mut after = used.clone();
        resources::add(&mut after, &cost);
        let exceeded: BTreeSet<&str> = cost
            .keys()
            .filter(|name| hard.get(*name).is_some_and(|most| after[*name] > *most))
            .map(String::as_str)
            .collect();
        if !exceeded.is_empty() && change.subresource != "status" {
            let show = |list: &ResourceList| resources::show(&resources::only(list, &exceeded));
            return Err(Refusal(format!(
                "exceeded quota: {}, requested: {}, used: {}, limited: {}",
                meta::name(quota),
                show(&cost),
                show(&used),
                show(&hard)
            )));
        }
        charged.push((place, after));
    }
    Ok(charged)
}
