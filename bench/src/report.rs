//! The table of figures.

use std::fmt::Write as _;

/// One figure: what, upstream's if it was measured, ours, and the aim.
struct Row {
    what: String,
    peer: Option<(f64, String)>,
    ours: (f64, String),
    /// Whether less is better, which turns the ratio round.
    less_is_better: bool,
    aim: &'static str,
}

/// All figures of a run. Each is printed as it comes.
#[derive(Default)]
pub struct Report(Vec<Row>);

impl Report {
    /// A figure of which more is better; the numbers make the ratio, the texts are shown.
    pub fn more(&mut self, what: &str, peer: Option<(f64, String)>, ours: (f64, String), aim: &'static str) {
        self.push(Row { what: what.into(), peer, ours, less_is_better: false, aim });
    }

    /// A figure of which less is better.
    pub fn less(&mut self, what: &str, peer: Option<(f64, String)>, ours: (f64, String), aim: &'static str) {
        self.push(Row { what: what.into(), peer, ours, less_is_better: true, aim });
    }

    fn push(&mut self, row: Row) {
        eprintln!("{}", row.line());
        self.0.push(row);
    }

    /// The page that is kept.
    pub fn page(&self, facts: &str) -> String {
        let mut page = String::from("# Results\n\nWritten by `make bench`. ");
        let _ = write!(
            page,
            "{facts}\n\n| measured | beside it | Skiff | ratio | aim |\n|---|---|---|---|---|\n"
        );
        for row in &self.0 {
            let _ = writeln!(page, "{}", row.line());
        }
        page
    }
}

impl Row {
    fn line(&self) -> String {
        let ratio = self.peer.as_ref().map_or_else(String::new, |(peer, _)| {
            let ratio = if self.less_is_better { peer / self.ours.0 } else { self.ours.0 / peer };
            format!("{ratio:.1} ×")
        });
        let peer = self.peer.as_ref().map_or("", |(_, text)| text.as_str());
        format!("| {} | {peer} | {} | {ratio} | {} |", self.what, self.ours.1, self.aim)
    }
}
