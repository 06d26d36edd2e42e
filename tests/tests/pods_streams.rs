//! What goes in and out of a running container: logs, commands, terminals, ports. By `ctl`, and by every kubectl on
//! this machine, old ones over SPDY and new ones over WebSocket.

#![allow(clippy::unwrap_used, reason = "tests may")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use skiff_tests::pods::{import_busybox, pod, restarts, shell, shell_pod};
use skiff_tests::{Cluster, Engine, Process, Terminal, bin, eventually, free_port, http_get, kubectls};

fn pods() -> Vec<Value> {
    let mut made = vec![
        shell_pod("talker", "for n in 1 2 3 4 5 6; do echo line $n; done; sleep 1000"),
        pod(
            "two",
            json!({ "containers": [
            { "name": "a", "command": shell("echo of a; sleep 1000") },
            { "name": "b", "command": shell("echo of b >&2; sleep 1000") },
        ] }),
        ),
        pod(
            "twice",
            json!({
                "containers": [{
                    "name": "c", "volumeMounts": [{ "name": "w", "mountPath": "/w" }],
                    "command": shell("if [ -e /w/been ]; then echo second life; sleep 1000; fi; touch /w/been; echo first life; exit 1"),
                }],
                "volumes": [{ "name": "w", "emptyDir": {} }],
            }),
        ),
        // Ready when it serves.
        pod(
            "server",
            json!({ "containers": [{
                "name": "c", "readinessProbe": { "httpGet": { "port": 8080 }, "periodSeconds": 1 },
                "command": shell("echo answered > /tmp/index.html; yes | head -c 3000000 > /tmp/much; httpd -f -p 8080 -h /tmp"),
            }] }),
        ),
        shell_pod("ticker", "while true; do echo tick; usleep 300000; done"),
    ];
    for name in ["shell", "shell-for-kubectl"] {
        made.push(pod(
            name,
            json!({ "containers": [{ "name": "c", "command": ["sh"], "stdin": true, "tty": true }] }),
        ));
    }
    made.push(pod(
        "reader",
        json!({ "containers": [{
        "name": "c", "command": shell("while read line; do echo \"got $line\"; done"), "stdin": true,
    }] }),
    ));
    made
}

/// A client with these words and this on its standard input.
fn talk(cluster: &Cluster, client: &Path, words: &[&str], input: &str) -> Output {
    let mut command = cluster.client(Command::new(client), words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // Beside the reading: who answers while it is asked must not wait for us.
        scope.spawn(move || stdin.write_all(input.as_bytes()).unwrap());
        child.wait_with_output().unwrap()
    })
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn logs_commands_terminals_and_ports_of_a_pod() {
    let engine = Engine::start(None);
    import_busybox(&engine);
    let cluster = Cluster::start(engine);
    cluster.apply_all(&pods());
    for pod in pods() {
        cluster.until_ready(&skiff_tests::name(&pod), 60);
    }
    logs(&cluster);
    let ctl = bin("ctl");
    every_client(&cluster, &ctl, "shell", true);
    dead_port(&cluster);
    for kubectl in kubectls() {
        println!("by {}", kubectl.display());
        copies(&cluster, &kubectl);
        every_client(&cluster, &kubectl, "shell-for-kubectl", false);
    }
}

