//! Starting, watching and ending the processes of a cluster.

use std::path::Path;
use std::process::Command;

use crate::{Cluster, Process, bin, try_output};

impl Cluster {
    /// The name of the process of a cluster that is one process.
    pub const TOGETHER: &str = "skiff";

    /// Starts the process (again) and waits for its `ready`.
    pub fn launch(&mut self) {
        self.start_up();
        self.wait_until_ready();
    }

    /// Starts the process (again).
    pub fn start_up(&mut self) {
        let command = self.up();
        self.start_part(Self::TOGETHER, command);
    }

    /// Waits for the line that begins with `ready`.
    pub fn wait_until_ready(&self) {
        self.process(Self::TOGETHER).wait_for_line("ready", 90);
    }

    /// Where the API is served.
    pub fn listen(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The command that starts the process.
    pub fn up(&self) -> Command {
        self.up_in(self.dir(), &self.listen(), &[])
    }

    /// As [`Cluster::up`], with other data, another address and further words.
    pub fn up_in(&self, dir: &Path, listen: &str, words: &[&str]) -> Command {
        let mut command = Command::new(bin("skiff"));
        command.args(["up", "--listen", listen, "--data-dir"]).arg(dir).args(&self.extra).args(words);
        command.env("DOCKER_HOST", self.engine_host());
        command
    }

    /// Ends the process at once, as a crash would.
    pub fn kill(&mut self) {
        self.kill_part(Self::TOGETHER);
    }

    /// Asks the process to end, and waits for it.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.processes.remove(Self::TOGETHER) {
            process.stop();
        }
    }

    /// Ends every process, and removes what they made, the data too; the engine stays.
    pub fn down(&mut self) -> Result<String, String> {
        self.processes.clear();
        self.down_with(&["--purge"])
    }

    /// What `skiff down` with these words says, or how it failed.
    pub fn down_with(&self, words: &[&str]) -> Result<String, String> {
        let mut down = Command::new(bin("skiff"));
        down.args(["down", "--data-dir"]).arg(self.dir()).args(words);
        try_output(down.env("DOCKER_HOST", self.engine_host()))
    }

    pub(crate) fn start_part(&mut self, name: &str, command: Command) {
        // What an earlier run said is not this one's.
        let log = self.logs.path().join(format!("{name}.log"));
        let _ = std::fs::remove_file(&log);
        self.processes.insert(name.to_owned(), Process::start(command, &log));
    }

    pub(crate) fn process(&self, name: &str) -> &Process {
        self.processes.get(name).unwrap_or_else(|| panic!("{name} does not run"))
    }

    /// Ends one of several processes at once, as a crash would.
    pub fn kill_part(&mut self, name: &str) {
        if let Some(mut process) = self.processes.remove(name) {
            process.kill();
        }
    }

    /// What a process has said since its start, on stdout and stderr.
    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.logs.path().join(format!("{name}.log"))).unwrap_or_default()
    }

    /// Ends the engine and all of its containers, and starts it again.
    pub fn restart_engine(&mut self) {
        let engine = self.engine_mut();
        engine.stop();
        engine.launch();
    }
}
