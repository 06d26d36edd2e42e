//! The machine that a test has for itself: a network namespace.
//!
//! Rules, interfaces, addresses and ports in it are the test's own, so that tests of the whole system run beside
//! each other and never touch the network of the machine that runs them.

use std::cell::Cell;
use std::process::Command;

use nix::sched::{CloneFlags, unshare};

use crate::output;

/// The address of the machine on its outside interface, `eth0`, a bridge with nothing behind it.
pub const ADDRESS: &str = "198.51.100.10";

thread_local! {
    static ENTERED: Cell<bool> = const { Cell::new(false) };
}

/// Moves this thread, and all that it starts from now on, into a network of its own: loopback, and an `eth0` with
/// [`ADDRESS`] and a default route that leads nowhere. The second call does nothing.
pub fn enter() {
    if ENTERED.replace(true) {
        return;
    }
    unshare(CloneFlags::CLONE_NEWNET).expect("the test's own network needs root");
    for words in [
        "link set lo up",
        "link add eth0 type bridge",
        "address add 198.51.100.10/24 dev eth0",
        "link set eth0 up",
        "route add default via 198.51.100.1",
    ] {
        output(Command::new("ip").args(words.split(' ')));
    }
}
