//! Measures this build on this machine, beside `docker run` and, where `PEER_KUBE_APISERVER` (and `PEER_ETCD`) name
//! one, beside kube-apiserver; prints a table and keeps it in a file.
//!
//! Everything runs in a network of its own with an engine of its own. The load generator shares the machine with what it
//! measures, the same for both sides: ratios say more than absolute figures.

mod connection;
mod load;
mod pod;
mod replay;
mod report;
mod subject;
mod tree;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Parser;
use hyper::body::Bytes;
use skiff_tests::{Engine, machine};

use load::{JSON, Sample};
use report::Report;
use subject::Subject;

#[derive(Parser)]
struct Options {
    /// Where the binaries under measurement are.
    #[arg(long, default_value = "target/release")]
    bin: PathBuf,
    /// How many pods are held for the list.
    #[arg(long, default_value_t = 27_000, env = "PODS")]
    pods: usize,
    /// How many objects each run of load makes.
    #[arg(long, default_value_t = 10_000, env = "COUNT")]
    count: usize,
    /// A kube-apiserver to measure beside.
    #[arg(long, env = "PEER_KUBE_APISERVER")]
    peer: Option<PathBuf>,
    /// The etcd that both stand on.
    #[arg(long, env = "PEER_ETCD", default_value = "etcd")]
    etcd: PathBuf,
    /// Only creates pods, on the server of this kubeconfig, for a profiler to look at.
    #[arg(long)]
    creates_on: Option<PathBuf>,
    /// Measures nothing: sends the corpus of requests to both servers and prints what they answer differently.
    #[arg(long)]
    replay: bool,
    /// Of the corpus, only what has this in its title.
    #[arg(long, default_value = "")]
    only: String,
    /// Of what is answered differently, also what is known to be.
    #[arg(long)]
    explained: bool,
    /// Where the table is kept.
    #[arg(long, default_value = "bench/RESULTS.md")]
    out: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.install_default().expect("nothing was installed before");
    if options.creates_on.is_none() {
        // Before any thread: all of them shall be in this network.
        machine::enter();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match &options.creates_on {
            Some(kubeconfig) => creates_on(kubeconfig, options.count).await,
            None if options.replay => {
                let peer = options.peer.as_deref().context("PEER_KUBE_APISERVER names no kube-apiserver")?;
                replay::run(&options.bin, peer, &options.etcd, &options.only, options.explained).await
            }
            None => measure(&options).await,
        }
    })
}

async fn creates_on(kubeconfig: &Path, count: usize) -> anyhow::Result<()> {
    let server = connection::Server::from_kubeconfig(kubeconfig).await?;
    load::prepare(&server).await?;
    let run = std::process::id() as usize;
    let sample =
        load::run(&server, &tree::Tree(Vec::new()), count, 16, move |n| load::create_pod(run, n)).await?;
    eprintln!("{}", rate(sample).1);
    Ok(())
}

async fn measure(options: &Options) -> anyhow::Result<()> {
    let mut report = Report::default();
    node(options, &mut report).await?;
    starts(options, &mut report).await?;
    api(options, &mut report).await?;
    let page = report.page(&facts());
    std::fs::write(&options.out, &page)?;
    Ok(())
}

/// What a cluster with one Docker node costs, and how soon a pod runs in it.
async fn node(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let engine = Engine::start(None);
    pod::image(&engine)?;
    let mut starts = Vec::new();
    for _ in 0..5 {
        starts.push(subject::skiff(&options.bin, &["up"], Some(&engine.host())).await?.start_s);
    }
    report.less("start to ready, one Docker node", None, seconds(median(starts)), "1 s");
    let subject = subject::skiff(&options.bin, &["up"], Some(&engine.host())).await?;
    // Idle is a state of rest, not a condition to wait for.
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    report.less(
        "memory, idle, all components and a Docker node",
        None,
        megabytes(subject.tree.pss_mb()),
        "60 MB",
    );
    let (mut pods, mut containers) = (Vec::new(), Vec::new());
    for round in 0..11 {
        containers.push(pod::two_containers(&engine));
        pods.push(pod::apply_to_running(&options.bin, &subject, &format!("pod-{round}")).await?);
    }
    let beside = Some(seconds(median(containers)));
    report.less(
        "`ctl apply` of a pod to Running, beside two `docker run`",
        beside,
        seconds(median(pods)),
        "0.8 ×",
    );
    Ok(())
}

