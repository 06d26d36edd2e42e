//! A terminal on which a command runs, as a person would have it.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use crate::{eventually, machine, output};

/// A command on a terminal of its own, made by `script`.
pub struct Terminal {
    child: Child,
    input: ChildStdin,
    seen: Arc<Mutex<String>>,
    device: String,
}

impl Terminal {
    /// Runs a command line of the shell on a terminal of this size.
    pub fn start(line: &str, environment: &[(&str, &str)], rows: u16, columns: u16) -> Self {
        machine::enter();
        let inner = format!("tty; stty rows {rows} cols {columns}; exec {line}");
        let mut command = Command::new("script");
        command.args(["-qefc", &inner, "/dev/null"]).envs(environment.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("script is installed");
        let input = child.stdin.take().expect("it was asked for");
        let mut from = child.stdout.take().expect("it was asked for");
        let seen = Arc::new(Mutex::new(String::new()));
        let copy = seen.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = from.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
                copy.lock().expect("no reader panics").push_str(&text);
            }
        });
        let mut terminal = Self { child, input, seen, device: String::new() };
        let shown = terminal.until("/dev/pts/", 10);
        terminal.device = shown.lines().next().unwrap_or_default().trim().to_owned();
        terminal
    }

    /// Types.
    pub fn type_in(&mut self, text: &str) {
        self.input.write_all(text.as_bytes()).expect("the terminal takes input");
        self.input.flush().expect("the terminal takes input");
    }

    /// Waits until a whole line with `part` was shown; answers with all that was.
    pub fn until(&self, part: &str, seconds: u64) -> String {
        eventually(&format!("{part:?} on the terminal"), seconds, || {
            let seen = self.seen.lock().expect("no reader panics").clone();
            if seen.split_inclusive('\n').any(|line| line.contains(part) && line.ends_with('\n')) {
                Ok(seen)
            } else {
                Err(seen)
            }
        })
    }

    /// Gives the terminal another size, as dragging its window does.
    pub fn resize(&self, rows: u16, columns: u16) {
        let (rows, columns) = (rows.to_string(), columns.to_string());
        output(Command::new("stty").args(["-F", &self.device, "rows", &rows, "cols", &columns]));
    }

    /// Waits for the end of the command.
    pub fn end(mut self, seconds: u64) -> (ExitStatus, String) {
        let status = eventually("the end of the command on the terminal", seconds, || {
            let ended = self.child.try_wait().expect("a child can be waited for");
            ended.ok_or_else(|| self.seen.lock().expect("no reader panics").clone())
        });
        let seen = self.seen.lock().expect("no reader panics").clone();
        (status, seen)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
