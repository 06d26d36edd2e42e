//! A registry on loopback that stands in for Docker Hub.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Engine, Process, eventually, free_port, http_get, output};

/// Who may use a guarded registry.
pub const USER: &str = "tester";
/// The password of [`USER`].
pub const PASSWORD: &str = "s3cret";
/// The line for both in the registry's file of passwords.
const HTPASSWD: &str = "tester:$2b$05$IxvbdoLxGqJDHPdJU.P9OetOxyxn7Usv1LVyOpVPxY1coa5IBep72\n";
/// Both as clients send them.
const AUTH: &str = "dGVzdGVyOnMzY3JldA==";

/// A running registry.
pub struct Registry {
    _process: Process,
    dir: tempfile::TempDir,
    port: u16,
}

impl Registry {
    /// Starts an empty registry.
    pub fn start() -> Self {
        Self::start_with("", "")
    }

    /// Starts one that asks for [`USER`] and [`PASSWORD`].
    pub fn start_guarded() -> Self {
        Self::start_with(
            "auth:\n  htpasswd:\n    realm: tests\n    path: DIR/htpasswd\n",
            &format!("{USER}:{PASSWORD}@"),
        )
    }

    fn start_with(more: &str, user: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let port = free_port();
        let at = dir.path().display().to_string();
        let config = format!(
            "version: 0.1\nlog:\n  level: warn\nstorage:\n  filesystem:\n    rootdirectory: {at}/data\nhttp:\n  addr: 127.0.0.1:{port}\n{}",
            more.replace("DIR", &at)
        );
        std::fs::write(dir.path().join("htpasswd"), HTPASSWD).expect("a file can be written");
        let path = dir.path().join("config.yml");
        std::fs::write(&path, config).expect("the configuration can be written");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&path);
        let process = Process::start(command, &dir.path().join("log"));
        let registry = Self { _process: process, dir, port };
        eventually("the registry", 30, || http_get(&format!("http://{user}127.0.0.1:{port}/v2/")));
        registry
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The name under which an image is in this registry, and nowhere else.
    pub fn name_of(&self, image: &str) -> String {
        format!("127.0.0.1:{}/library/{image}", self.port)
    }

    /// Its address as names of images have it.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Puts an image of the engine into it as `library/NAME`, and removes it from the engine.
    pub fn push(&self, engine: &Engine, image: &str) {
        let there = self.name_of(image);
        let known = format!("{{\"auths\":{{\"{}\":{{\"auth\":\"{AUTH}\"}}}}}}", self.host());
        std::fs::write(self.dir.path().join("config.json"), known).expect("a file can be written");
        output(engine.docker().args(["tag", image, &there]));
        output(engine.docker().arg("--config").arg(self.dir.path()).args(["push", &there]));
        output(engine.docker().args(["rmi", image, &there]));
    }
}

/// Copies a program with every library that it needs below `root`.
pub fn copy_program(program: &str, root: &Path) {
    let listing = output(Command::new("ldd").arg(program));
    let libraries = listing.split_whitespace().filter(|word| word.starts_with('/'));
    for file in libraries.chain([program]) {
        let target = root.join(file.trim_start_matches('/'));
        std::fs::create_dir_all(target.parent().expect("the path has a folder"))
            .expect("a folder can be made");
        std::fs::copy(file, &target).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
}

/// The root of an image with Debian's nginx and busybox: what `nginx:latest` is to the tests.
pub fn nginx_root(dir: &Path) -> PathBuf {
    let root = dir.join("nginx");
    copy_program("/usr/sbin/nginx", &root);
    for folder in ["etc/nginx", "var/log/nginx", "var/lib/nginx", "usr/share/nginx/html", "bin", "tmp", "run"]
    {
        std::fs::create_dir_all(root.join(folder)).expect("a folder can be made");
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox is installed");
    for applet in ["sh", "cat", "sleep", "nslookup", "hostname", "ls", "kill", "nc"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).expect("a link can be made");
    }
    let config = "daemon off;\nuser root;\nerror_log /dev/stderr;\nevents {}\nhttp {\n  access_log /dev/stdout;\n  \
                  server {\n    listen 80;\n    location / { return 200 \"$hostname\\n\"; }\n    \
                  location /client { return 200 \"$remote_addr\\n\"; }\n  }\n}\n";
    std::fs::write(root.join("etc/nginx/nginx.conf"), config).expect("the configuration can be written");
    std::fs::write(root.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n").expect("a file can be written");
    std::fs::write(root.join("etc/group"), "root:x:0:\n").expect("a file can be written");
    root
}

/// The root of an image with Debian's Python and its library.
pub fn python_root(dir: &Path) -> PathBuf {
    let root = dir.join("python");
    copy_program("/usr/bin/python3", &root);
    let library = root.join("usr/lib");
    std::fs::create_dir_all(&library).expect("a folder can be made");
    output(Command::new("cp").args(["-a", "/usr/lib/python3.11"]).arg(&library));
    // What its modules for TLS need besides.
    for module in std::fs::read_dir("/usr/lib/python3.11/lib-dynload").expect("Python is installed").flatten()
    {
        let path = module.path().display().to_string();
        if path.contains("/_ssl.") || path.contains("/_hashlib.") {
            copy_program(&path, &root);
        }
    }
    std::fs::create_dir_all(root.join("tmp")).expect("a folder can be made");
    root
}
