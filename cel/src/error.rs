//! What is wrong with an expression, in cel-go's words and at its positions.

use std::fmt;

/// A mistake at one place of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// How many characters stand before it.
    pub offset: usize,
    /// What is wrong.
    pub message: String,
}

/// Everything that is wrong with an expression.
///
/// Shown as cel-go shows it: a line for each mistake, the line of the source, and a mark below the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompileErrors {
    source: String,
    /// The mistakes, by place.
    pub mistakes: Vec<Mistake>,
    /// Whether the expression is right and something constant in it fails (`int('x')`).
    pub instantiation: bool,
}

/// How many mistakes are told; the rest is counted.
const TOLD: usize = 100;

impl CompileErrors {
    /// The mistakes of this source.
    pub(crate) fn new(source: &str, mut mistakes: Vec<Mistake>) -> Self {
        mistakes.sort_by_key(|mistake| mistake.offset);
        Self { source: source.to_owned(), mistakes, instantiation: false }
    }

    /// Something constant has no value.
    pub(crate) fn instantiation(source: &str, error: &EvaluationError) -> Self {
        let mistakes = vec![Mistake { offset: 0, message: error.to_string() }];
        Self { source: source.to_owned(), mistakes, instantiation: true }
    }

    /// With the words that upstream puts before: `compilation failed: …`, or `program instantiation failed: …`.
    pub fn detail(&self) -> String {
        let what = if self.instantiation { "program instantiation" } else { "compilation" };
        format!("{what} failed: {self}")
    }
}

impl std::error::Error for CompileErrors {}

impl fmt::Display for CompileErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.instantiation {
            return f.write_str(self.mistakes.first().map_or("", |mistake| mistake.message.as_str()));
        }
        for (index, mistake) in self.mistakes.iter().take(TOLD).enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            show(f, &self.source, mistake)?;
        }
        match self.mistakes.len().saturating_sub(TOLD) {
            0 => Ok(()),
            more => write!(f, "\n{more} more errors were truncated"),
        }
    }
}

fn show(f: &mut fmt::Formatter<'_>, source: &str, mistake: &Mistake) -> fmt::Result {
    let (mut line, mut column) = (1, 0);
    for character in source.chars().take(mistake.offset) {
        if character == '\n' {
            (line, column) = (line + 1, 0);
        } else {
            column += 1;
        }
    }
    let text = source.split('\n').nth(line - 1).unwrap_or("").replace('\t', " ");
    write!(f, "ERROR: <input>:{line}:{}: {}\n | {text}\n | ", column + 1, mistake.message)?;
    let wide = |character: char| character.len_utf8() > 1;
    for character in text.chars().take(column) {
        write!(f, "{}", if wide(character) { '\u{ff0e}' } else { '.' })?;
    }
    write!(f, "{}", if text.chars().nth(column).is_some_and(wide) { '\u{ff3e}' } else { '^' })
}

/// Why an evaluation has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    /// The expression met something that has no value.
    #[error("{0}")]
    Failed(String),
    /// One evaluation cost more than it may.
    #[error("operation cancelled: actual cost limit exceeded")]
    CallLimit,
    /// All evaluations together cost more than they may.
    #[error("validation failed due to running out of cost budget, no further validation rules will be run")]
    Budget,
}

impl EvaluationError {
    /// With these words.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    /// The words for arguments that no overload takes.
    pub(crate) fn no_overload() -> Self {
        Self::failed("no such overload")
    }

    /// Whether the expression went over a limit, so that nothing more may be evaluated.
    pub fn is_limit(&self) -> bool {
        !matches!(self, Self::Failed(_))
    }
}
