//! A machine that boots: systemd as the first process, with this machine's programs, settings of its own, and a disk that
//! outlives it. What happens between its first process and the kernel stands in `boot/boot.sh`.
//!
//! It has its own processes, mounts and control groups, and a network that is new at each boot, as the kernel's is.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Process, bin, eventually, machine, output, repository, try_output, within};

/// Settings that the machine shares with ours; all else that stands in `/etc` it does not know.
const SETTINGS: [&str; 20] = [
    "alternatives",
    "dbus-1",
    "debian_version",
    "gshadow",
    "group",
    "iproute2",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "login.defs",
    "nsswitch.conf",
    "os-release",
    "pam.d",
    "passwd",
    "protocols",
    "rpc",
    "security",
    "services",
    "shadow",
    "ssl",
];

/// The machine, switched off at first. It has the repository at `/source` and the binaries at `/built`.
#[derive(Debug)]
pub struct Machine {
    disk: tempfile::TempDir,
    group: String,
    running: Option<(Process, String)>,
}

impl Machine {
    /// A machine with an empty disk.
    pub fn new() -> Self {
        let disk = tempfile::tempdir().expect("a temporary directory can be made");
        let root = disk.path().join("root");
        for folder in [
            "built", "dev", "etc", "home", "opt", "proc", "root", "run", "source", "sys", "tmp", "var/lib",
            "var/log", "var/tmp",
        ] {
            std::fs::create_dir_all(root.join(folder)).expect("a folder can be made");
        }
        std::os::unix::fs::symlink("/run", root.join("var/run")).expect("a link can be made");
        // Where `/bin` is `/usr/bin`, it is so there too.
        for folder in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
            if let Ok(target) = std::fs::read_link(Path::new("/").join(folder)) {
                std::os::unix::fs::symlink(target, root.join(folder)).expect("a link can be made");
            }
        }
        let held = SETTINGS.iter().map(|name| Path::new("/etc").join(name)).filter(|path| path.exists());
        output(Command::new("cp").arg("-a").args(held).arg(root.join("etc")));
        // With an id it is no first boot, at which everything that is installed here would be enabled.
        let id = std::fs::read_to_string("/proc/sys/kernel/random/uuid").expect("the kernel makes ids");
        for (name, text) in [
            ("machine-id", id.replace('-', "")),
            ("hostname", "booted\n".to_owned()),
            ("hosts", "127.0.0.1 localhost\n".to_owned()),
            ("resolv.conf", "nameserver 127.0.0.1\n".to_owned()),
        ] {
            std::fs::write(root.join("etc").join(name), text).expect("a file can be written");
        }
        let built = bin("skiff").parent().map(Path::to_owned).expect("a program is in a folder");
        for (name, path) in [("source", repository(".")), ("built", built)] {
            let path = path.canonicalize().expect("the folder is there");
            std::fs::write(disk.path().join(name), path.display().to_string())
                .expect("a file can be written");
        }
        let group = format!("skiff-boot-{}", disk.path().file_name().unwrap_or_default().to_string_lossy());
        Self { disk, group, running: None }
    }

    /// Switches it on, and waits until it has started what it starts.
    pub fn boot(&mut self) {
        let (disk, log) = (self.disk.path(), self.disk.path().join("log"));
        let told = disk.join("pid");
        let _ = std::fs::remove_file(&told);
        let mut command = Command::new(repository("tests/boot/boot.sh"));
        command.arg(disk).arg(&self.group);
        // In a thread that has a network of its own, and leaves it to what it starts.
        let start = || {
            machine::enter();
            Process::start(command, &log)
        };
        let process = std::thread::scope(|scope| scope.spawn(start).join().expect("the boot can be started"));
        let first = eventually("the first process", 30, || {
            let said = || std::fs::read_to_string(&log).unwrap_or_default();
            std::fs::read_to_string(&told).ok().filter(|pid| !pid.is_empty()).ok_or_else(said)
        });
        self.running = Some((process, first.trim().to_owned()));
        eventually("the boot", 60, || match self.try_run("systemctl is-system-running") {
            // Something of no matter may have failed.
            Ok(_) => Ok(()),
            Err(said) if said.trim() == "degraded" => Ok(()),
            Err(said) => Err(said),
        });
    }

    /// What a line of bash prints there, or how it failed.
    pub fn try_run(&self, line: &str) -> Result<String, String> {
        let (_, first) = self.running.as_ref().expect("it is switched on");
        let mut command = Command::new("nsenter");
        command.args(["-t", first, "-a", "-r", "-w", "env", "-i", "HOME=/root", "NO_PROXY=*"]);
        command
            .arg("PATH=/opt/skiff/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .args(["bash", "-c", line]);
        try_output(&mut command)
    }

    /// What a line of bash prints there; it must succeed.
    pub fn run(&self, line: &str) -> String {
        self.try_run(line).unwrap_or_else(|said| panic!("{line}: {said}"))
    }

    /// Waits until a line of bash succeeds, and prints what is wanted.
    pub fn until(&self, line: &str, seconds: u64, wanted: impl Fn(&str) -> bool) -> String {
        eventually(line, seconds, || {
            let said = self.try_run(line)?;
            if wanted(&said) { Ok(said) } else { Err(said) }
        })
    }

    /// Has it reboot as a person does, and answers when it is on again.
    pub fn reboot(&mut self) {
        self.run("systemctl reboot");
        let (mut process, _) = self.running.take().expect("it is switched on");
        process.wait(60);
        self.boot();
    }

    /// A folder of its disk.
    pub fn path(&self, path: &str) -> PathBuf {
        self.disk.path().join("root").join(path.trim_start_matches('/'))
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() && self.running.is_some() {
            let said = self.try_run("systemctl --failed --no-pager; journalctl -b -n 60 --no-pager");
            eprintln!("{}", said.unwrap_or_else(|said| said));
        }
        // All other processes end with the first.
        if let Some((mut process, _)) = self.running.take() {
            process.kill();
        }
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
        let hierarchies = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        for words in hierarchies.filter(|words| matches!(words.get(2), Some(&"cgroup" | &"cgroup2"))) {
            let group = Path::new(words[1]).join(&self.group);
            // A group is busy for a moment after its last process.
            if let Err(error) = within(20, || remove(&group).map_err(|error| error.to_string())) {
                eprintln!("{} stays: {error}", group.display());
            }
        }
    }
}

/// Removes a control group and all below it.
fn remove(group: &Path) -> std::io::Result<()> {
    if !group.exists() {
        return Ok(());
    }
    for entry in std::fs::read_dir(group)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    std::fs::remove_dir(group)
}
