//! `make run`, twice, and `make stop`: the scripts themselves, with an engine that they start, and with one that is there.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use skiff_tests::{Engine, bin, http_get, machine, output, repository, try_output};

/// A person at this machine, with an empty home and these variables set.
struct Person {
    home: tempfile::TempDir,
    variables: BTreeMap<&'static str, String>,
}

impl Person {
    fn new(variables: BTreeMap<&'static str, String>) -> Self {
        Self { home: tempfile::tempdir().unwrap(), variables }
    }

    fn at_home(&self, mut command: Command) -> Command {
        for name in ["KUBECONFIG", "DOCKER_HOST", "SKIFF_DATA", "SKIFF_STATE"] {
            command.env_remove(name);
        }
        command.envs(&self.variables).env("NO_PROXY", "*");
        command
    }

    fn try_script(&self, name: &str) -> Result<String, String> {
        let mut command = Command::new(repository("scripts").join(name));
        command.arg(bin("skiff").parent().unwrap());
        try_output(&mut self.at_home(command))
    }

    fn script(&self, name: &str) -> String {
        self.try_script(name).unwrap_or_else(|said| panic!("{name}: {said}"))
    }

    /// `ctl` in any shell.
    fn ctl(&self, words: &[&str]) -> String {
        let mut command = self.at_home(Command::new(bin("ctl")));
        output(command.env("HOME", self.home.path()).args(words))
    }

    fn docker(&self, words: &str) -> Vec<String> {
        let mut command = self.at_home(Command::new("docker"));
        output(command.args(words.split(' '))).lines().map(str::to_owned).collect()
    }

    /// The programs in containers, as processes of this machine.
    fn contained(&self) -> Vec<String> {
        let ids = self.docker("ps -q");
        assert_eq!(ids.len(), 6, "a sandbox and a container for each of three pods");
        let pids = self.docker(&format!("inspect -f {{{{.State.Pid}}}} {}", ids.join(" ")));
        assert!(pids.iter().all(|pid| Path::new("/proc").join(pid).exists()), "{pids:?}");
        pids
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Nothing of a test that fails is left to run.
            eprintln!("{}", self.try_script("stop.sh").unwrap_or_else(|said| said));
        }
    }
}

/// All that a cluster and an engine could leave on this machine, but for files.
#[derive(Debug, PartialEq, Eq)]
struct Traces {
    processes: BTreeMap<i32, String>,
    interfaces: BTreeSet<String>,
    routes: BTreeSet<String>,
    rules: Vec<String>,
    settings: Vec<String>,
}

fn traces() -> Traces {
    let lines = |program: &str, words: &str| {
        let said = output(Command::new(program).args(words.split(' ')));
        said.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let mut rules = Vec::new();
    for program in ["iptables", "ip6tables"] {
        for table in ["raw", "mangle", "filter", "nat"] {
            rules.extend(lines(program, &format!("-t {table} -S")));
        }
    }
    rules.extend(lines("nft", "list tables").into_iter().filter(|table| table.contains("skiff")));
    let settings =
        ["ip_forward", "conf/all/route_localnet", "conf/default/route_localnet", "conf/all/rp_filter"];
    let setting = |name| std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap();
    let interfaces = lines("ip", "-o link show");
    let mut processes = machine::processes();
    // The one that looks.
    processes.remove(&i32::try_from(std::process::id()).unwrap());
    Traces {
        processes,
        interfaces: interfaces
            .iter()
            .filter_map(|line| Some(line.split(':').nth(1)?.trim().to_owned()))
            .collect(),
        routes: lines("ip", "route").into_iter().collect(),
        rules,
        settings: settings.map(setting).to_vec(),
    }
}

/// The line of `run.sh` that shows the Service's answer: its address, and what it said.
fn answer(said: &str) -> (String, String) {
    let line =
        said.lines().find(|line| line.contains(" answers: ")).unwrap_or_else(|| panic!("no answer: {said}"));
    let (url, answer) = line.split_once(" answers: ").unwrap();
    (url.to_owned(), answer.to_owned())
}

fn runs_twice_and_stops(person: &Person, data: &Path, state: &Path) {
    let before = traces();
    let said = person.script("run.sh");
    let ready = said.lines().find(|line| line.starts_with("ready")).unwrap_or_else(|| panic!("{said}"));
    assert!(ready.contains(":6443"), "{ready}");
    let pods = said.lines().filter(|line| line.starts_with("hello-") && line.contains("Running")).count();
    assert_eq!(pods, 3, "{said}");
    assert!(said.contains("deployment.apps/hello created") && said.contains("make stop"), "{said}");
    let (url, first) = answer(&said);
    let hello = |text: &str| text.contains("hello-");
    assert!(hello(&first) && hello(&http_get(&url).unwrap()), "{said}");

    let contained = person.contained();
    let containers = person.docker("ps -aq --no-trunc");
    let again = person.script("run.sh");
    assert!(
        again.contains("Skiff is running already.") && again.contains("deployment.apps/hello unchanged"),
        "{again}"
    );
    assert_eq!(answer(&again).0, url);
    assert_eq!(person.docker("ps -aq --no-trunc"), containers, "the same containers");

    if data == Path::new("/var/lib/skiff") {
        // In any shell with nothing set.
        assert_eq!(person.ctl(&["get", "pods"]).matches("Running").count(), 3);
        let host = nix::unistd::gethostname().unwrap().to_string_lossy().to_ascii_lowercase();
        let node = format!("node/{}", host.split('.').next().unwrap());
        assert_eq!(person.ctl(&["get", "nodes", "-o", "name"]).trim(), node);
        assert!(!person.home.path().join(".kube").exists());
    }

    assert!(person.script("stop.sh").contains("Nothing is left running."));
    for pid in contained {
        assert!(!Path::new("/proc").join(&pid).exists(), "{pid} runs on");
    }
    assert_eq!(traces(), before);
    assert!(!data.exists() && !state.exists());
    person.script("stop.sh");
}

#[test]
fn a_run_shows_the_example_a_second_does_no_harm_and_a_stop_leaves_nothing() {
    // Where no engine answers: one is started, and ended by the stop. All stands in its usual place, in folders that
    // only this test sees; there is no systemd in them.
    {
        let _hidden = [machine::hide("/run"), machine::hide("/var/lib")];
        let person = Person::new(BTreeMap::new());
        let engine = || try_output(person.at_home(Command::new("docker")).arg("version"));
        engine().expect_err("nobody has started one");
        runs_twice_and_stops(&person, Path::new("/var/lib/skiff"), Path::new("/run/skiff-make"));
        engine().expect_err("it was stopped");
    }

    // An engine that DOCKER_HOST names: it is used, and left as it was.
    let engine = Engine::start(None);
    let folder = tempfile::tempdir().unwrap();
    let (data, state) = (folder.path().join("data"), folder.path().join("state"));
    let variables = BTreeMap::from([
        ("DOCKER_HOST", engine.host()),
        ("SKIFF_DATA", data.display().to_string()),
        ("SKIFF_STATE", state.display().to_string()),
    ]);
    let person = Person::new(variables);
    // An engine writes its own rules when it makes its first network.
    person.docker("network create first");
    person.docker("network rm first");
    let networks = person.docker("network ls --format {{.Name}}");
    runs_twice_and_stops(&person, &data, &state);
    assert_eq!(person.docker("network ls --format {{.Name}}"), networks);
    for words in ["ps -aq", "images -aq", "volume ls -q"] {
        assert_eq!(person.docker(words), [""; 0], "{words}");
    }
}
