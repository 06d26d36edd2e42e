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
    dir: TempDir,
    urls: (String, String),
    server: Server,
    store: Arc<Etcd>,
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl EtcdBed {
    fn launch(dir: &TempDir, (client, peer): &(String, String)) -> Server {
        let log = std::fs::File::create(dir.path().join("log")).expect("the log can be made");
        let server = Command::new("etcd")
            .arg("--data-dir")
            .arg(dir.path().join("data"))
            .args(["--listen-client-urls", client, "--advertise-client-urls", client])
            .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        Server(server.expect("etcd can be started; Debian has it in etcd-server"))
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.urls.0
    }

    /// One more client, as of another API server.
    pub async fn client(&self) -> Arc<Etcd> {
        Self::client_of(self.url()).await
    }

    /// A client of what listens there.
    pub async fn client_of(url: &str) -> Arc<Etcd> {
        Arc::new(Etcd::connect(&[url], None).await.expect("etcd answers"))
    }

    /// A client, as soon as the server answers; `None` if it has ended.
    async fn reach(server: &mut Server, url: &str) -> Option<Arc<Etcd>> {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            match Etcd::connect(&[url], None).await {
                Ok(store) => return Some(Arc::new(store)),
                Err(error) => assert!(Instant::now() < until, "etcd does not answer: {error}"),
            }
            if server.0.try_wait().expect("it is our child").is_some() {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn free_url() -> String {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    format!("http://{}", socket.local_addr().expect("it is bound"))
}

impl Bed for EtcdBed {
    const CASES: u32 = 12;
    const RESTARTS: bool = false;

    async fn start() -> Self {
        // A port may be taken by another between being found and being used.
        for _ in 0..5 {
            let dir = tempfile::tempdir().expect("a temporary directory can be made");
            let urls = (free_url(), free_url());
            let mut server = Self::launch(&dir, &urls);
            if let Some(store) = Self::reach(&mut server, &urls.0).await {
                return Self { dir, urls, server, store };
            }
        }
        panic!("etcd ends at once");
    }

    fn store(&self) -> Arc<dyn Storage> {
        self.store.clone()
    }

    async fn restart(&mut self) {
        let _ = self.server.0.kill();
        let _ = self.server.0.wait();
        self.server = Self::launch(&self.dir, &self.urls);
        self.store = Self::reach(&mut self.server, &self.urls.0).await.expect("etcd starts again");
    }
}
