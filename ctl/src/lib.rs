//! `ctl`: the command line for Skiff, and for any Kubernetes.
//!
//! It speaks to the API server through `kube::Client` only, learns kinds from discovery, lets the server print its
//! tables, and says what kubectl says. It never touches storage or a node, and knows no more about a kind than
//! describing it nicely takes.
//!
//! Invariants: output that others may parse goes to stdout, all else to stderr; a failure in one of many objects
//! never stops the others, and ends with exit code 1.

pub mod age;
pub mod cli;
pub mod command;
pub mod describe;
pub mod discovery;
pub mod error;
pub mod jsonpath;
pub mod kubeconfig;
pub mod manifest;
pub mod merge;
pub mod output;
pub mod remote;
pub mod rest;
pub mod rollout;
pub mod select;
pub mod session;
pub mod suggest;
pub mod table;
pub mod term;
pub mod watch;

use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;

use crate::error::Error;

/// Runs one command line; the exit code is the process's.
pub async fn run<I>(args: I) -> u8
where
    I: IntoIterator,
    I::Item: Into<std::ffi::OsString> + Clone,
{
    let parsed = match cli::Cli::try_parse_from(args) {
        Ok(parsed) => parsed,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { 1 } else { 0 };
        }
    };
    let session = session::Session::new(parsed.globals());
    match parsed.command.run(&session).await {
        Ok(()) => 0,
        Err(error) => {
            report(&error);
            error.exit_code()
        }
    }
}

/// Whether advice was given: of ten refusals for one reason, the first is enough.
static ADVISED: AtomicBool = AtomicBool::new(false);

/// Tells a person about an error, once, and what to do about it.
pub(crate) fn report(error: &Error) {
    if matches!(error, Error::Exit(_)) {
        return;
    }
    term::err(error.to_string());
    if let Some(advice) = error.advice()
        && !ADVISED.swap(true, Ordering::Relaxed)
    {
        term::err(advice);
    }
}
