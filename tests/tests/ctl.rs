//! `ctl` from outside: it reads as kubectl does, tells people what is wrong with what they wrote, and keeps its promises
//! about output and exit codes.

use std::path::Path;
use std::process::Command;

use regex::Regex;
use skiff_tests::session::{self, Answer};
use skiff_tests::{Cluster, bin, output, repository};

fn data(name: &str) -> String {
    std::fs::read_to_string(repository("tests/data").join(name)).expect("the session is in the repository")
}

/// What no two runs share, and what stands for it.
const CHANCE: [(&str, &str); 14] = [
    // kubectl before 1.33 prints a pointer.
    (r"ConfigMapOptional: +<nil>", "Optional: false"),
    (r"\bctl\b", "kubectl"),
    (r"\b(web|made)-[0-9a-f]{7,10}(-[a-z0-9]{5})?\b", "$1-RAND"),
    (r"\bkube-api-access-[a-z0-9]{5}\b", "kube-api-access-RAND"),
    (r"\bweb-[a-z0-9]{5}\b", "web-RAND"),
    (r"pod-template-hash[=:]( ?)[0-9a-f]+", "pod-template-hash=HASH"),
    (r"docker://[0-9a-f]+", "ID"),
    (r"10\.(96|244)\.\d+\.\d+", "IP"),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\b[0-9a-f]{32}\b", "UID"),
    (r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} [\d:]{8} [+-]\d{4}|\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
    (r#"("?resourceVersion"?): "\d+""#, "$1: RV"),
    (r"https://127\.0\.0\.1:\d+", "SERVER"),
    (r":3[0-2]\d{3}/", ":NODEPORT/"),
    (r"\b(\d+m)?\d+s\b", "AGE"),
];

fn alike(text: &str, chance: &[(Regex, &str)]) -> String {
    let mut text = text.to_owned();
    for (what, instead) in chance {
        text = what.replace_all(&text, *instead).into_owned();
    }
    // How wide a column is follows from ages and names.
    let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ").replace("---", "-");
    text.lines().map(line).collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

/// What a tool answers to each command, on a cluster of its own.
fn answers(tool: &Path, text: &str) -> Vec<Answer> {
    let cluster = Cluster::simulated(&[]);
    cluster.ctl(&["create", "namespace", "twin"]);
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let environment = environment(&cluster, folder.path(), tool);
    cluster_config(folder.path(), "twin");
    let (files, steps) = session::parse(text);
    for file in files {
        std::fs::write(folder.path().join(file.name), file.text).expect("the folder can be written");
    }
    steps.iter().map(|step| session::run(&step.command, folder.path(), &environment)).collect()
}

/// A folder to work in: `bin/kube` is the tool, `config` the kubeconfig.
fn environment(cluster: &Cluster, folder: &Path, tool: &Path) -> Vec<(&'static str, String)> {
    std::fs::create_dir(folder.join("bin")).expect("a folder can be made");
    std::os::unix::fs::symlink(tool, folder.join("bin/kube")).expect("a link can be made");
    std::os::unix::fs::symlink(bin("ctl"), folder.join("bin/ctl")).expect("a link can be made");
    std::fs::copy(cluster.kubeconfig(), folder.join("config")).expect("the kubeconfig is there");
    let node = cluster.ctl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]);
    vec![
        ("PATH", format!("{}:{}", folder.join("bin").display(), std::env::var("PATH").unwrap_or_default())),
        ("HOME", folder.display().to_string()),
        ("KUBECONFIG", folder.join("config").display().to_string()),
        ("NO_PROXY", "*".to_owned()),
        ("NODE", node),
    ]
}

fn cluster_config(folder: &Path, namespace: &str) {
    let namespace = format!("--namespace={namespace}");
    let mut command = Command::new(bin("ctl"));
    command.args(["config", "set-context", "--current", &namespace]);
    output(command.env("KUBECONFIG", folder.join("config")));
}

#[test]
fn ctl_answers_as_kubectl_does() {
    let text = data("ctl-as-kubectl.txt");
    let kubectl = std::env::var_os("PATH")
        .and_then(|path| {
            std::env::split_paths(&path).map(|folder| folder.join("kubectl")).find(|path| path.is_file())
        })
        .expect("kubectl is on PATH");
    let (theirs, ours) = std::thread::scope(|scope| {
        let theirs = scope.spawn(|| answers(&kubectl, &text));
        let ours = scope.spawn(|| answers(&bin("ctl"), &text));
        (theirs.join().expect("kubectl plays to the end"), ours.join().expect("ctl plays to the end"))
    });
    let chance: Vec<(Regex, &str)> =
        CHANCE.iter().map(|(what, instead)| (Regex::new(what).expect("a valid pattern"), *instead)).collect();
    let (_, steps) = session::parse(&text);
    let mut wrong = Vec::new();
    for (step, (theirs, ours)) in steps.iter().zip(theirs.iter().zip(&ours)) {
        let same = alike(&theirs.text, &chance) == alike(&ours.text, &chance) && theirs.code == ours.code;
        let meant = step.output.iter().find_map(|line| line.strip_prefix("! "));
        match (same, meant) {
            (true, None) => {}
            (false, Some(_)) if (theirs.code == 0) == (ours.code == 0) => {}
            (true, Some(why)) => {
                wrong.push(format!("line {}: {}\nthis difference is gone: {why}\n", step.line, step.command))
            }
            (false, _) => wrong.push(format!(
                "line {}: {}\n--- kubectl: exit {}\n{}\n--- ctl: exit {}\n{}\n",
                step.line, step.command, theirs.code, theirs.text, ours.code, ours.text
            )),
        }
    }
    assert!(wrong.is_empty(), "{} of {} commands:\n\n{}", wrong.len(), steps.len(), wrong.join("\n"));
}

/// Plays a session of ctl on a new cluster, in a namespace of its own.
fn play(name: &str) {
    let cluster = Cluster::simulated(&[]);
    cluster.ctl(&["create", "namespace", "work"]);
    let folder = tempfile::tempdir().expect("a temporary directory can be made");
    let mut environment = environment(&cluster, folder.path(), &bin("ctl"));
    environment.push((
        "SERVER",
        cluster.ctl(&["config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}"]),
    ));
    cluster_config(folder.path(), "work");
    let failures = session::play(&data(name), folder.path(), &environment);
    assert!(failures.is_empty(), "{} steps went otherwise:\n\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn ctl_keeps_its_promises_about_output_and_exit_codes() {
    play("ctl-session.txt");
}

#[test]
fn bad_input_is_named_explained_and_not_stored() {
    play("bad-input.txt");
}
