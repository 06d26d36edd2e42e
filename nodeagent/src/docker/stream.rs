//! Exec, attach and logs.

use std::time::Duration;

use bollard::{
    Docker,
    container::LogOutput,
    exec::{CreateExecOptions, ResizeExecOptions, StartExecOptions, StartExecResults},
    query_parameters::{AttachContainerOptionsBuilder, LogsOptionsBuilder, ResizeContainerTTYOptionsBuilder},
};
use futures::{StreamExt, stream::BoxStream};

use super::{async_stream, engine_error};
use crate::{
    cri::{Chunk, ExecSpec, LogQuery, Session},
    error::{Error, Result},
};

/// So often a command that does not run yet is told its terminal's size.
const MAX_RESIZES: u32 = 20;
/// The pause between.
const RESIZE_PAUSE: Duration = Duration::from_millis(50);

fn chunk(output: LogOutput) -> Chunk {
    match output {
        LogOutput::StdErr { message } => Chunk::Err(message),
        LogOutput::StdOut { message } | LogOutput::StdIn { message } | LogOutput::Console { message } => {
            Chunk::Out(message)
        }
    }
}

/// Runs a command.
pub async fn exec(docker: &Docker, id: &str, spec: &ExecSpec) -> Result<Session> {
    let options = CreateExecOptions {
        attach_stdin: Some(spec.stdin),
        attach_stdout: Some(spec.stdout),
        attach_stderr: Some(spec.stderr && !spec.tty),
        tty: Some(spec.tty),
        cmd: Some(spec.command.clone()),
        ..Default::default()
    };
    let made = docker.create_exec(id, options).await.map_err(engine_error)?;
    let start = StartExecOptions { detach: false, tty: spec.tty, output_capacity: Some(64 * 1024) };
    match docker.start_exec(&made.id, Some(start)).await.map_err(engine_error)? {
        StartExecResults::Attached { output, input } => {
            let output = output.map(|r| r.map(chunk).map_err(engine_error)).boxed();
            Ok(Session { output, input, id: made.id })
        }
        StartExecResults::Detached => Err(Error::Invalid("the engine detached from the command".into())),
    }
}

/// Its exit code, once it ended.
pub async fn exec_code(docker: &Docker, exec: &str) -> Result<Option<i32>> {
    let found = docker.inspect_exec(exec).await.map_err(engine_error)?;
    if found.running.unwrap_or_default() {
        return Ok(None);
    }
    Ok(found.exit_code.and_then(|c| i32::try_from(c).ok()))
}

/// Sets the size of a terminal.
pub async fn resize(docker: &Docker, id: &str, exec: bool, width: u16, height: u16) -> Result<()> {
    if exec {
        return resize_exec(docker, id, ResizeExecOptions { height, width }).await;
    }
    let options = ResizeContainerTTYOptionsBuilder::default().w(width.into()).h(height.into()).build();
    docker.resize_container_tty(id, options).await.map_err(engine_error)
}

/// A client tells the first size at once, and the engine opens the streams before the command runs: until then it
/// refuses.
async fn resize_exec(docker: &Docker, id: &str, size: ResizeExecOptions) -> Result<()> {
    let mut tries = 0;
    loop {
        let done = docker.resize_exec(id, size).await.map_err(engine_error);
        tries += 1;
        if done.is_ok() || tries == MAX_RESIZES {
            return done;
        }
        tokio::time::sleep(RESIZE_PAUSE).await;
    }
}

/// Joins the main process.
pub async fn attach(docker: &Docker, id: &str, spec: &ExecSpec) -> Result<Session> {
    let options = AttachContainerOptionsBuilder::default()
        .stream(true)
        .stdin(spec.stdin)
        .stdout(spec.stdout)
        .stderr(spec.stderr)
        .build();
    let joined = docker.attach_container(id, Some(options)).await.map_err(engine_error)?;
    let output = joined.output.map(|r| r.map(chunk).map_err(engine_error)).boxed();
    Ok(Session { output, input: joined.input, id: id.to_owned() })
}

/// Reads the log.
pub fn logs(docker: Docker, id: &str, query: &LogQuery) -> BoxStream<'static, Result<Chunk>> {
    let options = LogsOptionsBuilder::default()
        .stdout(true)
        .stderr(true)
        .follow(query.follow)
        .timestamps(query.timestamps)
        .tail(&query.tail.map_or_else(|| "all".to_owned(), |n| n.to_string()))
        // The engine's client takes whole seconds: of the first one a little more than asked may come.
        .since(query.since.and_then(|t| i32::try_from(t.as_second()).ok()).unwrap_or_default())
        .build();
    let id = id.to_owned();
    async_stream(docker, move |docker| docker.logs(&id, Some(options)).boxed())
        .map(|r| r.map(chunk).map_err(engine_error))
        .boxed()
}
