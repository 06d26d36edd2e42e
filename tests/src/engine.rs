//! A Docker engine of the test's own.

use std::path::Path;
use std::process::Command;

use crate::{Process, Registry, eventually, machine, output, try_output};

/// An engine with its own directories and socket; what it holds goes with it.
pub struct Engine {
    _process: Process,
    dir: tempfile::TempDir,
}

impl Engine {
    /// Starts an engine, which pulls through `mirror` if given.
    pub fn start(mirror: Option<&Registry>) -> Self {
        machine::enter();
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let path = |name: &str| dir.path().join(name).display().to_string();
        let mut command = Command::new("dockerd");
        command
            .args(["--data-root", &path("data"), "--exec-root", &path("exec"), "--pidfile", &path("pid")])
            .args(["--host", &format!("unix://{}", path("socket")), "--bridge", "none"])
            .env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()));
        if let Some(registry) = mirror {
            command.args(["--registry-mirror", &registry.url()]);
        }
        let process = Process::start(command, &dir.path().join("log"));
        let engine = Self { _process: process, dir };
        eventually("the engine", 60, || {
            try_output(engine.docker().arg("version")).map_err(|_| {
                let log = std::fs::read_to_string(engine.dir.path().join("log")).unwrap_or_default();
                log.lines().rev().take(5).collect::<Vec<_>>().join("\n")
            })
        });
        engine
    }

    /// Its address.
    pub fn host(&self) -> String {
        format!("unix://{}", self.dir.path().join("socket").display())
    }

    /// A docker command to it.
    pub fn docker(&self) -> Command {
        let mut command = Command::new("docker");
        command.arg("--host").arg(self.host());
        command
    }

    /// Makes an image from files that stand below `root`.
    pub fn import(&self, root: &Path, changes: &[&str], name: &str) {
        let archive = self.dir.path().join("image.tar");
        output(Command::new("tar").arg("-C").arg(root).arg("-cf").arg(&archive).arg("."));
        let mut command = self.docker();
        command.arg("import");
        for change in changes {
            command.args(["--change", change]);
        }
        output(command.arg(&archive).arg(name));
    }
}
