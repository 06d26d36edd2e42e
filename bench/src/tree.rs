//! What a process and all that it started cost: memory and processor time, from `/proc`.

use std::fs;

/// Clock ticks in a second, as Linux shows them to user space (`USER_HZ`).
const TICKS: f64 = 100.0;

/// A process with its descendants.
pub struct Tree(pub Vec<u32>);

impl Tree {
    /// Their proportional set size, in MB.
    pub fn pss_mb(&self) -> f64 {
        let kib: f64 = self.all().into_iter().map(|pid| field(pid, "smaps_rollup", "Pss:")).sum();
        kib / 1024.0
    }

    /// The highest resident size that any moment saw, summed over the processes, in MB.
    pub fn peak_mb(&self) -> f64 {
        self.all().into_iter().map(|pid| field(pid, "status", "VmHWM:")).sum::<f64>() / 1024.0
    }

    /// Processor time used so far, in seconds, user and system.
    pub fn cpu_s(&self) -> f64 {
        let ticks = |pid: u32| {
            let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // The name may hold spaces; what follows its bracket does not.
            let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
            let number = |n: usize| rest.split_whitespace().nth(n).and_then(|word| word.parse::<f64>().ok());
            number(11).unwrap_or(0.0) + number(12).unwrap_or(0.0)
        };
        self.all().into_iter().map(ticks).sum::<f64>() / TICKS
    }

    fn all(&self) -> Vec<u32> {
        let mut found = self.0.clone();
        let mut next = 0;
        while next < found.len() {
            let pid = found[next];
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|word| word.parse::<u32>().ok()));
            next += 1;
        }
        found
    }
}

/// A number of KiB in a file of `/proc/PID`.
fn field(pid: u32, file: &str, name: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0.0)
}
