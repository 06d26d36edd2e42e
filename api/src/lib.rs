//! The vocabulary of the house: objects, kinds, schemas, patches, selectors, quantities, errors.
//!
//! Everything here is a pure function over values. There is no I/O, no clock, no async runtime.

pub mod bootstrap_token;
pub mod builtin;
pub mod certificate;
pub mod convert;
pub mod custom;
pub mod duration;
pub mod go_json;
pub mod kind;
pub mod meta;
pub mod name;
pub mod openapi;
pub mod ownership;
pub mod patch;
pub mod protobuf;
pub mod quantity;
pub mod quota;
pub mod resources;
pub mod rules;
pub mod schema;
pub mod selector;
pub mod status;
pub mod strategy;
pub mod table;
pub mod validate;
pub mod walk;
pub mod yaml;

/// An object of any kind, as the JSON of one of its versions. This tree is the truth; typed
/// structs are read from it and never written back.
pub type Object = serde_json::Value;
