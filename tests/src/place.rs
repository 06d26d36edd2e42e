//! Other places in the network of a test: a machine next to ours, and the inside of a pod.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;

use nix::sched::{CloneFlags, setns, unshare};

use crate::{Engine, machine, output};

/// A network namespace.
#[derive(Debug)]
pub struct Place(File);

impl Place {
    /// A machine beside ours at [`machine::GATEWAY`], to which the default route of ours leads. It has no route to
    /// pods and services.
    pub fn outside() -> Self {
        machine::enter();
        let outside = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("another network needs root");
            ip("link set lo up");
            Self(File::open("/proc/thread-self/ns/net").expect("a thread has a network"))
        });
        let outside = outside.join().expect("the thread makes a network");
        let path = format!("/proc/{}/fd/{}", std::process::id(), outside.0.as_raw_fd());
        ip("link add uplink type veth peer name outside");
        ip("link set uplink master eth0 up");
        output(Command::new("ip").args(["link", "set", "outside", "netns", &path]));
        outside.run(|| {
            ip(&format!("address add {}/24 dev outside", machine::GATEWAY));
            ip("link set outside up");
        });
        machine::resolve_by(machine::GATEWAY);
        outside
    }

    /// The inside of a container of the engine.
    pub fn of_container(engine: &Engine, id: &str) -> Self {
        let pid = output(engine.docker().args(["inspect", "--format", "{{.State.Pid}}", id]));
        let path = format!("/proc/{}/ns/net", pid.trim());
        Self(File::open(&path).unwrap_or_else(|error| panic!("{path}: {error}")))
    }

    /// Does something there; what it starts stays there.
    pub fn run<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let there = scope.spawn(|| {
                self.enter();
                what()
            });
            there.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Moves this thread there.
    pub fn enter(&self) {
        setns(self.0.as_fd(), CloneFlags::CLONE_NEWNET).expect("the place is still there");
    }
}

/// Runs `ip` with these words.
pub fn ip(words: &str) -> String {
    output(Command::new("ip").args(words.split(' ')))
}
