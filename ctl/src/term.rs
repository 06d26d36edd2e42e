//! Writing to the terminal: what stdout and stderr get, and when there are colours.

use std::io::Write;

/// Writes text and a newline to stdout; styles are dropped when it is not a terminal.
/// A reader that went away (`ctl get pods | head`) ends the process quietly, as it would any filter.
pub fn out(text: impl AsRef<str>) {
    raw(format!("{}\n", text.as_ref()).as_bytes());
}

/// Writes bytes to stdout as they are.
pub fn raw(bytes: &[u8]) {
    let mut stdout = anstream::stdout().lock();
    if stdout.write_all(bytes).and_then(|()| stdout.flush()).is_err() {
        std::process::exit(141);
    }
}

/// Writes a line to stderr. Nobody is left to tell if that fails.
pub fn err(text: impl AsRef<str>) {
    let _ = writeln!(anstream::stderr().lock(), "{}", text.as_ref());
}

/// A warning in the form that kubectl uses.
pub fn warn(text: impl AsRef<str>) {
    err(format!("\x1b[33mWarning:\x1b[0m {}", text.as_ref()));
}

/// Writes bytes to stdout without touching styles in them: a container's log is not ours to change.
pub fn verbatim(bytes: &[u8]) {
    let mut stdout = std::io::stdout().lock();
    if stdout.write_all(bytes).and_then(|()| stdout.flush()).is_err() {
        std::process::exit(141);
    }
}
