//! A Docker engine for one test.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use crate::fake::until;

/// An engine that ends with the test. `SKIFF_TEST_DOCKER_HOST` names one to be used instead.
pub struct Engine {
    pub host: String,
    pub process: Option<Child>,
    dir: PathBuf,
}

impl Engine {
    pub async fn start(dir: PathBuf) -> Self {
        if let Ok(host) = std::env::var("SKIFF_TEST_DOCKER_HOST") {
            return Self { host, process: None, dir };
        }
        std::fs::create_dir_all(&dir).unwrap();
        let host = format!("unix://{}", dir.join("docker.sock").display());
        let mut engine = Self { host, process: None, dir };
        engine.spawn().await;
        engine
    }

    pub async fn spawn(&mut self) {
        let at = |name: &str| self.dir.join(name).display().to_string();
        let log = std::fs::File::create(self.dir.join("log")).unwrap();
        // As for the tests of the whole system.
        let named = std::env::var_os("SKIFF_TEST_DOCKERD").map(PathBuf::from);
        let mut search = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        if let Some(folder) = named.as_ref().and_then(|program| program.parent()) {
            search = format!("{}:{search}", folder.display());
        }
        let child = Command::new(named.unwrap_or_else(|| "dockerd".into()))
            .env("PATH", search)
            .args([
                "-H",
                &self.host,
                "--data-root",
                &at("data"),
                "--exec-root",
                &at("exec"),
                "--pidfile",
                &at("pid"),
            ])
            .args(["--bridge", "none", "--iptables=false"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("dockerd is installed");
        self.process = Some(child);
        let socket = PathBuf::from(self.host.trim_start_matches("unix://"));
        until("the engine", 30, || std::os::unix::net::UnixStream::connect(&socket).ok()).await;
    }

    pub fn docker(&self, args: &[&str]) -> String {
        let out =
            Command::new("docker").args(["-H", &self.host]).args(args).output().expect("docker is installed");
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }

    /// An image of busybox, made from this machine's static one.
    pub fn make_image(&self) {
        let root = self.dir.join("root");
        std::fs::create_dir_all(root.join("bin")).unwrap();
        std::fs::create_dir_all(root.join("tmp")).unwrap();
        std::fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox is installed");
        for name in [
            "sh", "sleep", "httpd", "cat", "id", "env", "echo", "touch", "test", "hostname", "grep", "stty",
            "nc",
        ] {
            let _ = std::os::unix::fs::symlink("busybox", root.join("bin").join(name));
        }
        let script =
            format!("tar -C {} -c . | docker -H {} import - skifftest/busybox:1", root.display(), self.host);
        assert!(Command::new("sh").args(["-c", &script]).stdout(Stdio::null()).status().unwrap().success());
    }

    pub fn stop(&mut self) {
        if let Some(mut child) = self.process.take() {
            let _ = Command::new("kill").arg(child.id().to_string()).status();
            let _ = child.wait();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let ours = self.process.is_some();
        self.stop();
        if ours {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}
