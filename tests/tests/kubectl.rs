//! An unmodified kubectl, the oldest and the newest at hand, plays a session of some 150 commands.
//!
//! `SKIFF_TEST_KUBECTLS` may name the programs, separated by colons.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use skiff_tests::{Cluster, kubectls, output, repository, session};

/// Kubectls at hand, by minor version.
fn at_hand() -> BTreeMap<u64, PathBuf> {
    let versions = kubectls().into_iter().map(|path| (minor(&path), path));
    versions.filter(|(minor, _)| *minor >= 27).collect()
}

fn minor(kubectl: &Path) -> u64 {
    let said = output(Command::new(kubectl).args(["version", "--client", "-o", "json"]));
    let version: Value = serde_json::from_str(&said).expect("kubectl prints its version as JSON");
    let minor = version["clientVersion"]["minor"].as_str().unwrap_or_default();
    minor
        .trim_end_matches('+')
        .parse()
        .unwrap_or_else(|_| panic!("{}: which version? {said}", kubectl.display()))
}

/// Plays the session with one kubectl on a cluster of its own.
fn play(kubectl: &Path) -> Vec<String> {
    let cluster = Cluster::simulated(&[]);
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir(path("bin")).expect("a folder can be made");
    std::os::unix::fs::symlink(kubectl, path("bin/kubectl")).expect("a link can be made");
    std::fs::copy(cluster.kubeconfig(), path("config")).expect("the kubeconfig is there");
    let search = format!("{}:{}", path("bin").display(), std::env::var("PATH").unwrap_or_default());
    let environment = [
        ("PATH", search),
        ("HOME", folder.path().display().to_string()),
        ("KUBECONFIG", path("config").display().to_string()),
        ("NO_PROXY", "*".to_owned()),
        (
            "NODE",
            cluster.get(&["nodes"])["items"][0]["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
        ),
        (
            "SERVER",
            cluster.ctl(&["config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}"]),
        ),
    ];
    let text =
        std::fs::read_to_string(repository("tests/data/kubectl-session.txt")).expect("the session is there");
    session::play(&text, folder.path(), &environment)
}

#[test]
fn an_unmodified_kubectl_plays_a_session_from_its_oldest_to_its_newest() {
    let kubectls = at_hand();
    let newest = kubectls
        .last_key_value()
        .expect("a kubectl from 1.27 on is on PATH, or SKIFF_TEST_KUBECTLS names one");
    let oldest = kubectls.first_key_value().unwrap_or(newest);
    let mut played = BTreeMap::from([oldest]);
    played.insert(newest.0, newest.1);
    println!(
        "playing with kubectl {:?}",
        played.keys().map(|minor| format!("1.{minor}")).collect::<Vec<_>>()
    );
    let failures: Vec<String> = std::thread::scope(|scope| {
        let runs: Vec<_> = played.iter().map(|(minor, path)| (*minor, scope.spawn(|| play(path)))).collect();
        runs.into_iter()
            .flat_map(|(minor, run)| {
                let failures = run.join().expect("the session is played to its end");
                failures.into_iter().map(move |failure| format!("kubectl 1.{minor}, {failure}"))
            })
            .collect()
    });
    assert!(failures.is_empty(), "{} steps went otherwise:\n\n{}", failures.len(), failures.join("\n"));
}