/// Start and memory of the API server alone.
async fn starts(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let (mut peers, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        ours.push(subject::skiff(&options.bin, &["apiserver"], None).await?.start_s);
        if let Some(peer) = peer(options).await? {
            peers.push(peer.start_s);
        }
    }
    let beside = (!peers.is_empty()).then(|| seconds(median(peers)));
    report.less("start to ready, API", beside, seconds(median(ours)), "0.3 s");
    Ok(())
}

/// Load on the API: embedded store, etcd, and upstream on the same etcd.
async fn api(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let peer = match peer(options).await? {
        Some(subject) => Some(Figures::take(subject, options).await?),
        None => None,
    };
    let etcd = subject::etcd(&options.etcd).await?;
    let on_etcd = Figures::take(subject::skiff_on_etcd(&options.bin, etcd).await?, options).await?;
    let embedded = Figures::take(subject::skiff(&options.bin, &["apiserver"], None).await?, options).await?;
    let peer = peer.as_ref();
    for (name, ours, aim) in [("embedded", &embedded, "6 ×, at 64 8 ×"), ("etcd", &on_etcd, "3 ×")] {
        for (index, connections) in CREATES.iter().enumerate() {
            let what = format!("durable creates of a 2 KB pod, {name}, {connections} connections");
            report.more(&what, peer.map(|all| rate(all.creates[index])), rate(ours.creates[index]), aim);
        }
    }
    report.more("GET of a pod, 32 connections", peer.map(|all| rate(all.gets)), rate(embedded.gets), "8 ×");
    report.more(
        "renewal of a Lease by merge patch, 16 connections",
        peer.map(|all| rate(all.leases)),
        rate(embedded.leases),
        "8 ×",
    );
    let patches = "strategic patch of a pod, 16 connections";
    report.more(patches, peer.map(|all| rate(all.patches)), rate(embedded.patches), "8 ×");
    let what = format!("LIST of {} pods ({:.0} MB), one connection", options.pods, embedded.list_mb);
    report.less(&what, peer.map(|all| seconds(all.list_s)), seconds(embedded.list_s), "10 ×");
    let what = "server CPU of one such LIST";
    report.less(what, peer.map(|all| seconds(all.list_cpu_s)), seconds(embedded.list_cpu_s), "10 ×");
    let what = "memory holding them";
    report.less(what, peer.map(|all| megabytes(all.held_mb)), megabytes(embedded.held_mb), "5 ×");
    let what = "peak memory";
    report.less(what, peer.map(|all| megabytes(all.peak_mb)), megabytes(embedded.peak_mb), "10 ×");
    report.less(
        "memory, API server and store, before the load",
        peer.map(|all| megabytes(all.idle_mb)),
        megabytes(embedded.idle_mb),
        "40 MB",
    );
    Ok(())
}

/// So many that no two of those in flight renew the same.
const LEASES: usize = 1000;

const CREATES: [usize; 2] = [16, 64];

/// What load showed of one server.
struct Figures {
    creates: [Sample; 2],
    gets: Sample,
    leases: Sample,
    patches: Sample,
    list_s: f64,
    list_cpu_s: f64,
    list_mb: f64,
    idle_mb: f64,
    held_mb: f64,
    peak_mb: f64,
}

