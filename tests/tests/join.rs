//! A node joins with a token, renews its certificates by itself, and is kept out with a token that is worth nothing; and
//! no secret of all this is to be found in the cluster's data.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use skiff_tests::{Cluster, Process, bin, eventually, free_port, name, try_output};

/// How long certificates live that are signed on request.
const LIFE_S: i64 = 20;

/// What `skiff token` with these words says, or how it failed.
fn token(cluster: &Cluster, words: &[&str]) -> Result<String, String> {
    let mut command = Command::new(bin("skiff"));
    command.arg("token").args(words).arg("--kubeconfig").arg(cluster.kubeconfig()).env("NO_PROXY", "*");
    try_output(&mut command)
}

/// The words of a new token's command that follow the address.
fn invitation(cluster: &Cluster, words: &[&str]) -> Vec<String> {
    let printed = token(cluster, &[&["create"], words].concat()).unwrap();
    let words: Vec<&str> = printed.split_whitespace().collect();
    assert_eq!(words[..3], ["skiff", "nodeagent", "--join"], "{printed}");
    // Where it is advertised is for other machines; this one speaks to it on loopback.
    words[4..].iter().map(|word| (*word).to_owned()).collect()
}

/// An agent of a new node, on a runtime of imagined containers.
fn agent(cluster: &Cluster, node: &str, dir: &Path, invitation: &[String]) -> Command {
    let mut command = Command::new(bin("skiff"));
    command.args(["nodeagent", "--runtime", "simulated", "--hostname-override", node, "--data-dir"]).arg(dir);
    command.args(["--port", &free_port().to_string()]);
    if !invitation.is_empty() {
        command.args(["--join", &cluster.listen()]).args(invitation);
    }
    command.env("NO_PROXY", "*");
    command
}

/// What an agent says that cannot join.
fn refused(mut command: Command) -> String {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("the refusal", 40, || child.try_wait().unwrap().map(drop).ok_or("it runs".to_owned()));
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned()
}

/// When a certificate ends, and what tells it from others.
fn certificate(path: &Path) -> Result<(i64, String), String> {
    let mut openssl = Command::new("openssl");
    openssl.args(["x509", "-noout", "-serial", "-enddate", "-dateopt", "iso_8601", "-in"]).arg(path);
    let text = try_output(&mut openssl)?;
    let line =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
    let end = line("notAfter=").replace(' ', "T");
    let end = try_output(Command::new("date").args(["-u", "+%s", "-d", &end]))?;
    Ok((end.trim().parse().map_err(|error| format!("{end}: {error}"))?, line("serial=")))
}

fn now_s() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_secs().try_into().unwrap()
}

