//! Compiled expressions and the budgets that they are evaluated within (`apis/cel/config.go`).

use crate::check::Checked;
use crate::cost::{self, Estimate};
use crate::environment::{Environment, Variable};
use crate::error::{CompileErrors, EvaluationError};
use crate::eval::{Activation, Frame};
use crate::plan::{self, Plan};
use crate::types::Type;
use crate::value::Value;

/// What one rule of a definition may cost by its estimate (`StaticEstimatedCostLimit`).
pub const RULE_COST_LIMIT: u64 = 10_000_000;
/// What all rules of a definition may cost by their estimates (`StaticEstimatedCRDCostLimit`).
pub const CRD_COST_LIMIT: u64 = 100_000_000;
/// What one evaluation may cost (`PerCallLimit`).
pub const CALL_LIMIT: u64 = 1_000_000;
/// What all evaluations of one request may cost (`RuntimeCELCostBudget`).
pub const RUNTIME_COST_BUDGET: u64 = 10_000_000;
/// What the matchConditions of one request may cost (`RuntimeCELCostBudgetMatchConditions`).
pub const MATCH_CONDITIONS_BUDGET: u64 = 2_500_000;
/// What a question to the authorizer costs.
pub const CHECK_COST: u64 = 350_000;

/// A compiled expression. Shared between threads; evaluated as often as one likes.
#[derive(Debug)]
pub struct Program {
    source: String,
    checked: Checked,
    plan: Plan,
    /// What is declared of each variable of the plan.
    variables: Vec<Option<Variable>>,
    /// What is declared of `self`: upstream's estimator takes every way that begins elsewhere to begin there.
    root: Option<Variable>,
}

/// What evaluations may still cost.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Of all together.
    pub remaining: u64,
    /// Of each.
    pub call_limit: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(RUNTIME_COST_BUDGET)
    }
}

impl Budget {
    /// This much for all together, and [`CALL_LIMIT`] for each.
    pub fn new(remaining: u64) -> Self {
        Self { remaining, call_limit: CALL_LIMIT }
    }

    /// Without bounds, to measure.
    pub fn unlimited() -> Self {
        Self { remaining: u64::MAX, call_limit: u64::MAX }
    }

    fn take(&mut self, cost: u64) -> Result<(), EvaluationError> {
        match self.remaining.checked_sub(cost) {
            Some(rest) => {
                self.remaining = rest;
                Ok(())
            }
            None => {
                self.remaining = 0;
                Err(EvaluationError::Budget)
            }
        }
    }
}

impl Program {
    pub(crate) fn new(
        environment: &Environment,
        source: &str,
        checked: Checked,
    ) -> Result<Self, CompileErrors> {
        let plan = plan::plan(environment, &checked)
            .map_err(|error| CompileErrors::instantiation(source, &error))?;
        let variables = plan.variables.iter().map(|name| environment.variables.get(name).cloned()).collect();
        let root = environment.variables.get("self").cloned();
        Ok(Self { source: source.into(), checked, plan, variables, root })
    }

    /// The text that it was compiled from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The type of its result.
    pub fn result_type(&self) -> &Type {
        &self.checked.types[self.checked.root.id]
    }

    /// Whether it uses a variable.
    pub fn uses(&self, variable: &str) -> bool {
        self.plan.variables.iter().any(|name| name == variable)
    }

    /// What it may cost, at least and at most, by the declared sizes of its variables.
    pub fn cost_estimate(&self) -> Estimate {
        cost::estimate(&self.checked, |name| {
            let place = self.plan.variables.iter().position(|known| known == name);
            let variable = place.and_then(|place| self.variables[place].as_ref()).or(self.root.as_ref());
            variable.map(|variable| &*variable.shape)
        })
    }

    /// Its value. What it costs is taken from the budget, also if it fails.
    pub fn evaluate<'a>(
        &'a self,
        activation: &Activation<'a>,
        budget: &mut Budget,
    ) -> Result<Value<'a>, EvaluationError> {
        let (result, cost) = self.measure(activation, budget.call_limit);
        budget.take(cost)?;
        result
    }

    /// Its value and what it cost, within a limit.
    pub fn measure<'a>(
        &'a self,
        activation: &Activation<'a>,
        limit: u64,
    ) -> (Result<Value<'a>, EvaluationError>, u64) {
        let mut frame = Frame::new(self, activation, limit);
        let result = frame.run(&self.plan.root);
        (result, frame.spent())
    }

    pub(crate) fn depth(&self) -> usize {
        self.plan.depth
    }

    pub(crate) fn variable(&self, place: usize) -> (&str, Option<&Variable>) {
        (&self.plan.variables[place], self.variables[place].as_ref())
    }

    pub(crate) fn variable_count(&self) -> usize {
        self.variables.len()
    }
}
