//! Sessions of a command line, written down: commands, and what each must print.
//!
//! ```text
//! # a comment
//! %% web.yaml            a file, made in the session's folder, up to the next `%%`
//! kind: …
//! %%
//! $ kubectl get pods     a line for bash; exits with 0
//! NAME   READY …         every line that it prints, stdout and stderr in order; `*` stands for any text,
//! ...                    and a line of three dots for any number of lines
//! $1 kubectl get nope    exits with 1
//! ~ kubectl get pods     asked again and again, until it prints this
//! ```

use std::path::Path;
use std::process::{Command, Stdio};

use crate::within;

/// One command, with what it must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its line in the file, from 1.
    pub line: usize,
    /// What bash runs.
    pub command: String,
    /// How it exits.
    pub code: i32,
    /// Whether it is asked until it does so.
    pub patient: bool,
    /// The lines that it prints, as patterns.
    pub output: Vec<String>,
}

/// A file that the commands use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// Reads a session.
pub fn parse(text: &str) -> (Vec<Attachment>, Vec<Step>) {
    let (mut files, mut steps) = (Vec::new(), Vec::<Step>::new());
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        if let Some(name) = line.strip_prefix("%% ") {
            let mut text = String::new();
            for (_, line) in lines.by_ref().take_while(|(_, line)| *line != "%%") {
                text.push_str(line);
                text.push('\n');
            }
            files.push(Attachment { name: name.trim().to_owned(), text });
            continue;
        }
        if line.starts_with('#') {
            continue;
        }
        if let Some((head, command)) = line.split_once(' ').and_then(|(head, rest)| Some((sign(head)?, rest)))
        {
            let (code, patient) = head;
            steps.push(Step { line: at + 1, command: command.to_owned(), code, patient, output: Vec::new() });
        } else if let Some(step) = steps.last_mut() {
            step.output.push(line.to_owned());
        } else {
            assert!(line.is_empty(), "line {}: output before any command: {line}", at + 1);
        }
    }
    // Blank lines between steps are for the reader.
    for step in &mut steps {
        while step.output.last().is_some_and(String::is_empty) {
            step.output.pop();
        }
    }
    (files, steps)
}

fn sign(head: &str) -> Option<(i32, bool)> {
    match head {
        "$" => Some((0, false)),
        "~" => Some((0, true)),
        _ => Some((head.strip_prefix('$')?.parse().ok()?, false)),
    }
}

/// Whether a line fits a pattern in which `*` stands for any text.
pub fn fits(pattern: &str, line: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == line,
        Some((start, rest)) => line.strip_prefix(start).is_some_and(|tail| {
            (0..=tail.len()).any(|at| tail.is_char_boundary(at) && fits(rest, &tail[at..]))
        }),
    }
}

/// Whether lines fit patterns, of which `...` stands for any number of lines.
pub fn all_fit(patterns: &[String], lines: &[&str]) -> bool {
    match (patterns.split_first(), lines.split_first()) {
        (None, None) => true,
        (Some((first, rest)), _) if first == "..." => {
            (0..=lines.len()).any(|skipped| all_fit(rest, &lines[skipped..]))
        }
        (Some((first, patterns)), Some((line, lines))) => fits(first, line) && all_fit(patterns, lines),
        _ => false,
    }
}

/// What a command printed, stdout and stderr as they came, and how it exited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The text, without blanks at the ends of lines.
    pub text: String,
    /// The exit code; -1 for a signal.
    pub code: i32,
}

/// Runs one line of bash in `folder`, with `environment` besides.
pub fn run(line: &str, folder: &Path, environment: &[(&str, String)]) -> Answer {
    // One pipe for both streams keeps their order.
    let output = Command::new("timeout")
        .args(["60", "bash", "-c", &format!("{{ {line}\n}} 2>&1")])
        .current_dir(folder)
        .envs(environment.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::null())
        .output()
        .expect("bash can be started");
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    Answer { text: lines.join("\n"), code: output.status.code().unwrap_or(-1) }
}

/// Plays a session; gives a report for each step that went otherwise.
pub fn play(text: &str, folder: &Path, environment: &[(&str, String)]) -> Vec<String> {
    let (files, steps) = parse(text);
    for file in files {
        std::fs::write(folder.join(file.name), file.text).expect("the folder can be written");
    }
    steps.iter().filter_map(|step| one(step, folder, environment).err()).collect()
}

fn one(step: &Step, folder: &Path, environment: &[(&str, String)]) -> Result<(), String> {
    let look = || {
        let answer = run(&step.command, folder, environment);
        let lines: Vec<&str> = answer.text.lines().collect();
        if answer.code == step.code && all_fit(&step.output, &lines) {
            return Ok(());
        }
        let wanted = format!("exit {}\n{}", step.code, step.output.join("\n"));
        Err(format!(
            "line {}: {}\n--- wanted: {wanted}\n--- got: exit {}\n{}\n",
            step.line, step.command, answer.code, answer.text
        ))
    };
    if step.patient { within(30, look) } else { look() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_read_and_compared() {
        let (files, steps) = parse("# c\n%% a.yaml\nx: 1\n%%\n\n$ one\nNAME\na *\n\n$1 two\n...\n");
        assert_eq!(files, [Attachment { name: "a.yaml".into(), text: "x: 1\n".into() }]);
        assert_eq!(steps[0].output, ["NAME", "a *"]);
        assert_eq!((steps[1].code, steps[1].line), (1, 10));
        assert!(all_fit(&steps[0].output, &["NAME", "a 1s"]));
        assert!(!all_fit(&steps[0].output, &["NAME", "b 1s"]));
        assert!(!all_fit(&steps[0].output, &["NAME"]));
        assert!(all_fit(&steps[1].output, &[]));
        assert!(fits("a*c*", "abcd") && !fits("a*c", "abcd"));
    }
}
