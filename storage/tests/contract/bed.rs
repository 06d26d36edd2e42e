//! Stores under test: how each is made, reached, and restarted.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use skiff_storage::Storage;
use skiff_storage::embedded::{Embedded, Options};
use skiff_storage::etcd::Etcd;
use tempfile::TempDir;

/// A store of its own for one test.
pub trait Bed: Sized {
    /// Cases of the randomised test that this store has time for.
    const CASES: u32;
    /// Whether it is restarted in the randomised test.
    const RESTARTS: bool;
    async fn start() -> Self;
    fn store(&self) -> Arc<dyn Storage>;
    /// Ends the store and starts it again on what it left behind.
    async fn restart(&mut self);
}

pub struct EmbeddedBed {
    dir: TempDir,
    store: Option<Arc<Embedded>>,
}

impl EmbeddedBed {
    fn open(dir: &TempDir) -> Option<Arc<Embedded>> {
        Some(Arc::new(Embedded::open(dir.path(), Options::default()).expect("the store opens")))
    }
}

impl Bed for EmbeddedBed {
    const CASES: u32 = 64;
    const RESTARTS: bool = true;

    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let store = Self::open(&dir);
        Self { dir, store }
    }

    fn store(&self) -> Arc<dyn Storage> {
        self.store.clone().expect("it is open")
    }

    async fn restart(&mut self) {
        let store = self.store.take().expect("it is open");
        assert!(Arc::into_inner(store).is_some(), "the test still holds the store");
        self.store = Self::open(&self.dir);
    }
}

/// An etcd server, and a client of it.
pub struct EtcdBed {
    members: EtcdMembers,
    store: Arc<Etcd>,
}

impl EtcdBed {
    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.members.0[0].client
    }

    /// One more client, as of another API server.
    pub async fn client(&self) -> Arc<Etcd> {
        self.members.client().await
    }

    /// A client of what listens there.
    pub async fn client_of(urls: &[impl AsRef<str>]) -> Arc<Etcd> {
        Arc::new(Etcd::connect(urls, None).await.expect("etcd answers"))
    }
}

impl Bed for EtcdBed {
    const CASES: u32 = 12;
    const RESTARTS: bool = false;

    async fn start() -> Self {
        let members = EtcdMembers::start(1).await;
        let store = members.client().await;
        Self { members, store }
    }

    fn store(&self) -> Arc<dyn Storage> {
        self.store.clone()
    }

    async fn restart(&mut self) {
        self.members.kill(0);
        self.members.launch(0).await;
        self.store = self.members.client().await;
    }
}

/// The members of an etcd cluster.
pub struct EtcdMembers(Vec<Member>);

struct Member {
    dir: TempDir,
    client: String,
    peer: String,
    process: Option<Child>,
}

impl EtcdMembers {
    /// So many, which answer.
    pub async fn start(count: usize) -> Self {
        // A port may be taken by another between being found and being used.
        for _ in 0..5 {
            let member = |_| Member {
                dir: tempfile::tempdir().expect("a temporary directory can be made"),
                client: free_url(),
                peer: free_url(),
                process: None,
            };
            let mut members = Self((0..count).map(member).collect());
            (0..count).for_each(|at| members.spawn(at));
            if members.answer().await {
                return members;
            }
        }
        panic!("etcd ends at once");
    }

    /// A client that knows them all.
    pub async fn client(&self) -> Arc<Etcd> {
        let urls: Vec<&str> = self.0.iter().map(|member| &*member.client).collect();
        EtcdBed::client_of(&urls).await
    }

    /// Ends a member at once.
    pub fn kill(&mut self, at: usize) {
        self.0[at].kill();
    }

    /// Starts a member on what it left; it answers when this returns.
    pub async fn launch(&mut self, at: usize) {
        self.spawn(at);
        assert!(self.answer().await, "etcd starts again");
    }

    fn spawn(&mut self, at: usize) {
        let all: Vec<String> =
            self.0.iter().enumerate().map(|(at, member)| format!("m{at}={}", member.peer)).collect();
        let member = &mut self.0[at];
        let log = std::fs::File::create(member.dir.path().join("log")).expect("the log can be made");
        let process = Command::new("etcd")
            .args(["--name", &format!("m{at}"), "--data-dir"])
            .arg(member.dir.path().join("data"))
            .args(["--listen-client-urls", &member.client, "--advertise-client-urls", &member.client])
            .args(["--listen-peer-urls", &member.peer, "--initial-advertise-peer-urls", &member.peer])
            .args(["--initial-cluster", &all.join(",")])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        member.process = Some(process.expect("etcd can be started; Debian has it in etcd-server"));
    }

    /// Waits until each member answers a read that a leader must confirm; `false` if one has ended.
    async fn answer(&mut self) -> bool {
        let until = Instant::now() + Duration::from_secs(30);
        for member in &mut self.0 {
            let url = member.client.clone();
            loop {
                let answer = match Etcd::connect(&[&url], None).await {
                    Ok(store) => store.revision().await.map(|_| ()),
                    Err(error) => Err(error),
                };
                let Err(error) = answer else { break };
                assert!(Instant::now() < until, "etcd does not answer: {error}");
                let process = member.process.as_mut().expect("it was started");
                if process.try_wait().expect("it is our child").is_some() {
                    return false;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        true
    }
}

impl Member {
    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_url() -> String {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    format!("http://{}", socket.local_addr().expect("it is bound"))
}
