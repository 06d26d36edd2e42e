//! A process that ends with its owner.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A child with its output in a file.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a command whose output is appended to `log`.
    pub fn start(mut command: Command, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).expect("the log can be written");
        let again = file.try_clone().expect("a file can be shared");
        command.stdin(Stdio::null()).stdout(file).stderr(again);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, log: log.to_owned() }
    }

    /// Waits for a line of output with this beginning.
    pub fn wait_for_line(&self, beginning: &str, seconds: u64) {
        crate::eventually(&format!("a line {beginning:?} in {}", self.log.display()), seconds, || {
            let text = std::fs::read_to_string(&self.log).unwrap_or_default();
            if text.lines().any(|line| line.starts_with(beginning)) {
                return Ok(());
            }
            let lines: Vec<&str> = text.lines().collect();
            Err(lines[lines.len().saturating_sub(15)..].join("\n"))
        });
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self, seconds: u64) -> ExitStatus {
        crate::eventually(
            &format!("the end of the process that writes {}", self.log.display()),
            seconds,
            || {
                let ended = self.child.try_wait().map_err(|error| error.to_string())?;
                ended.ok_or_else(|| std::fs::read_to_string(&self.log).unwrap_or_default())
            },
        )
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.log);
    }

    /// Asks it to end, and waits.
    pub fn stop(&mut self) {
        if let Ok(id) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        }
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.stop();
        }
    }
}