impl Figures {
    async fn take(subject: Subject, options: &Options) -> anyhow::Result<Self> {
        let (server, tree, count) = (&subject.server, &subject.tree, options.count);
        load::prepare(server).await?;
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        let idle_mb = tree.pss_mb();
        let create = |run: usize| move |number: usize| load::create_pod(run, number);
        let creates = [
            load::run(server, tree, count, CREATES[0], create(0)).await?,
            load::run(server, tree, count, CREATES[1], create(1)).await?,
        ];
        let get = move |number: usize| {
            ("GET", format!("{}/p-0-{}", load::pods(), number % count), JSON, Bytes::new())
        };
        let gets = load::run(server, tree, count * 2, 32, get).await?;
        let leases_path = format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", load::NAMESPACE);
        let lease = |number: usize| {
            Bytes::from(format!(
                r#"{{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{{"name":"l-{number}"}},"spec":{{"holderIdentity":"bench","leaseDurationSeconds":40}}}}"#
            ))
        };
        let path = leases_path.clone();
        load::run(server, tree, LEASES, 4, move |number| ("POST", path.clone(), JSON, lease(number))).await?;
        let renew = move |number: usize| {
            let body =
                format!(r#"{{"spec":{{"renewTime":"2026-01-01T00:00:00.{:06}Z"}}}}"#, number % 1_000_000);
            let path = format!("{leases_path}/l-{}", number % LEASES);
            ("PATCH", path, "application/merge-patch+json", Bytes::from(body))
        };
        let leases = load::run(server, tree, count, 16, renew).await?;
        let patch = move |number: usize| {
            let body = format!(r#"{{"metadata":{{"labels":{{"round":"r-{number}"}}}}}}"#);
            let path = format!("{}/p-0-{}", load::pods(), number % count);
            ("PATCH", path, "application/strategic-merge-patch+json", Bytes::from(body))
        };
        let patches = load::run(server, tree, count, 16, patch).await?;
        let more = options.pods.saturating_sub(2 * count);
        load::run(server, tree, more, 16, create(2)).await?;
        let mut connection = server.connect().await?;
        let (mut list_s, mut list_mb, cpu) = (f64::MAX, 0.0, tree.cpu_s());
        for _ in 0..3 {
            let start = std::time::Instant::now();
            let size = connection.call(("GET", load::pods(), JSON, Bytes::new())).await?;
            list_s = start.elapsed().as_secs_f64().min(list_s);
            list_mb = size as f64 / 1e6;
        }
        let list_cpu_s = (tree.cpu_s() - cpu) / 3.0;
        let (held_mb, peak_mb) = (tree.pss_mb(), tree.peak_mb());
        Ok(Self { creates, gets, leases, patches, list_s, list_cpu_s, list_mb, idle_mb, held_mb, peak_mb })
    }
}

async fn peer(options: &Options) -> anyhow::Result<Option<Subject>> {
    let Some(apiserver) = &options.peer else { return Ok(None) };
    let etcd = subject::etcd(&options.etcd).await?;
    Ok(Some(subject::upstream(&options.bin, apiserver, etcd, subject::Flow::Free).await?))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn seconds(value: f64) -> (f64, String) {
    (value, format!("{value:.2} s"))
}

fn megabytes(value: f64) -> (f64, String) {
    (value, format!("{value:.0} MB"))
}

fn rate(sample: Sample) -> (f64, String) {
    let Sample { rate, p50_ms, p99_ms, cpu_ms } = sample;
    (rate, format!("{rate:.0}/s, p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms, {cpu_ms:.2} ms CPU"))
}

/// When, what and where.
fn facts() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    let run = |words: &[&str]| {
        let mut command = std::process::Command::new(words[0]);
        let said = skiff_tests::try_output(command.args(&words[1..])).unwrap_or_default();
        said.trim().to_owned()
    };
    format!(
        "{}, commit {}. Machine: {} × {}, Linux {}. Upstream, where it stands beside, is the kube-apiserver and the etcd \
         that the run was given, with the same certificates, RBAC and TLS.",
        run(&["date", "+%F"]),
        run(&["git", "rev-parse", "--short", "HEAD"]),
        std::thread::available_parallelism().map_or(0, usize::from),
        cpu.trim_start_matches([' ', '\t', ':']),
        run(&["uname", "-r"]),
    )
}
