//! Skiff's node agent: pods on this machine, as the kubelet runs them.
//!
//! It watches the pods bound to its node, and for each decides by the pure function [`step`] what to do next from
//! what the engine has; a thin executor does it and reports. It reads no more of the API than the Node authorizer
//! lets it, keeps no state of its own besides the pods' files, and adopts at its start what already runs.
//!
//! It never uses the engine's restart policy, never restarts a pod elsewhere, and never deletes a Pod object
//! before all of its containers have ended.

mod agent;
pub mod backoff;
pub mod certificate;
pub mod config;
pub mod cri;
pub mod dns;
pub mod docker;
pub mod engine;
pub mod env;
pub mod error;
pub mod field;
pub mod handler;
pub mod image;
pub mod join;
pub mod node;
pub mod pod;
pub mod probe;
pub mod quantity;
pub mod references;
pub(crate) mod server;
pub mod serving;
pub mod simulated;
pub(crate) mod spdy;
pub mod spec;
pub mod status;
pub mod step;
pub mod tls;
pub mod volume;

pub use agent::{clean, run, runtime};
pub use config::{Config, RuntimeKind};
pub use error::{Error, Result};
