//! Which crate of ours may import which: the walls of the house.

use std::collections::{BTreeMap, BTreeSet};

/// Each crate, and what it may import of ours. Only `skiff` joins components.
const ALLOWED: &[(&str, &[&str])] = &[
    ("skiff-api", &[]),
    ("skiff-cel", &["skiff-api"]),
    ("skiff-storage", &[]),
    ("skiff-apiserver", &["skiff-api", "skiff-cel", "skiff-storage"]),
    ("skiff-runtime", &["skiff-api"]),
    ("skiff-scheduler", &["skiff-api", "skiff-runtime", "skiff-fakeapi"]),
    ("skiff-controller", &["skiff-api", "skiff-runtime", "skiff-fakeapi"]),
    ("skiff-nodeagent", &["skiff-api", "skiff-runtime"]),
    ("skiff-proxy", &["skiff-api", "skiff-runtime"]),
    ("skiff-ctl", &["skiff-api", "skiff-runtime"]),
    (
        "skiff",
        &[
            "skiff-api",
            "skiff-storage",
            "skiff-apiserver",
            "skiff-runtime",
            "skiff-scheduler",
            "skiff-controller",
            "skiff-nodeagent",
            "skiff-proxy",
        ],
    ),
    // Stand-ins and drivers for tests.
    ("skiff-fakeapi", &[]),
    ("skiff-tests", &[]),
    ("skiff-bench", &["skiff-tests"]),
];

#[test]
fn crates_import_only_what_the_plan_allows() {
    let output = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        ALLOWED.iter().map(|(name, imports)| (*name, imports.iter().copied().collect())).collect();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() >= 10, "all crates are looked at");
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let may = allowed.get(name).unwrap_or_else(|| panic!("{name} has no place in the plan"));
        for dependency in package["dependencies"].as_array().unwrap() {
            let import = dependency["name"].as_str().unwrap();
            assert!(!import.starts_with("skiff") || may.contains(import), "{name} must not import {import}");
        }
    }
}
