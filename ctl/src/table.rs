//! Tables: the server's, and columns under each other.

use serde_json::Value;

/// Puts rows under their headers, three blanks apart, as kubectl does. No blanks at a line's end.
#[derive(Debug, Default, Clone)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    pub fn new() -> Self {
        Table::default()
    }

    /// Adds a row; the header is a row like any other.
    pub fn row<I: IntoIterator<Item = S>, S: Into<String>>(&mut self, cells: I) -> &mut Self {
        self.rows.push(cells.into_iter().map(Into::into).collect());
        self
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The text, without a final newline. Columns are at least as wide as `widths` says, and it learns from this table:
    /// a watch keeps its columns in place.
    pub fn render_with(&self, widths: &mut Vec<usize>) -> String {
        for row in &self.rows {
            for (index, cell) in row.iter().enumerate() {
                let width = cell.chars().count();
                match widths.get_mut(index) {
                    Some(known) => *known = width.max(*known),
                    None => widths.push(width),
                }
            }
        }
        let lines: Vec<String> = self
            .rows
            .iter()
            .map(|row| {
                let mut line = String::new();
                for (index, cell) in row.iter().enumerate() {
                    line.push_str(cell);
                    if index + 1 < row.len() {
                        let pad = widths[index] + 3 - cell.chars().count();
                        line.push_str(&" ".repeat(pad));
                    }
                }
                line.trim_end().to_owned()
            })
            .collect();
        lines.join("\n")
    }

    /// The text, without a final newline.
    pub fn render(&self) -> String {
        self.render_with(&mut Vec::new())
    }
}

/// How a server's table is shown.
#[derive(Debug, Default, Clone)]
pub struct Layout {
    /// Columns of low priority too.
    pub wide: bool,
    /// A NAMESPACE column first.
    pub namespaces: bool,
    /// A LABELS column last.
    pub labels: bool,
    /// A column for each of these labels.
    pub label_columns: Vec<String>,
    /// What stands before each name, as `pod/`.
    pub prefix: String,
}

/// The columns of a server's table, kept for later events of a watch, which may leave them out.
#[derive(Debug, Default, Clone)]
pub struct Columns(Vec<(String, bool)>);

impl Columns {
    /// Reads `columnDefinitions`; (name, whether it is shown only when wide).
    pub fn read(table: &Value) -> Self {
        let definitions = table["columnDefinitions"].as_array().map(Vec::as_slice).unwrap_or_default();
        Columns(
            definitions
                .iter()
                .map(|column| {
                    let name = column["name"].as_str().unwrap_or_default().to_owned();
                    (name, column["priority"].as_i64().unwrap_or(0) > 0)
                })
                .collect(),
        )
    }

    /// Whether the table brought no columns.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The header row.
    pub fn header(&self, layout: &Layout) -> Vec<String> {
        let shown =
            self.0.iter().filter(|(_, wide)| layout.wide || !wide).map(|(name, _)| name.to_uppercase());
        let namespace = layout.namespaces.then(|| "NAMESPACE".to_owned());
        let by_label =
            layout.label_columns.iter().map(|label| label.rsplit('/').next().unwrap_or(label).to_uppercase());
        let labels = layout.labels.then(|| "LABELS".to_owned());
        namespace.into_iter().chain(shown).chain(by_label).chain(labels).collect()
    }

    /// The cells of one of the table's rows.
    pub fn cells(&self, row: &Value, layout: &Layout) -> Vec<String> {
        let values = row["cells"].as_array().map(Vec::as_slice).unwrap_or_default();
        let meta = &row["object"]["metadata"];
        let mut cells = Vec::new();
        if layout.namespaces {
            cells.push(meta["namespace"].as_str().unwrap_or_default().to_owned());
        }
        for ((name, wide), value) in self.0.iter().zip(values) {
            if *wide && !layout.wide {
                continue;
            }
            let text = if value.is_null() { String::new() } else { cell(value) };
            cells.push(if name == "Name" { format!("{}{text}", layout.prefix) } else { text });
        }
        for label in &layout.label_columns {
            cells.push(meta["labels"][label].as_str().unwrap_or_default().to_owned());
        }
        if layout.labels {
            cells.push(pairs(&meta["labels"]));
        }
        cells
    }
}

/// A mapping as `a=b,c=d`, `<none>` if empty.
pub fn pairs(map: &Value) -> String {
    match map.as_object() {
        Some(map) if !map.is_empty() => {
            let pairs: Vec<String> =
                map.iter().map(|(key, value)| format!("{key}={}", cell(value))).collect();
            pairs.join(",")
        }
        _ => "<none>".to_owned(),
    }
}

/// A JSON value in a cell: strings bare, newlines escaped.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => "<none>".to_owned(),
        Value::String(text) => match text.split_once('\n') {
            Some((first, _)) => format!("{first}..."),
            None => text.clone(),
        },
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pods() -> Value {
        json!({"kind":"Table",
            "columnDefinitions":[{"name":"Name","priority":0},{"name":"Restarts","priority":0},{"name":"IP","priority":1}],
            "rows":[{"cells":["web-1",0,"10.0.0.1"],"object":{"metadata":{"namespace":"n","labels":{"app":"web","x/tier":"a"}}}}]})
    }

    fn render(layout: &Layout) -> String {
        let table = pods();
        let columns = Columns::read(&table);
        let mut text = Table::new();
        text.row(columns.header(layout));
        text.row(columns.cells(&table["rows"][0], layout));
        text.render()
    }

    #[test]
    fn a_server_table_is_laid_out_as_asked() {
        let cases = [
            (Layout::default(), "NAME    RESTARTS\nweb-1   0"),
            (
                Layout { wide: true, ..Layout::default() },
                "NAME    RESTARTS   IP\nweb-1   0          10.0.0.1",
            ),
            (
                Layout { namespaces: true, ..Layout::default() },
                "NAMESPACE   NAME    RESTARTS\nn           web-1   0",
            ),
            (Layout { prefix: "pod/".into(), ..Layout::default() }, "NAME        RESTARTS\npod/web-1   0"),
            (
                Layout { label_columns: vec!["x/tier".into(), "no".into()], ..Layout::default() },
                "NAME    RESTARTS   TIER   NO\nweb-1   0          a",
            ),
            (
                Layout { labels: true, ..Layout::default() },
                "NAME    RESTARTS   LABELS\nweb-1   0          app=web,x/tier=a",
            ),
        ];
        for (layout, want) in cases {
            assert_eq!(render(&layout), want);
        }
    }

    #[test]
    fn a_watch_keeps_its_columns_in_place() {
        let mut widths = Vec::new();
        Table::new().row(["LONGNAME", "B"]).render_with(&mut widths);
        assert_eq!(Table::new().row(["a", "b"]).render_with(&mut widths), "a          b");
    }
}
