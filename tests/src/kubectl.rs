//! The kubectls on this machine: versions of it speak to a pod in different ways.

use std::path::PathBuf;

/// Every kubectl that `SKIFF_TEST_KUBECTLS` lists (paths between colons), or else those on PATH: `kubectl`, and any whose
/// name goes on with a version.
pub fn kubectls() -> Vec<PathBuf> {
    if let Some(list) = std::env::var_os("SKIFF_TEST_KUBECTLS") {
        return std::env::split_paths(&list).collect();
    }
    let mut found: Vec<PathBuf> = Vec::new();
    for folder in std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            // A plugin's name goes on with a word.
            let version =
                name.strip_prefix("kubectl").map(|rest| rest.trim_start_matches(['.', '-', '_', 'v']));
            if version.is_some_and(|rest| rest.is_empty() || rest.starts_with(|c: char| c.is_ascii_digit())) {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found.dedup_by_key(|path| path.canonicalize().ok());
    assert!(!found.is_empty(), "no kubectl on PATH");
    found
}
