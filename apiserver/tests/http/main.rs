//! The API over real HTTP: a server on the embedded store, served on loopback with TLS, asked by clients
//! that know nothing but paths and JSON.

#![allow(clippy::unwrap_used)]

mod admission;
mod admission_quota;
mod admission_security;
mod aggregation;
mod aggregation_streams;
mod apply;
mod attacks;
mod attacks_audited;
mod audit;
mod bad_input;
mod certificates;
mod conversion;
mod custom;
mod custom_rules;
mod definitions;
mod discovery;
mod encryption;
mod events;
mod flow;
mod hook;
mod identity;
mod identity_chain;
mod identity_oidc;
mod identity_servers;
mod identity_tokens;
mod impersonation;
mod invented;
mod kinds;
mod lists;
mod policies;
mod protobuf;
mod server;
mod subresources;
mod watches;
mod webhook_failures;
mod webhooks;
mod writes;
