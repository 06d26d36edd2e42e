//! `ctl get`: tables come from the server, other forms are made here.

mod follow;
mod objects;

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::jsonpath;
use crate::output::Output;
use crate::rest::{ACCEPT_TABLE, Call};
use crate::select::{self, Selection, Target};
use crate::session::Session;
use crate::table::{Columns, Layout, Table};
use crate::term;

/// Flags of `get`.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// TYPE[,TYPE…] [NAME…], TYPE/NAME…
    #[command(flatten)]
    pub selection: Selection,
    /// json, yaml, name, wide, jsonpath=…, custom-columns=…
    #[arg(long, short = 'o')]
    pub output: Option<Output>,
    /// After the list, show changes as they come
    #[arg(long, short = 'w')]
    pub watch: bool,
    /// Show changes only
    #[arg(long)]
    pub watch_only: bool,
    /// Show the kind of change too
    #[arg(long)]
    pub output_watch_events: bool,
    /// No header line
    #[arg(long)]
    pub no_headers: bool,
    /// Show all labels in a last column
    #[arg(long)]
    pub show_labels: bool,
    /// Show managed fields in json and yaml
    #[arg(long)]
    pub show_managed_fields: bool,
    /// Put the kind before each name
    #[arg(long)]
    pub show_kind: bool,
    /// A column for each of these labels
    #[arg(long, short = 'L', value_delimiter = ',')]
    pub label_columns: Vec<String>,
    /// Read this subresource, as scale or status
    #[arg(long)]
    pub subresource: Option<String>,
    /// Order by this JSONPath
    #[arg(long, value_name = "PATH")]
    pub sort_by: Option<String>,
    /// No error if a named object does not exist
    #[arg(long)]
    pub ignore_not_found: bool,
    /// Print the server's answer for this URL path
    #[arg(long, value_name = "PATH")]
    pub raw: Option<String>,
    /// Accepted for kubectl's sake: pages are always of 500
    #[arg(long, hide = true)]
    pub chunk_size: Option<u32>,
}

/// Does it.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    if let Some(path) = &args.raw {
        let bytes = session.rest().await?.bytes(Call::get(path.as_str())).await?;
        term::raw(&bytes);
        return Ok(());
    }
    let targets = targets(&args, session).await?;
    if targets.is_empty() {
        return Err(Error::usage(
            "You must specify the type of resource to get. Use \"ctl api-resources\" for a complete list of supported resources.",
        ));
    }
    let namespace = namespace(&args, session).await?;
    if args.watch || args.watch_only {
        return follow::follow(&args, session, &targets, namespace.as_deref()).await;
    }
    if Output::needs_objects(args.output.as_ref()) {
        return objects::objects(&args, session, &targets, namespace.as_deref()).await;
    }
    tables(&args, session, &targets, namespace.as_deref()).await
}

async fn targets(args: &Args, session: &Session) -> Result<Vec<Target>> {
    if args.selection.files.files.is_empty() {
        return select::targets(session, &args.selection.args).await;
    }
    let manifests = crate::manifest::read(&args.selection.files.files, args.selection.files.recursive)?;
    if let Some(error) = manifests.errors.into_iter().next() {
        return Err(error);
    }
    let mut targets = Vec::new();
    for document in &manifests.documents {
        let kind = select::kind_of(session, document).await?.clone();
        targets.push(Target { kind, name: Some(document.name().to_owned()) });
    }
    Ok(targets)
}

/// `None` for all namespaces.
async fn namespace(args: &Args, session: &Session) -> Result<Option<String>> {
    Ok(if args.selection.all_namespaces { None } else { Some(session.namespace().await?.to_owned()) })
}

fn call(args: &Args, target: &Target, namespace: Option<&str>) -> Result<Call> {
    match &target.name {
        Some(_) if namespace.is_none() && target.kind.namespaced => {
            Err(Error::usage("a resource cannot be retrieved by name across all namespaces"))
        }
        Some(name) => {
            let path = target.kind.object_path(namespace.unwrap_or_default(), name);
            Ok(Call::get(match &args.subresource {
                Some(subresource) => format!("{path}/{subresource}"),
                None => path,
            }))
        }
        None if args.subresource.is_some() => {
            Err(Error::usage("subresource can not be used when NAME is not provided"))
        }
        None => Ok(Call::get(target.kind.path(namespace))
            .maybe("labelSelector", args.selection.selector.clone())
            .maybe("fieldSelector", args.selection.field_selector.clone())),
    }
}

