//! A process in a container on this terminal: streams, raw mode, window size, exit code.

use std::io::IsTerminal;

use futures::SinkExt;
use kube::api::{AttachedProcess, TerminalSize};
use kube::core::Status;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Error, Result};
use crate::term;

/// What is connected: the flags of every command that joins a container.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct Streams {
    /// Pass stdin on
    #[arg(long, short = 'i')]
    pub stdin: bool,
    /// A terminal
    #[arg(long, short = 't')]
    pub tty: bool,
    /// Say less
    #[arg(long, short = 'q')]
    pub quiet: bool,
}

impl Streams {
    /// A terminal there needs one here; without it the flag is dropped with a word, as kubectl does.
    pub fn settled(self) -> Self {
        if self.tty && self.stdin && !std::io::stdin().is_terminal() {
            if !self.quiet {
                term::err("Unable to use a TTY - input is not a terminal or the right kind of file");
            }
            return Streams { tty: false, ..self };
        }
        self
    }

    /// As kube takes it.
    pub fn params(self, container: Option<&str>) -> kube::api::AttachParams {
        let params =
            kube::api::AttachParams::default().stdin(self.stdin).stdout(true).stderr(!self.tty).tty(self.tty);
        match container {
            Some(container) => params.container(container),
            None => params,
        }
    }
}

/// The terminal in raw mode, until dropped.
struct Raw(Termios);

impl Raw {
    fn enter() -> Option<Self> {
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw).ok()?;
        Some(Raw(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Connects a process to this terminal until it ends; its exit code becomes an error if it is not 0.
pub async fn connect(mut process: AttachedProcess, streams: Streams) -> Result<()> {
    let _raw = if streams.tty && streams.stdin { Raw::enter() } else { None };
    if let Some(mut sizes) = process.terminal_size() {
        tokio::spawn(async move {
            let Ok(mut changes) = signal(SignalKind::window_change()) else { return };
            loop {
                if let Ok(size) = tcgetwinsize(std::io::stdout()) {
                    let size = TerminalSize { width: size.ws_col, height: size.ws_row };
                    if sizes.send(size).await.is_err() {
                        return;
                    }
                }
                if changes.recv().await.is_none() {
                    return;
                }
            }
        });
    }
    if let Some(mut stdin) = process.stdin() {
        tokio::spawn(async move {
            let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut stdin).await;
            let _ = stdin.shutdown().await;
        });
    }
    let (stdout, stderr) = (process.stdout(), process.stderr());
    let status = process.take_status();
    tokio::join!(copy(stdout, false), copy(stderr, true));
    match status {
        // kube hands over k8s-openapi's Status here, its own one elsewhere.
        Some(status) => match status.await {
            Some(status) => outcome(Some(serde_json::from_value(serde_json::to_value(status)?)?)),
            None => Ok(()),
        },
        None => Ok(()),
    }
}

/// Bytes as they come: what a remote program prints is not ours to restyle.
async fn copy(stream: Option<impl AsyncRead + Unpin>, to_stderr: bool) {
    let Some(mut stream) = stream else { return };
    let mut buffer = vec![0; 16 * 1024];
    let (mut stdout, mut stderr) = (tokio::io::stdout(), tokio::io::stderr());
    while let Ok(read) = stream.read(&mut buffer).await {
        if read == 0 {
            return;
        }
        let chunk = &buffer[..read];
        let written = if to_stderr {
            async {
                stderr.write_all(chunk).await?;
                stderr.flush().await
            }
            .await
        } else {
            async {
                stdout.write_all(chunk).await?;
                stdout.flush().await
            }
            .await
        };
        if written.is_err() {
            return;
        }
    }
}

/// What the final status means. Upstream: `remotecommand/v4.go`.
fn outcome(status: Option<Status>) -> Result<()> {
    let Some(status) = status else { return Ok(()) };
    if status.is_success() {
        return Ok(());
    }
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    let code = causes
        .iter()
        .find(|cause| cause.reason == "ExitCode")
        .and_then(|cause| cause.message.parse::<u8>().ok());
    match code {
        Some(code) if status.reason == "NonZeroExitCode" => {
            term::err(format!("command terminated with exit code {code}"));
            Err(Error::Exit(code))
        }
        _ => Err(Error::usage(if status.message.is_empty() { status.reason } else { status.message })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_becomes_an_exit_code() {
        let status = |json: &str| serde_json::from_str::<Status>(json).expect("test data");
        let code =
            |json: &str| outcome(Some(status(json))).map_err(|error| (error.exit_code(), error.to_string()));
        assert_eq!(code(r#"{"status":"Success"}"#), Ok(()));
        let failed = r#"{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"42"}]}}"#;
        assert_eq!(code(failed).expect_err("fails").0, 42);
        let other = code(r#"{"status":"Failure","reason":"InternalError","message":"no such file"}"#);
        assert_eq!(other, Err((1, "error: no such file".to_owned())));
    }
}
