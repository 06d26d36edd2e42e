//! A real etcd of the test's own.

use std::process::Command;

use crate::{Process, eventually, free_port, http_get};

/// A running etcd; its data go with it.
pub struct Etcd {
    _process: Process,
    _dir: tempfile::TempDir,
    url: String,
}

impl Etcd {
    /// Starts an empty one.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let [client, peer] = [free_port(), free_port()].map(|port| format!("http://127.0.0.1:{port}"));
        let mut command = Command::new("etcd");
        command.arg("--data-dir").arg(dir.path().join("data"));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("default={peer}")]);
        let process = Process::start(command, &dir.path().join("log"));
        eventually("etcd", 30, || http_get(&format!("{client}/health")));
        Self { _process: process, _dir: dir, url: client }
    }

    /// Where clients reach it.
    pub fn url(&self) -> &str {
        &self.url
    }
}