fn logs(cluster: &Cluster) {
    cluster.until_logged(&["talker"], "line 1\nline 2\nline 3\nline 4\nline 5\nline 6\n");
    assert_eq!(cluster.ctl(&["logs", "talker", "--tail=2"]), "line 5\nline 6\n");
    assert_eq!(cluster.ctl(&["logs", "talker", "--limit-bytes=9"]), "line 1\nli");
    let dated = cluster.ctl(&["logs", "talker", "--timestamps", "--tail=1"]);
    let (time, text) = dated.split_once(' ').unwrap();
    assert!(time.starts_with("20") && time.ends_with('Z') && text == "line 6\n", "{dated}");
    cluster.until_logged(&["two", "-c", "b"], "of b\n");
    cluster.until_logged(&["two", "--all-containers", "--prefix"], "[pod/two/a] of a\n[pod/two/b] of b\n");
    assert!(cluster.try_ctl(&["logs", "two", "-c", "none"]).unwrap_err().contains("container none"));

    // The life before.
    cluster.until_pod("twice", "again", 20, |pod| (restarts(pod, "c") == 1).then_some(()));
    cluster.until_logged(&["twice"], "second life\n");
    cluster.until_logged(&["twice", "--previous"], "first life\n");
    let none = cluster.try_ctl(&["logs", "talker", "--previous"]).unwrap_err();
    assert!(none.contains("previous terminated container \"c\" in pod \"talker\" not found"), "{none}");

    // Followed, a log ends with its container.
    let counting =
        "echo count 1; until [ -e /tmp/on ]; do usleep 100000; done; echo count 2; sleep 1; echo count 3";
    cluster.apply_all(&[pod(
        "counter",
        json!({ "restartPolicy": "Never", "containers": [{ "name": "c", "command": shell(counting) }] }),
    )]);
    cluster.until_logged(&["counter"], "count 1\n");
    let followed = cluster.dir().join("counted");
    let following = cluster.client(Command::new(bin("ctl")), &["logs", "-f", "counter"]);
    let mut following = Process::start(following, &followed);
    following.wait_for_line("count 1", 20);
    cluster.sh("counter", "c", "touch /tmp/on");
    assert!(following.wait(30).success());
    assert_eq!(std::fs::read_to_string(followed).unwrap(), "count 1\ncount 2\ncount 3\n");
    let log = cluster.dir().join("ticks");
    let following = cluster.client(Command::new(bin("ctl")), &["logs", "-f", "--tail=1", "ticker"]);
    let mut following = Process::start(following, &log);
    eventually("three more lines", 10, || {
        let seen = std::fs::read_to_string(&log).unwrap_or_default();
        if seen.lines().count() >= 4 { Ok(()) } else { Err(seen) }
    });
    following.kill();
}

/// What ctl and kubectl do alike; `ends` ends the shell that `terminal` is, and its attachment with it.
fn every_client(cluster: &Cluster, client: &Path, terminal: &str, ends: bool) {
    commands(cluster, client);
    terminals(cluster, client, terminal, ends);
    attached(cluster, client);
    ports(cluster, client);
}

fn commands(cluster: &Cluster, client: &Path) {
    let exec =
        |words: &[&str], input: &str| said(&talk(cluster, client, &[&["exec"], words].concat(), input));
    let script = "echo out; echo err >&2; exit 42";
    let (code, out, err) = exec(&["talker", "--", "sh", "-c", script], "");
    assert_eq!((code, out.as_str()), (Some(42), "out\n"), "{err}");
    assert!(err.starts_with("err\n") && err.contains("command terminated with exit code 42"), "{err}");
    assert_eq!(
        exec(&["-i", "talker", "--", "sh", "-c", "sort; echo end"], "b\na\n"),
        (Some(0), "a\nb\nend\n".into(), String::new())
    );
    let (code, out, err) = exec(&["talker", "--", "no-such-command"], "");
    let both = format!("{out}{err}");
    assert!(
        code != Some(0) && both.contains("\"no-such-command\": executable file not found"),
        "{code:?} {both}"
    );
    // Much, in both directions.
    let much = "0123456789abcde\n".repeat(64 * 1024);
    let (code, out, err) = exec(&["-i", "talker", "--", "cat"], &much);
    assert_eq!((code, out.len(), err.as_str()), (Some(0), much.len(), ""));
    assert!(out == much);
    assert_eq!(said(&talk(cluster, client, &["logs", "talker", "--tail=1"], "")).1, "line 6\n");
}

fn terminals(cluster: &Cluster, client: &Path, attach_to: &str, ends: bool) {
    let kubeconfig = cluster.kubeconfig().display().to_string();
    let environment = [("KUBECONFIG", kubeconfig.as_str()), ("NO_PROXY", "*")];
    let line = format!("{} exec -it talker -- sh", client.display());
    let mut terminal = Terminal::start(&line, &environment, 33, 77);
    until_sized(&mut terminal, "33 77");
    terminal.resize(50, 120);
    until_sized(&mut terminal, "50 120");
    terminal.type_in("tty; exit 7\n");
    let (status, seen) = terminal.end(20);
    assert_eq!(status.code(), Some(7), "{seen}");

    // The main process's own terminal.
    let line = format!("{} attach -it {attach_to}", client.display());
    let mut terminal = Terminal::start(&line, &environment, 31, 91);
    terminal.type_in("\necho $((6 * 7)) from the main process\n");
    terminal.until("42 from the main process", 20);
    until_sized(&mut terminal, "31 91");
    if ends {
        terminal.type_in("exit\n");
        terminal.end(20);
    }
}

