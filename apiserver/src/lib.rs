//! The API server: the only part of the house that touches storage.
//!
//! Every request, an in-process one too, passes identify → audit → impersonate → flow control → authorize → handle and carries one
//! [`context::Context`]. A kind is data: all kinds are served by the same handlers ([`read`],
//! [`mod@write`], [`watch`]), from one [`cache::Cache`].
//!
//! Invariants:
//! - an answer never shows what is not durable;
//! - a watch delivers each change once, in order, or ends with 410;
//! - a write that was proposed is carried to its end even if its caller hangs up.

pub mod admission;
pub mod aggregation;
pub mod allocate;
pub mod app;
pub mod audit;
pub mod backend;
mod bootstrap;
pub mod cache;
mod call;
pub mod context;
pub mod conversion;
pub mod discovery;
mod encode;
pub mod encryption;
mod extension;
pub mod flow;
mod health;
mod layers;
pub mod lookup;
mod metrics;
pub mod negotiate;
pub mod node;
mod openapi;
pub mod options;
pub mod read;
mod reload;
pub mod request;
pub mod review;
pub mod security;
pub mod serve;
pub mod subresource;
pub mod watch;
pub mod write;

pub use app::{App, Config};
