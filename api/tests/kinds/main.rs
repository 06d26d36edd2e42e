//! Every kind as data: what the tables say of it, and that it survives each encoding.
//!
//! Where the variable `SKIFF_REFERENCE` names a directory with upstream's published `swagger.json` and
//! `testdata` (`staging/src/k8s.io/api/testdata/HEAD`), both are compared with as well.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::panic)]

mod difference;
mod every_field;
mod facts;
mod fixtures;
mod rejected;

use std::path::PathBuf;

/// Where upstream's files are, if the caller has them.
fn reference() -> Option<PathBuf> {
    let directory = std::env::var_os("SKIFF_REFERENCE").map(PathBuf::from);
    if directory.is_none() {
        println!("SKIFF_REFERENCE is not set: upstream's own files were not compared with");
    }
    directory
}

/// Whether a version such as `v1` is stable.
fn is_stable(version: &str) -> bool {
    version.strip_prefix('v').is_some_and(|n| !n.is_empty() && n.bytes().all(|c| c.is_ascii_digit()))
}
