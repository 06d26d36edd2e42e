//! Lines of cells under each other, as Go's tabwriter lays them out.

use serde_json::Value;

/// A page being written.
#[derive(Debug, Default)]
pub struct Page {
    lines: Vec<Vec<String>>,
}

impl Page {
    /// A line of one cell.
    pub fn line(&mut self, level: usize, text: impl AsRef<str>) {
        self.lines.push(vec![format!("{}{}", "  ".repeat(level), text.as_ref())]);
    }

    /// A label and a value.
    pub fn field(&mut self, level: usize, label: &str, value: impl Into<String>) {
        self.cells(level, [label.to_owned(), value.into()]);
    }

    /// Any number of cells.
    pub fn cells(&mut self, level: usize, cells: impl IntoIterator<Item = String>) {
        let mut cells: Vec<String> = cells.into_iter().collect();
        if let Some(first) = cells.first_mut() {
            first.insert_str(0, &"  ".repeat(level));
        }
        self.lines.push(cells);
    }

    /// A table: (header, JSON pointer) a column, a value a row.
    pub fn table(&mut self, level: usize, columns: &[(&str, &str)], rows: &[Value]) {
        self.cells(level, columns.iter().map(|(header, _)| (*header).to_owned()));
        self.cells(level, columns.iter().map(|(header, _)| "-".repeat(header.chars().count())));
        for row in rows {
            self.cells(
                level,
                columns.iter().map(|(_, path)| row.pointer(path).map(super::text).unwrap_or_default()),
            );
        }
    }

    /// The text. A column is as wide as its widest cell among the lines next to each other that have it.
    pub fn render(&self) -> String {
        let width = |cell: &String| cell.chars().count();
        let mut text = String::new();
        for (index, cells) in self.lines.iter().enumerate() {
            let mut line = String::new();
            for (column, cell) in cells.iter().enumerate() {
                line.push_str(cell);
                if column + 1 == cells.len() {
                    break;
                }
                let has = |cells: &&Vec<String>| cells.len() > column + 1;
                let above = self.lines[..index].iter().rev().take_while(has);
                let below = self.lines[index..].iter().take_while(has);
                let widest = above.chain(below).map(|cells| width(&cells[column])).max().unwrap_or(0);
                line.push_str(&" ".repeat(widest + 2 - width(cell)));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_lines_share_their_columns() {
        let mut page = Page::default();
        page.field(0, "Name:", "x");
        page.field(1, "Longer label:", "y");
        page.line(0, "Break:");
        page.field(0, "A:", "z");
        assert_eq!(page.render(), "Name:            x\n  Longer label:  y\nBreak:\nA:  z\n");
    }
}