/// Waits until the terminal in the container has this size. A client may tell another one first.
fn until_sized(terminal: &mut Terminal, size: &str) {
    eventually(&format!("the size {size} in the container"), 20, || {
        terminal.type_in("stty size\n");
        let seen = terminal.until("stty", 5);
        if seen.contains(size) { Ok(()) } else { Err(seen) }
    });
}

fn attached(cluster: &Cluster, client: &Path) {
    let name = format!("attached-{}", client.file_name().unwrap_or_default().to_string_lossy());
    let log = cluster.dir().join(name);
    let mut watching = Process::start(cluster.client(Command::new(client), &["attach", "ticker"]), &log);
    eventually("what the main process says", 20, || {
        let seen = std::fs::read_to_string(&log).unwrap_or_default();
        if seen.matches("tick\n").count() >= 2 { Ok(()) } else { Err(seen) }
    });
    watching.kill();
    // Input without a terminal; the client is ended once the answer is there.
    let mut command = cluster.client(Command::new(client), &["attach", "-i", "reader"]);
    command.stdin(Stdio::piped()).stdout(std::fs::File::create(&log).unwrap()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"hello\n").unwrap();
    eventually("the main process to have read", 20, || {
        let seen = std::fs::read_to_string(&log).unwrap_or_default();
        if seen.contains("got hello\n") { Ok(()) } else { Err(seen) }
    });
    child.kill().unwrap();
    child.wait().unwrap();
}

fn ports(cluster: &Cluster, client: &Path) {
    let port = free_port();
    let log = cluster.dir().join(format!("forward-{port}"));
    let pair = format!("{port}:8080");
    let mut forwarding =
        Process::start(cluster.client(Command::new(client), &["port-forward", "pod/server", &pair]), &log);
    forwarding.wait_for_line("Forwarding from 127.0.0.1", 20);
    for _ in 0..3 {
        assert_eq!(http_get(&format!("http://127.0.0.1:{port}/")).as_deref(), Ok("answered\n"));
    }
    // Much.
    let much = http_get(&format!("http://127.0.0.1:{port}/much")).expect("it is forwarded");
    assert_eq!(much.len(), 3_000_000);
    forwarding.kill();
}

/// A port where nobody listens does no harm to another. (kubectl ends all of its connections then.)
fn dead_port(cluster: &Cluster) {
    let (alive, dead) = (free_port(), free_port());
    let log = cluster.dir().join("forward-both");
    let pairs = [format!("{alive}:8080"), format!("{dead}:8081")];
    let words = ["port-forward", "pod/server", &pairs[0], &pairs[1]];
    let mut forwarding = Process::start(cluster.client(Command::new(bin("ctl")), &words), &log);
    forwarding.wait_for_line(&format!("Forwarding from 127.0.0.1:{dead}"), 20);
    http_get(&format!("http://127.0.0.1:{dead}/")).unwrap_err();
    assert_eq!(http_get(&format!("http://127.0.0.1:{alive}/")).as_deref(), Ok("answered\n"));
    forwarding.kill();
}

/// Files both ways, which kubectl carries by `tar` in the container.
fn copies(cluster: &Cluster, kubectl: &Path) {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let at = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(at("there"), "a file\n".repeat(20_000)).unwrap();
    for words in [["cp", &at("there"), "talker:/tmp/copied"], ["cp", "talker:/tmp/copied", &at("back")]] {
        let (code, _, err) = said(&talk(cluster, kubectl, &words, ""));
        assert_eq!(code, Some(0), "{err}");
    }
    assert_eq!(std::fs::read_to_string(at("back")).unwrap(), "a file\n".repeat(20_000));
}
