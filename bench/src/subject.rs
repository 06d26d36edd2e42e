//! What is measured: Skiff on its own store, Skiff on etcd, and upstream beside them where one is named.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use hyper::body::Bytes;
use skiff_tests::free_port;
use tempfile::TempDir;

use crate::connection::Server;
use crate::load::JSON;
use crate::tree::Tree;

/// A child that is killed when it is dropped.
pub struct Running(Child);

impl Running {
    /// Starts a command; its messages go to `log`.
    fn start(mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let log = std::fs::File::create(log)?;
        let child =
            command.stdin(Stdio::null()).stderr(log).spawn().with_context(|| format!("{command:?}"))?;
        Ok(Self(child))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The process may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server under measurement.
pub struct Subject {
    /// Ends before its directories go: fields are dropped in this order.
    running: Vec<Running>,
    /// How to reach it.
    pub server: Server,
    /// Its processes, the store's included.
    pub tree: Tree,
    /// From exec to ready, in seconds.
    pub start_s: f64,
    /// The administrator's kubeconfig.
    pub kubeconfig: PathBuf,
    /// Its directory.
    pub dir: TempDir,
    others: Vec<TempDir>,
}

/// Starts `skiff` with these words (`up` or `apiserver` first), and waits for the line that says ready.
pub async fn skiff(bin: &Path, words: &[&str], engine: Option<&str>) -> anyhow::Result<Subject> {
    let dir = tempfile::tempdir()?;
    let mut command = Command::new(bin.join("skiff"));
    command
        .args(words)
        .args(["--listen", &format!("127.0.0.1:{}", free_port()), "--data-dir"])
        .arg(dir.path());
    command.stdout(Stdio::piped());
    if let Some(host) = engine {
        command.env("DOCKER_HOST", host);
    }
    let (start, log) = (Instant::now(), dir.path().join("log"));
    let mut running = Running::start(command, &log)?;
    let output = running.0.stdout.take().context("the output is piped")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    let start_s = start.elapsed().as_secs_f64();
    ensure!(line.starts_with("ready"), "skiff is not ready: {}", std::fs::read_to_string(&log)?);
    let kubeconfig = dir.path().join("kubeconfig");
    let server = Server::from_kubeconfig(&kubeconfig).await?;
    let tree = Tree(vec![running.0.id()]);
    Ok(Subject { running: vec![running], server, tree, start_s, kubeconfig, dir, others: Vec::new() })
}

/// An etcd, its address, and its directory.
pub struct Etcd {
    /// Where clients reach it.
    pub url: String,
    running: Running,
    dir: TempDir,
}

/// Starts an empty etcd.
pub async fn etcd(program: &Path) -> anyhow::Result<Etcd> {
    let dir = tempfile::tempdir()?;
    let (client, peer) = (free_port(), free_port());
    let (url, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
    let mut command = Command::new(program);
    command.arg("--data-dir").arg(dir.path().join("data"));
    command.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
    command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
    command.args(["--initial-cluster", &format!("default={peer}")]).stdout(Stdio::null());
    let running = Running::start(command, &dir.path().join("log"))?;
    let until = Instant::now() + Duration::from_secs(30);
    while skiff_tests::http_get(&format!("{url}/health")).is_err() {
        ensure!(Instant::now() < until, "etcd did not get healthy");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(Etcd { url, running, dir })
}

/// The API server on an etcd; the etcd's cost counts as its own.
pub async fn skiff_on_etcd(bin: &Path, etcd: Etcd) -> anyhow::Result<Subject> {
    let mut subject = skiff(bin, &["apiserver", "--etcd-servers", &etcd.url], None).await?;
    subject.take(etcd);
    Ok(subject)
}

/// Whether kube-apiserver holds clients back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// As it comes.
    Limited,
    /// Not at all: the server is measured, not its patience.
    Free,
}

/// kube-apiserver on an etcd, with the credentials that `skiff apiserver` makes.
pub async fn upstream(bin: &Path, apiserver: &Path, etcd: Etcd, flow: Flow) -> anyhow::Result<Subject> {
    // Started once for its certificates and kubeconfig, which fit any API server at that address.
    let mut subject = skiff(bin, &["apiserver"], None).await?;
    subject.running.clear();
    let pki = |name: &str| subject.dir.path().join("pki").join(name).display().to_string();
    let port = subject.server.port();
    // kube-apiserver reads a public key only where it is by itself.
    let public = ["pkey", "-in", &pki("sa.key"), "-pubout", "-out", &pki("sa.pub")];
    skiff_tests::try_output(Command::new("openssl").args(public)).map_err(anyhow::Error::msg)?;
    let mut command = Command::new(apiserver);
    for (flag, value) in [
        ("etcd-servers", etcd.url.clone()),
        ("bind-address", "127.0.0.1".into()),
        ("advertise-address", skiff_tests::machine::ADDRESS.into()),
        ("secure-port", port),
        ("client-ca-file", pki("ca.crt")),
        ("tls-cert-file", pki("apiserver.crt")),
        ("tls-private-key-file", pki("apiserver.key")),
        ("service-account-key-file", pki("sa.pub")),
        ("service-account-signing-key-file", pki("sa.key")),
        ("service-account-issuer", "https://kubernetes.default.svc.cluster.local".into()),
        ("service-cluster-ip-range", "10.96.0.0/16".into()),
        ("authorization-mode", "Node,RBAC".into()),
    ] {
        command.arg(format!("--{flag}={value}"));
    }
    if flow == Flow::Free {
        command.arg("--enable-priority-and-fairness=false");
        command.args(["--max-requests-inflight=0", "--max-mutating-requests-inflight=0"]);
    }
    let (start, log) = (Instant::now(), subject.dir.path().join("upstream.log"));
    let running = Running::start(command, &log)?;
    loop {
        if let Ok(mut connection) = subject.server.connect().await
            && connection.call(("GET", "/readyz".into(), JSON, Bytes::new())).await.is_ok()
        {
            break;
        }
        if start.elapsed() > Duration::from_secs(60) {
            bail!("kube-apiserver is not ready; its log ends: {}", tail(&log));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    subject.start_s = start.elapsed().as_secs_f64();
    subject.tree = Tree(vec![running.0.id()]);
    subject.running.push(running);
    subject.take(etcd);
    Ok(subject)
}

impl Subject {
    fn take(&mut self, etcd: Etcd) {
        self.tree.0.push(etcd.running.0.id());
        self.running.push(etcd.running);
        self.others.push(etcd.dir);
    }
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}
