//! What expressions cost: the units of cel-go, at least and at most before they are evaluated (`estimate`), and
//! exactly while they are ([`runtime`]).
//!
//! Every number here decides which rules may be written and which requests are refused, so none may be improved.

mod calls;
mod estimate;
pub(crate) mod runtime;

pub(crate) use estimate::estimate;

/// The cost of walking over a text once, for each character.
const TRAVERSAL: f64 = 0.1;
/// The cost of a pattern, for each of its characters.
const PATTERN: f64 = 0.25;
/// The cost of making a list, a map and an object.
const MAKE_LIST: u64 = 10;
const MAKE_MAP: u64 = 30;
const MAKE_STRUCT: u64 = 40;

/// A cost or a size, at least and at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// At least.
    pub min: u64,
    /// At most.
    pub max: u64,
}

impl Estimate {
    /// Anything.
    pub const UNKNOWN: Self = Self { min: 0, max: u64::MAX };

    /// Exactly this.
    pub const fn fixed(value: u64) -> Self {
        Self { min: value, max: value }
    }

    /// Between these.
    pub const fn between(min: u64, max: u64) -> Self {
        Self { min, max }
    }

    /// Both, one after the other.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    /// One for each of the other.
    #[must_use]
    pub fn times(self, other: Self) -> Self {
        Self { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    /// Rounded up after multiplication.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Self {
        Self { min: scale(self.min, factor), max: scale(self.max, factor) }
    }

    /// One or the other.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "as cel-go: the product is rounded up, and what is too large becomes the largest"
)]
fn scale(value: u64, factor: f64) -> u64 {
    (value as f64 * factor).ceil() as u64
}
