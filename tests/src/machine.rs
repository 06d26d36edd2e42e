//! The machine that a test has for itself: a network namespace, and the mounts that go with it.
//!
//! Rules, interfaces, addresses and ports in it are the test's own, so that tests of the whole system run beside
//! each other and never touch the network of the machine that runs them.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use crate::output;

/// The address of the machine on its outside interface, `eth0`, a bridge with nothing behind it at first.
pub const ADDRESS: &str = "198.51.100.10";

/// The next machine: the default route leads there. Nobody is there unless the test makes
/// [`Place::outside`](crate::Place::outside); then it is the resolver of ours too.
pub const GATEWAY: &str = "198.51.100.1";

thread_local! {
    static ENTERED: Cell<bool> = const { Cell::new(false) };
}

/// Moves this thread, and all that it starts from now on, into a network of its own: loopback, and an `eth0` with
/// [`ADDRESS`] and a default route to [`GATEWAY`]. The second call does nothing.
pub fn enter() {
    if ENTERED.replace(true) {
        return;
    }
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("the test's own network needs root");
    for words in [
        "link set lo up",
        "link add eth0 type bridge",
        "address add 198.51.100.10/24 dev eth0",
        "link set eth0 up",
        "route add default via 198.51.100.1",
    ] {
        output(Command::new("ip").args(words.split(' ')));
    }
    // A new network takes its settings from the machine that it is made on; ours is to be a fresh one.
    let local_routes = "/proc/sys/net/ipv4/conf/all/route_localnet";
    std::fs::write(local_routes, "0").expect("settings of the test's own network can be written");
    own_mounts().expect("the test's own mounts need root");
}

/// A folder of the machine in whose place the test sees an empty one of its own.
#[derive(Debug)]
pub struct Hidden {
    path: PathBuf,
    _own: tempfile::TempDir,
}

/// Hides a folder, from this thread and all that it starts from now on.
pub fn hide(path: &str) -> Hidden {
    enter();
    let own = tempfile::tempdir().expect("a temporary directory can be made");
    let none: Option<&str> = None;
    mount(Some(own.path()), path, none, MsFlags::MS_BIND, none).expect("the test's own mounts need root");
    Hidden { path: path.into(), _own: own }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Err(error) = umount2(&self.path, MntFlags::MNT_DETACH) {
            eprintln!("{} stays hidden: {error}", self.path.display());
        }
    }
}

/// The processes that are in this thread's network, by id: what the test has started and what that has started, but for
/// containers with a network of their own.
pub fn processes() -> BTreeMap<i32, String> {
    let network = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/net")).ok();
    let here = network("thread-self");
    let all = std::fs::read_dir("/proc").expect("processes are listed").flatten();
    let names = all.filter_map(|entry| entry.file_name().into_string().ok());
    let here = names.filter(|name| here.is_some() && network(name) == here);
    let found = here.filter_map(|name| {
        let said = std::fs::read_to_string(format!("/proc/{name}/comm")).ok()?;
        Some((name.parse().ok()?, said.trim().to_owned()))
    });
    found.collect()
}

/// Names a resolver in `/etc/resolv.conf`.
pub fn resolve_by(address: &str) {
    std::fs::write("/etc/resolv.conf", format!("nameserver {address}\n"))
        .expect("the file is the test's own");
}

/// `/sys` of this network (settings of its interfaces are files there), and a resolver of the test's own: nobody, who
/// says so at once. The engine asks it for names of registries before it asks the one that stands in for them.
fn own_mounts() -> std::io::Result<()> {
    let none: Option<&str> = None;
    let dir = tempfile::tempdir()?.keep();
    let bind = |from: &Path, to: &Path| mount(Some(from), to, none, MsFlags::MS_BIND | MsFlags::MS_REC, none);
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    // The control groups are mounted below /sys and are to stay there.
    let groups = Path::new("/sys/fs/cgroup");
    bind(groups, &dir)?;
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none)?;
    bind(&dir, groups)?;
    umount2(&dir, MntFlags::MNT_DETACH)?;
    let resolver = dir.join("resolv.conf");
    std::fs::write(&resolver, "nameserver 127.0.0.1\n")?;
    bind(&resolver, Path::new("/etc/resolv.conf"))?;
    // The mount keeps the file when its name goes.
    std::fs::remove_file(&resolver)?;
    std::fs::remove_dir(&dir)
}
