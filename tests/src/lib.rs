//! What tests of the whole system stand on: an engine of their own, a cluster, and its clients.
//!
//! The user's engine, network and cluster are never touched: everything here has its own directories,
//! sockets and [network](machine), and ends with the test.

mod apart;
mod api;
pub mod boot;
mod control;
mod engine;
mod etcd;
pub mod extension;
pub mod history;
mod kubectl;
pub mod load;
pub mod machine;
mod place;
pub mod pods;
mod process;
pub mod registry;
pub mod session;
mod terminal;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

pub use api::Api;
pub use engine::Engine;
pub use etcd::Etcd;
pub use kubectl::kubectls;
pub use place::{Place, ip};
pub use process::Process;
pub use registry::Registry;
use serde_json::Value;
pub use terminal::Terminal;

/// Where the binaries under test are.
pub fn bin(name: &str) -> PathBuf {
    let dir = std::env::var_os("SKIFF_BIN")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/release"), PathBuf::from);
    let path = dir.join(name);
    assert!(path.exists(), "{} is missing: run the tests by `make test`, which builds it", path.display());
    path
}

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// A port on loopback that was free a moment ago.
pub fn free_port() -> u16 {
    machine::enter();
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// Waits until `look` finds something; fails with what it saw last.
pub fn eventually<T>(what: &str, seconds: u64, look: impl FnMut() -> Result<T, String>) -> T {
    match within(seconds, look) {
        Ok(found) => found,
        Err(seen) => panic!("{what}: not within {seconds} s; last seen: {seen}"),
    }
}

/// Waits until `look` finds something, or gives what it saw last.
pub fn within<T>(seconds: u64, mut look: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let until = Instant::now() + Duration::from_secs(seconds);
    loop {
        match look() {
            Ok(found) => return Ok(found),
            Err(seen) if Instant::now() > until => return Err(seen),
            // Between looks, not instead of them.
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// The output of a command that must succeed.
pub fn output(command: &mut Command) -> String {
    match try_output(command) {
        Ok(text) => text,
        Err(text) => panic!("{command:?} failed: {text}"),
    }
}

/// The output of a command, or what it said when it failed.
pub fn try_output(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    Err(format!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}

/// A cluster with its engine unless its runtime is simulated: one `skiff up`, or a process for each component.
pub struct Cluster {
    /// By name.
    processes: BTreeMap<String, Process>,
    engine: Option<Engine>,
    dir: tempfile::TempDir,
    /// What the processes say; not beside the data, whose disk may be full.
    logs: tempfile::TempDir,
    port: u16,
    extra: Vec<String>,
    _etcd: Option<Etcd>,
}

impl Cluster {
    /// Starts a cluster of one node.
    pub fn start(engine: Engine) -> Self {
        Self::start_with(engine, &[])
    }

    /// Starts a cluster with further words for `skiff up`.
    pub fn start_with(engine: Engine, extra: &[&str]) -> Self {
        Self::new(Some(engine), extra)
    }

    /// Starts a cluster whose pods are simulated: no engine is needed, and it is there in a second or two.
    pub fn simulated(extra: &[&str]) -> Self {
        machine::enter();
        Self::new(None, &[&["--runtime", "simulated"], extra].concat())
    }

    fn new(engine: Option<Engine>, extra: &[&str]) -> Self {
        let mut cluster = Self::unstarted(engine, extra);
        cluster.launch();
        cluster
    }

    /// A cluster of which nothing runs yet. With `SKIFF_TEST_STORE=etcd` it keeps its objects on an etcd of its own,
    /// unless it is told where.
    pub fn unstarted(engine: Option<Engine>, extra: &[&str]) -> Self {
        let mut cluster = Self::unstarted_embedded(engine, extra);
        let asked = std::env::var("SKIFF_TEST_STORE").is_ok_and(|store| store == "etcd");
        if asked && !extra.contains(&"--etcd-servers") {
            let etcd = Etcd::start();
            cluster.extra.extend(["--etcd-servers".to_owned(), etcd.url().to_owned()]);
            cluster._etcd = Some(etcd);
        }
        cluster
    }

    /// As [`Cluster::unstarted`], and its objects are always in the data directory.
    pub fn unstarted_embedded(engine: Option<Engine>, extra: &[&str]) -> Self {
        let [dir, logs] = [(); 2].map(|()| tempfile::tempdir().expect("a temporary directory can be made"));
        let extra = extra.iter().map(|word| (*word).to_owned()).collect();
        Self { processes: BTreeMap::new(), engine, dir, logs, port: free_port(), extra, _etcd: None }
    }

    /// As [`Cluster::simulated`], and its objects are always in the data directory.
    pub fn simulated_embedded() -> Self {
        let mut cluster = Self::unstarted_embedded(None, &["--runtime", "simulated"]);
        cluster.launch();
        cluster
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("a simulated cluster is not asked for its engine")
    }

    /// Without an engine a socket that nobody serves, so that the user's engine is never found by default.
    fn engine_host(&self) -> String {
        self.engine
            .as_ref()
            .map_or_else(|| format!("unix://{}", self.dir.path().join("none").display()), Engine::host)
    }

    /// The engine, to be stopped and started.
    pub fn engine_mut(&mut self) -> &mut Engine {
        self.engine.as_mut().expect("a simulated cluster is not asked for its engine")
    }

    /// The cluster's data.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }

    /// A client's command with these words, which finds the cluster.
    pub fn client(&self, mut command: Command, words: &[&str]) -> Command {
        command.args(words).env("KUBECONFIG", self.kubeconfig()).env("NO_PROXY", "*");
        command
    }

    /// What `ctl` with these words answers; it must succeed.
    pub fn ctl(&self, words: &[&str]) -> String {
        output(&mut self.client(Command::new(bin("ctl")), words))
    }

    /// What `ctl` with these words answers, or how it failed.
    pub fn try_ctl(&self, words: &[&str]) -> Result<String, String> {
        try_output(&mut self.client(Command::new(bin("ctl")), words))
    }

    /// What an unmodified kubectl with these words answers; it must succeed.
    pub fn kubectl(&self, words: &[&str]) -> String {
        output(&mut self.client(Command::new("kubectl"), words))
    }

    /// What an unmodified kubectl with these words answers, or how it failed.
    pub fn try_kubectl(&self, words: &[&str]) -> Result<String, String> {
        try_output(&mut self.client(Command::new("kubectl"), words))
    }

    /// An object, or a list, as JSON.
    pub fn get(&self, words: &[&str]) -> Value {
        let words: Vec<&str> = [&["get", "-o", "json"], words].concat();
        serde_json::from_str(&self.ctl(&words)).expect("ctl prints JSON")
    }

    /// Applies an object, or a list of them.
    pub fn apply(&self, object: &Value) {
        let path = self.dir.path().join("applied.json");
        std::fs::write(&path, object.to_string()).expect("a file can be written");
        self.ctl(&["apply", "-f", path.to_str().expect("temporary paths are text")]);
    }

    /// What a command in a pod answers, or how it failed.
    pub fn exec(&self, pod: &str, words: &[&str]) -> Result<String, String> {
        self.try_ctl(&[&["exec", pod, "--"], words].concat())
    }

    /// The inside of a pod's network.
    pub fn place(&self, pod: &str) -> Place {
        let id = self.ctl(&["get", "pod", pod, "-o", "jsonpath={.status.containerStatuses[0].containerID}"]);
        Place::of_container(self.engine(), id.trim_start_matches("docker://"))
    }

    /// Waits until a Deployment has so many ready pods; answers with the pods' names.
    pub fn ready_pods(&self, selector: &str, count: usize, seconds: u64) -> Vec<String> {
        eventually(&format!("{count} ready pods with {selector}"), seconds, || {
            let pods = self.get(&["pods", "-l", selector]);
            let items = pods["items"].as_array().cloned().unwrap_or_default();
            let ready: Vec<String> = items.iter().filter(|pod| is_ready(pod)).map(name).collect();
            if ready.len() == count && items.len() == count {
                return Ok(ready);
            }
            let conditions: Vec<&Value> = items.iter().map(|pod| &pod["status"]["conditions"]).collect();
            Err(format!("{}{conditions:?}", self.ctl(&["get", "pods", "-A", "-o", "wide"])))
        })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for name in self.processes.keys() {
                let log = self.log(name);
                let lines: Vec<&str> = log.lines().collect();
                eprintln!(
                    "--- the end of {name}'s log\n{}",
                    lines[lines.len().saturating_sub(40)..].join("\n")
                );
            }
        }
        if let Err(error) = self.down() {
            eprintln!("skiff down failed: {error}");
        }
    }
}

/// Whether a pod is ready, and stays.
pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    pod["metadata"]["deletionTimestamp"].is_null()
        && conditions
            .is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
}

/// The name of an object.
pub fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

/// What a web server answers, or how it failed.
pub fn http_get(url: &str) -> Result<String, String> {
    try_output(Command::new("curl").args(["-sS", "--noproxy", "*", "--max-time", "3", "--fail", url]))
}