/// Files below a folder that hold a text.
fn files_with(dir: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if fs::read(&path)
                .is_ok_and(|bytes| bytes.windows(text.len()).any(|part| part == text.as_bytes()))
            {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn a_node_joins_with_a_token_and_renews_its_certificates() {
    let life = format!("{LIFE_S}s");
    let cluster = Cluster::simulated(&["--nodes", "0", "--cluster-signing-duration", &life]);
    let home = tempfile::tempdir().unwrap();
    let logs = tempfile::tempdir().unwrap();
    let joining = invitation(&cluster, &["--ttl", "1h", "--description", "for the test"]);
    let listed = token(&cluster, &["list"]).unwrap();
    assert!(listed.contains("authentication,signing") && listed.contains("for the test"), "{listed}");

    // How many requests someone has made; they go when their certificates have ended.
    let asked_by = |user: &str| {
        let requests = cluster.get(&["certificatesigningrequests"]);
        let requests = requests["items"].as_array().cloned().unwrap_or_default();
        requests.iter().filter(|one| one["spec"]["username"].as_str() == Some(user)).count()
    };

    // It joins, and is a node like any other.
    let dir = home.path().join("joined");
    let log = logs.path().join("joined");
    let first = Process::start(agent(&cluster, "joined", &dir, &joining), &log);
    let bootstrap = format!("system:bootstrap:{}", &joining[1][..6]);
    eventually("the first certificate", 40, || certificate(&dir.join("pki/kubelet-client-current.pem")));
    assert_eq!(asked_by(&bootstrap), 1, "the token is shown once");
    cluster.wait_for_node("joined", "True", 40);
    let (client, serving) =
        (dir.join("pki/kubelet-client-current.pem"), dir.join("pki/kubelet-server-current.pem"));
    let mode = fs::metadata(&client).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let old = certificate(&client).unwrap();
    assert!(old.0 <= now_s() + LIFE_S, "it lives as long as the signer gives");
    cluster.ctl(&["run", "web", "--image=web:1"]);
    eventually("logs of a pod there, over what the node serves with", 40, || {
        cluster.try_ctl(&["logs", "web"])
    });
    let old_serving = certificate(&serving).unwrap();

    // Both certificates are renewed before they end, and it goes on after the first ones have ended.
    for (path, old) in [(&client, &old), (&serving, &old_serving)] {
        eventually("a new certificate", 40, || {
            let new = certificate(path)?;
            if new.1 == old.1 || new.0 <= old.0 { Err(format!("{new:?}")) } else { Ok(()) }
        });
    }
    eventually("the first certificates to end", 40, || {
        let left = old.0.max(old_serving.0) - now_s();
        if left < 0 { Ok(()) } else { Err(format!("{left} s left")) }
    });
    let beat = || {
        cluster.ctl(&["-n", "kube-node-lease", "get", "lease", "joined", "-o", "jsonpath={.spec.renewTime}"])
    };
    let before = beat();
    eventually("a heartbeat with the new certificate", 40, || {
        let now = beat();
        if now == before { Err(now) } else { Ok(()) }
    });
    eventually("logs with the new certificate", 20, || cluster.try_ctl(&["logs", "web"]));
    assert!(asked_by("system:node:joined") >= 1, "renewals are the node's own");

    // A restart needs no token.
    drop(first);
    let again = Process::start(agent(&cluster, "joined", &dir, &[]), &log);
    let before = beat();
    eventually("a heartbeat after the restart", 40, || {
        let now = beat();
        if now == before { Err(now) } else { Ok(()) }
    });
    drop(again);

    // What the API server shows is renewed while it runs.
    let certs = |words: &[&str]| {
        try_output(Command::new(bin("skiff")).arg("certs").args(words).arg("--data-dir").arg(cluster.dir()))
            .unwrap()
    };
    let shown = || {
        let dial = format!(
            "openssl s_client -connect {} </dev/null 2>/dev/null | openssl x509 -noout -serial",
            cluster.listen()
        );
        try_output(Command::new("sh").args(["-c", &dial])).unwrap()
    };
    let before = shown();
    let listed = certs(&["show"]);
    assert!(listed.contains("CN=kube-apiserver") && listed.contains("CN=kubernetes"), "{listed}");
    certs(&["renew", "apiserver", "admin"]);
    eventually("the new certificate to be shown", 20, || {
        let now = shown();
        if now == before { Err(now) } else { Ok(()) }
    });
    assert!(cluster.ctl(&["get", "nodes"]).contains("joined"), "the administrator has a new certificate too");
    let published = cluster.ctl(&[
        "-n",
        "default",
        "get",
        "configmap",
        "kube-root-ca.crt",
        "-o",
        "jsonpath={.data.ca\\.crt}",
    ]);
    assert_eq!(published.trim(), fs::read_to_string(cluster.dir().join("pki/ca.crt")).unwrap().trim());

    // What is worth nothing lets nobody in.
    let stranger = home.path().join("stranger");
    let mut wrong = joining.clone();
    *wrong.last_mut().unwrap() = format!("sha256:{}", "0".repeat(64));
    let said = refused(agent(&cluster, "stranger", &stranger, &wrong));
    assert!(said.contains("none of the public keys") && said.contains("are pinned"), "{said}");
    let mut guessed = joining.clone();
    guessed[1] = format!("{}.{}", &joining[1][..6], "0".repeat(16));
    let said = refused(agent(&cluster, "stranger", &stranger, &guessed));
    assert!(said.contains("failed to verify JWS signature"), "{said}");
    token(&cluster, &["delete", &joining[1]]).unwrap();
    let said = refused(agent(&cluster, "stranger", &stranger, &joining));
    assert!(said.contains("could not find a JWS signature"), "{said}");
    let short = invitation(&cluster, &["--ttl", "1s"]);
    eventually("the token to end and be removed", 20, || {
        let listed = token(&cluster, &["list"])?;
        if listed.contains(&short[1]) { Err(listed) } else { Ok(()) }
    });
    let said = refused(agent(&cluster, "stranger", &stranger, &short));
    assert!(said.contains("could not find a JWS signature"), "{said}");
    let unusable = invitation(&cluster, &["--usages", "signing"]);
    let said = refused(agent(&cluster, "stranger", &stranger, &unusable));
    assert!(said.contains("does not take the token"), "{said}");
    let nodes = cluster.get(&["nodes"]);
    let nodes: Vec<String> = nodes["items"].as_array().unwrap().iter().map(name).collect();
    assert_eq!(nodes, ["joined"]);
    assert!(!stranger.join("pki").exists(), "nothing is kept of what failed");

    // The data hold Secrets sealed, those of tokens too; the key is in a file of its own.
    cluster.ctl(&["create", "secret", "generic", "s", "--from-literal=password=correct-horse-battery"]);
    cluster.ctl(&["create", "configmap", "m", "--from-literal=text=plain-as-can-be"]);
    let base64 = "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5";
    let shown = || cluster.ctl(&["get", "secret", "s", "-o", "jsonpath={.data.password}"]);
    assert_eq!(shown(), base64);
    for text in ["correct-horse-battery", base64] {
        assert_eq!(files_with(cluster.dir(), text), [] as [PathBuf; 0], "{text}");
    }
    assert!(!files_with(cluster.dir(), "plain-as-can-be").is_empty(), "it would be found");
    let key = cluster.dir().join("encryption.key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let mut cluster = cluster;
    cluster.stop();
    cluster.launch();
    assert_eq!(cluster.ctl(&["get", "secret", "s", "-o", "jsonpath={.data.password}"]), base64);
    cluster.stop();
    let kept = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    let said = refused(cluster.up());
    assert!(said.contains("encryption.key is missing"), "{said}");
    fs::write(&key, kept).unwrap();
}
