//! What every component stands on: client bootstrap, shared views, work queue, leader election, events, health, metrics
//! and configuration files.
//!
//! It knows no controller and decides nothing about a cluster: it gathers what others decide from, and carries out what
//! they decided. What holds throughout:
//!
//! - one watch a kind a process, whatever the number of readers ([`view::View`]);
//! - never two reconciliations of one key at once ([`queue::Queue`]);
//! - every buffer has a named limit, and its documentation says what happens there;
//! - an API server that is away is waited for, with back-off, for ever.

pub mod client;
pub mod config;
pub mod error;
pub mod event;
pub mod health;
pub mod key;
pub mod leader;
pub mod metrics;
pub mod queue;
pub mod view;

pub use error::Error;
pub use key::Key;
