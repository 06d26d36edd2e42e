//! The vocabulary of the house: objects, kinds, schemas, patches, selectors, quantities, errors.
//!
//! Everything here is a pure function over values. There is no I/O, no clock, no async runtime.

pub mod kind;
pub mod schema;
pub mod status;

/// An object of any kind, as the JSON of one of its versions. This tree is the truth; typed
/// structs are read from it and never written back.
pub type Object = serde_json::Value;
