//! The far end of exec and attach, whatever protocol carries it.

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// What comes from the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// For standard input.
    Stdin(Bytes),
    /// Standard input has ended.
    StdinEnd,
    /// The terminal's new size.
    Resize {
        /// Columns.
        width: u16,
        /// Rows.
        height: u16,
    },
}

/// What goes to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout(Bytes),
    /// Standard error.
    Stderr(Bytes),
    /// How it ended: a `Status` as JSON. The last message.
    Status(Bytes),
}

/// The two directions. `input` ends when the client is gone.
pub struct Remote {
    /// From the client.
    pub input: mpsc::Receiver<Input>,
    /// To the client.
    pub output: mpsc::Sender<Output>,
}

/// The protocol's side of a [`Remote`].
pub struct Wire {
    /// To the command.
    pub input: mpsc::Sender<Input>,
    /// From the command.
    pub output: mpsc::Receiver<Output>,
}

/// A pair; each direction holds a few messages, then the sender waits.
pub fn pair() -> (Remote, Wire) {
    let (to_command, input) = mpsc::channel(16);
    let (output, from_command) = mpsc::channel(16);
    (Remote { input, output }, Wire { input: to_command, output: from_command })
}

/// The size message of a client: `{"Width":80,"Height":24}`.
pub fn resize(message: &[u8]) -> Option<Input> {
    let value: Value = serde_json::from_slice(message).ok()?;
    let side = |name: &str| value.get(name).and_then(Value::as_u64).and_then(|n| u16::try_from(n).ok());
    Some(Input::Resize { width: side("Width")?, height: side("Height")? })
}

/// How a command ended, as clients want it.
pub fn status(result: Result<i32, String>) -> Bytes {
    let status = match result {
        Ok(0) => json!({ "metadata": {}, "status": "Success" }),
        Ok(code) => json!({
            "metadata": {},
            "status": "Failure",
            "message": format!("command terminated with non-zero exit code: exit status {code}"),
            "reason": "NonZeroExitCode",
            "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
        }),
        Err(message) => json!({
            "metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
            "message": format!("Internal error occurred: {message}"),
            "details": { "causes": [{ "message": message }] },
        }),
    };
    status.to_string().into()
}