/// Fetches a target; a list is read page by page.
async fn fetch(session: &Session, target: &Target, call: Call) -> Result<Value> {
    if target.name.is_some() {
        session.rest().await?.call(call).await
    } else {
        select::list(session, call).await
    }
}

async fn tables(args: &Args, session: &Session, targets: &[Target], namespace: Option<&str>) -> Result<()> {
    let many = targets.iter().any(|target| target.kind != targets[0].kind);
    let (mut shown, mut failed, mut last) = (false, false, None);
    let mut text = Table::new();
    for target in targets {
        let mut call = call(args, target, namespace)?.accept(ACCEPT_TABLE);
        if args.sort_by.is_some() {
            call = call.query("includeObject", "Object");
        }
        let mut table = match fetch(session, target, call).await {
            Ok(table) => table,
            Err(error) if error.is_not_found() && args.ignore_not_found && target.name.is_some() => continue,
            // In `get all`, a kind that may not be listed hides itself only.
            Err(error) => {
                crate::report(&error);
                failed = true;
                continue;
            }
        };
        if table["kind"] != "Table" {
            table = plain_table(&table);
        }
        sort_rows(args, &mut table)?;
        let rows = table["rows"].as_array().map(Vec::as_slice).unwrap_or_default();
        if rows.is_empty() {
            continue;
        }
        let layout = layout(args, target, namespace.is_none() && target.kind.namespaced, many);
        let columns = Columns::read(&table);
        if last.as_ref() != Some(&&target.kind) {
            if !text.is_empty() {
                term::out(text.render());
                term::out("");
                text = Table::new();
            }
            if !args.no_headers {
                text.row(columns.header(&layout));
            }
        }
        for row in rows {
            text.row(columns.cells(row, &layout));
        }
        shown = true;
        last = Some(&target.kind);
    }
    if !text.is_empty() {
        term::out(text.render());
    }
    if failed {
        return Err(Error::Exit(1));
    }
    if !shown && !args.ignore_not_found {
        let namespaced = targets.iter().any(|target| target.kind.namespaced);
        term::err(match namespace.filter(|_| namespaced) {
            Some(namespace) => format!("No resources found in {namespace} namespace."),
            None => "No resources found".to_owned(),
        });
    }
    Ok(())
}

fn layout(args: &Args, target: &Target, namespaces: bool, many: bool) -> Layout {
    Layout {
        wide: args.output == Some(Output::Wide),
        namespaces,
        labels: args.show_labels,
        label_columns: args.label_columns.clone(),
        prefix: if many || args.show_kind { format!("{}/", target.kind.qualified()) } else { String::new() },
    }
}

/// For a server that does not print tables: name and age.
fn plain_table(answer: &Value) -> Value {
    let one = std::slice::from_ref(answer);
    let now = jiff::Timestamp::now();
    let rows: Vec<Value> = answer["items"]
        .as_array()
        .map_or(one, Vec::as_slice)
        .iter()
        .map(|object| {
            let age = skiff_api::duration::since(object["metadata"]["creationTimestamp"].as_str(), now);
            json!({"cells": [object["metadata"]["name"], age], "object": object})
        })
        .collect();
    json!({"kind": "Table", "columnDefinitions": [{"name": "Name"}, {"name": "Age"}], "rows": rows})
}

fn sort_rows(args: &Args, table: &mut Value) -> Result<()> {
    let Some(rows) = table["rows"].as_array_mut() else { return Ok(()) };
    sort(args, rows, |row| &row["object"])
}

fn sort(args: &Args, values: &mut [Value], object: impl Fn(&Value) -> &Value) -> Result<()> {
    let Some(path) = &args.sort_by else { return Ok(()) };
    let path = jsonpath::relaxed(path).map_err(Error::Usage)?;
    let key = |value: &Value| -> (u8, f64, String) {
        match path.find(object(value)).unwrap_or_default().first() {
            Some(Value::Number(number)) => (1, number.as_f64().unwrap_or(0.0), String::new()),
            Some(Value::String(text)) => (2, 0.0, text.clone()),
            Some(other) => (2, 0.0, other.to_string()),
            None => (0, 0.0, String::new()),
        }
    };
    values.sort_by(|left, right| {
        let (left, right) = (key(left), key(right));
        left.0.cmp(&right.0).then(left.1.total_cmp(&right.1)).then(left.2.cmp(&right.2))
    });
    Ok(())
}
