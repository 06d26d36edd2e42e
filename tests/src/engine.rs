//! A Docker engine of the test's own.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Process, Registry, eventually, machine, output, registry, try_output};

/// The `dockerd` to run, and where it looks for other programs: `SKIFF_TEST_DOCKERD` names one, which may stand with its
/// containerd and runc in a folder of its own.
fn program() -> (PathBuf, String) {
    let search = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    match std::env::var_os("SKIFF_TEST_DOCKERD").map(PathBuf::from) {
        Some(program) => {
            let beside = program.parent().map(|folder| folder.display().to_string()).unwrap_or_default();
            (program, format!("{beside}:{search}"))
        }
        None => ("dockerd".into(), search),
    }
}

/// An engine with its own directories and socket; what it holds goes with it.
pub struct Engine {
    process: Option<Process>,
    dir: tempfile::TempDir,
    mirror: Option<String>,
}

impl Engine {
    /// Starts an engine, which pulls through `mirror` if given.
    pub fn start(mirror: Option<&Registry>) -> Self {
        let mut engine = Self::unstarted();
        engine.mirror = mirror.map(Registry::url);
        engine.launch();
        engine
    }

    /// An engine that does not run yet.
    pub fn unstarted() -> Self {
        machine::enter();
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        Self { process: None, dir, mirror: None }
    }

    /// Ends the engine, and its containers with it.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.stop();
        }
    }

    /// Starts it (again), and waits until it answers.
    pub fn launch(&mut self) {
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        let (program, search) = program();
        let mut command = Command::new(program);
        command
            .args(["--data-root", &path("data"), "--exec-root", &path("exec"), "--pidfile", &path("pid")])
            .args(["--host", &format!("unix://{}", path("socket")), "--bridge", "none"])
            .args(["--shutdown-timeout", "2"])
            .env("PATH", search);
        if let Some(registry) = &self.mirror {
            command.args(["--registry-mirror", registry]);
        }
        self.process = Some(Process::start(command, &self.dir.path().join("log")));
        eventually("the engine", 60, || {
            try_output(self.docker().arg("version")).map_err(|_| {
                let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
                log.lines().rev().take(5).collect::<Vec<_>>().join("\n")
            })
        });
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

    /// Makes an image of Debian's nginx that answers with the name of its host. With a tag other than `latest` it is
    /// used as it is, and no registry is needed.
    pub fn import_nginx(&self, name: &str) {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        self.import(&registry::nginx_root(dir.path()), &["CMD [\"/usr/sbin/nginx\"]"], name);
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
