//! What `skiff up` refuses, and how: a sentence that says what to do, a code other than zero, and nothing overwritten.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::mount::{MsFlags, mount};
use skiff_tests::{Cluster, Engine, Process, bin, eventually};

/// A user without rights.
const NOBODY: u32 = 65534;

/// Runs a command that must end by itself and fail; answers with what it said.
fn refused(mut command: Command) -> String {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("the refusal", 20, || child.try_wait().unwrap().map(drop).ok_or("it runs".to_owned()));
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let last = said.lines().last().unwrap_or_default().to_owned();
    assert!(last.starts_with("error: "), "{said}");
    last
}

/// Every file below a directory, but for the lock, which says who had it last.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("lock") {
                found.insert(path.clone(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn what_another_process_uses_is_refused() {
    let cluster = Cluster::simulated_embedded();
    let said = refused(cluster.up());
    assert!(said.contains("another skiff (pid ") && said.contains("--data-dir"), "{said}");

    let other = tempfile::tempdir().unwrap();
    let with = |listen: &str, words: &[&str]| cluster.up_in(other.path(), listen, words);
    let said = refused(with(&cluster.listen(), &[]));
    assert!(said.contains("in use by another process") && said.contains("--listen"), "{said}");
    let said = refused(with("127.0.0.1:7443", &[]));
    assert!(said.contains("0.0.0.0:10250") && said.contains("--agent-port"), "{said}");
    assert!(!other.path().join("store").exists(), "nothing is made by a start that is refused");
    let said = refused(with("203.0.113.9:6443", &["--agent-port", "0"]));
    assert!(said.contains("no such address"), "{said}");
    let second = with("127.0.0.1:7443", &["--agent-port", "0"]);
    let process = Process::start(second, &other.path().join("log"));
    process.wait_for_line("ready", 60);
    assert!(cluster.ctl(&["get", "nodes"]).contains("Ready"), "the first one is not disturbed");
}

#[test]
fn damaged_data_are_refused_and_left_as_they_are() {
    let mut cluster = Cluster::simulated_embedded();
    cluster.ctl(&["create", "configmap", "kept", "--from-literal=a=b"]);
    cluster.stop();
    let whole = files(cluster.dir());
    for name in ["pki/ca.key", "pki/ca.crt", "pki/sa.key", "store/log"] {
        let path = cluster.dir().join(name);
        let mut damaged = whole[&path].clone();
        // In the first third: a torn tail is another matter.
        let at = damaged.len() / 3;
        damaged[at..at + 40].fill(b'#');
        fs::write(&path, &damaged).unwrap();
        let before = files(cluster.dir());
        let said = refused(cluster.up());
        assert!(said.contains(path.to_str().unwrap()), "{name}: {said}");
        assert!(files(cluster.dir()) == before, "{name}: the start that was refused has changed a file");
        fs::write(&path, &whole[&path]).unwrap();
    }
    // A key that is missing beside what it has signed is not made anew.
    let key = cluster.dir().join("pki/ca.key");
    fs::remove_file(&key).unwrap();
    let said = refused(cluster.up());
    assert!(said.contains("ca.key is missing"), "{said}");
    assert!(!key.exists());
    fs::write(&key, &whole[&key]).unwrap();
    cluster.launch();
    assert!(cluster.ctl(&["get", "configmap", "kept", "-o", "yaml"]).contains("a: b"));
}

/// A disk of this many kilobytes at `dir`.
fn small_disk(dir: &Path, kilobytes: usize) {
    let size = format!("size={kilobytes}k");
    mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::empty(), Some(size.as_str())).unwrap();
}

/// Takes all room on the disk of `dir`.
fn fill(dir: &Path) -> PathBuf {
    let path = dir.join("filler");
    let mut command = Command::new("dd");
    command.args(["if=/dev/zero", "bs=4k"]).arg(format!("of={}", path.display()));
    // It fails when the disk is full.
    assert!(!command.stderr(Stdio::null()).status().unwrap().success());
    path
}

#[test]
fn a_full_disk_is_told_and_reading_goes_on() {
    let mut cluster = Cluster::unstarted_embedded(None, &["--runtime", "simulated"]);
    small_disk(cluster.dir(), 12 * 1024);
    let filler = fill(cluster.dir());
    let said = refused(cluster.up());
    assert!(
        said.contains("No space left on device") && said.contains(cluster.dir().to_str().unwrap()),
        "{said}"
    );
    fs::remove_file(&filler).unwrap();
    cluster.launch();
    cluster.ctl(&["create", "configmap", "kept", "--from-literal=a=b"]);

    let filler = fill(cluster.dir());
    let api = cluster.api();
    let body = |number: usize| {
        let text = "x".repeat(4000);
        format!("{{\"metadata\":{{\"name\":\"more-{number}\"}},\"data\":{{\"a\":\"{text}\"}}}}")
    };
    let path = "/api/v1/namespaces/default/configmaps";
    let mut number = 0;
    let said = eventually("a write to be refused", 30, || {
        number += 1;
        match api.post(path, &body(number)) {
            Ok(_) => Err(format!("{number} writes were taken")),
            Err(said) => Ok(said),
        }
    });
    assert!(said.replace(' ', "").contains("\"code\":500") && said.contains("data is full"), "{said}");
    let names = cluster.ctl(&["get", "configmaps", "-o", "name"]);
    assert!(names.contains("configmap/kept"), "{names}");
    for taken in 1..number {
        assert!(names.lines().any(|line| line == format!("configmap/more-{taken}")), "{taken}: {names}");
    }
    assert!(!names.contains(&format!("more-{number}\n")), "what was refused is not there");

    // A start on the full disk serves what there is.
    cluster.kill();
    cluster.launch();
    assert_eq!(cluster.ctl(&["get", "configmaps", "-o", "name"]), names);
    assert!(api.post(path, &body(number)).unwrap_err().contains("data is full"));
    fs::remove_file(&filler).unwrap();
    eventually("writes to be taken again", 20, || api.post(path, &body(number)));
}

#[test]
fn an_engine_that_is_away_or_closed_to_the_user_is_told_at_once() {
    let mut cluster = Cluster::unstarted(Some(Engine::unstarted()), &[]);
    cluster.start_up();
    eventually("advice", 10, || {
        let log = cluster.log(Cluster::TOGETHER);
        if log.contains("Start Docker") && log.contains("DOCKER_HOST") { Ok(()) } else { Err(log) }
    });
    eventually("the node to say why", 20, || {
        let node = cluster.try_ctl(&["describe", "nodes"])?;
        if node.contains("container runtime is down") { Ok(()) } else { Err(node) }
    });
    assert!(!cluster.log(Cluster::TOGETHER).lines().any(|line| line.starts_with("ready")));
    cluster.engine_mut().launch();
    cluster.wait_until_ready();
    cluster.stop();

    // The same engine, and a user who may not use it.
    let socket = cluster.engine().host();
    let socket = Path::new(socket.trim_start_matches("unix://"));
    for folder in [socket.parent().unwrap(), cluster.dir()] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let home = tempfile::tempdir().unwrap();
    chown(home.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    // The build may stand where only root can go.
    let program = home.path().join("skiff");
    fs::copy(bin("skiff"), &program).unwrap();
    let as_root = cluster.up_in(&home.path().join("data"), &cluster.listen(), &[]);
    let mut command = Command::new(program);
    command.args(as_root.get_args()).env("DOCKER_HOST", cluster.engine().host()).uid(NOBODY).gid(NOBODY);
    let log = home.path().join("log");
    let _process = Process::start(command, &log);
    eventually("advice", 10, || {
        let said = fs::read_to_string(&log).unwrap();
        if said.contains("This user may not use Docker") { Ok(()) } else { Err(said) }
    });
}
