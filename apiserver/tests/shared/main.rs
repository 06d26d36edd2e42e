//! Several API servers on one etcd, and what becomes of them when it fails.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../../storage/tests/contract/bed.rs"]
#[allow(dead_code, reason = "what the store's own tests need besides")]
mod bed;
mod extending;
mod freshness;
#[path = "../http/hook.rs"]
#[allow(dead_code, reason = "what the tests of HTTP need besides")]
mod hook;
mod line;
mod recovery;
#[path = "../http/server.rs"]
#[allow(dead_code, reason = "what the tests of HTTP need besides")]
mod server;
mod services;
