//! `ctl get`: tables come from the server, other forms are made here.

use futures::StreamExt;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::jsonpath;
use crate::output::{self, Output};
use crate::rest::{ACCEPT_TABLE, Call};
use crate::select::{self, FileArgs, Target};
use crate::session::Session;
use crate::table::{Columns, Layout, Table};
use crate::term;

/// Flags of `get`.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// TYPE[,TYPE…] [NAME…], TYPE/NAME…
    #[arg(value_name = "TYPE[/NAME]")]
    pub args: Vec<String>,
    /// Show the objects of these manifests
    #[command(flatten)]
    pub files: FileArgs,
    /// json, yaml, name, wide, jsonpath=…, custom-columns=…
    #[arg(long, short = 'o')]
    pub output: Option<Output>,
    /// Only objects whose labels match
    #[arg(long, short = 'l')]
    pub selector: Option<String>,
    /// Only objects whose fields match
    #[arg(long)]
    pub field_selector: Option<String>,
    /// In all namespaces
    #[arg(long, short = 'A')]
    pub all_namespaces: bool,
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
        return follow(&args, session, &targets, namespace.as_deref()).await;
    }
    if Output::needs_objects(args.output.as_ref()) {
        return objects(&args, session, &targets, namespace.as_deref()).await;
    }
    tables(&args, session, &targets, namespace.as_deref()).await
}

async fn targets(args: &Args, session: &Session) -> Result<Vec<Target>> {
    if args.files.files.is_empty() {
        return select::targets(session, &args.args).await;
    }
    let manifests = crate::manifest::read(&args.files.files, args.files.recursive)?;
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
    Ok(if args.all_namespaces { None } else { Some(session.namespace().await?.to_owned()) })
}

fn call(args: &Args, target: &Target, namespace: Option<&str>) -> Result<Call> {
    match &target.name {
        Some(_) if namespace.is_none() && target.kind.namespaced => {
            Err(Error::usage("a resource cannot be retrieved by name across all namespaces"))
        }
        Some(name) => Ok(Call::get(target.kind.object_path(namespace.unwrap_or_default(), name))),
        None => Ok(Call::get(target.kind.path(namespace))
            .maybe("labelSelector", args.selector.clone())
            .maybe("fieldSelector", args.field_selector.clone())),
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
            let age = crate::age::since(object["metadata"]["creationTimestamp"].as_str(), now);
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

async fn objects(args: &Args, session: &Session, targets: &[Target], namespace: Option<&str>) -> Result<()> {
    let Some(output) = &args.output else { return Ok(()) };
    let (mut items, mut failed) = (Vec::new(), false);
    let single = targets.len() == 1 && targets[0].name.is_some();
    for target in targets {
        let answer = match fetch(session, target, call(args, target, namespace)?).await {
            Ok(answer) => answer,
            Err(error) if error.is_not_found() && args.ignore_not_found => continue,
            Err(error) => {
                crate::report(&error);
                failed = true;
                continue;
            }
        };
        let found = match answer {
            Value::Object(mut map) if target.name.is_none() => match map.remove("items") {
                Some(Value::Array(items)) => items,
                _ => Vec::new(),
            },
            object => vec![object],
        };
        for mut object in found {
            select::type_item(&mut object, &target.kind);
            if !args.show_managed_fields
                && let Some(meta) = object["metadata"].as_object_mut()
            {
                meta.remove("managedFields");
            }
            items.push((target.kind.qualified(), object));
        }
    }
    if args.sort_by.is_some() {
        items.sort_by(|left, right| left.0.cmp(&right.0));
        let mut values: Vec<Value> = items.into_iter().map(|(kind, object)| json!([kind, object])).collect();
        sort(args, &mut values, |pair| &pair[1])?;
        items = values
            .into_iter()
            .map(|mut pair| (pair[0].as_str().unwrap_or_default().to_owned(), pair[1].take()))
            .collect();
    }
    show(args, output, items, single)?;
    if failed { Err(Error::Exit(1)) } else { Ok(()) }
}

fn show(args: &Args, output: &Output, items: Vec<(String, Value)>, single: bool) -> Result<()> {
    match (output, single) {
        (Output::Name, _) => items.iter().try_for_each(|(kind, object)| output.print(object, kind)),
        (_, true) => items.iter().try_for_each(|(kind, object)| output.print(object, kind)),
        (Output::Columns(columns), false) => {
            let list = json!({"items": items.into_iter().map(|(_, object)| object).collect::<Vec<_>>()});
            let table = output::custom_columns(columns, &list, !args.no_headers)?;
            if !table.is_empty() {
                term::out(table.render());
            }
            Ok(())
        }
        _ => {
            let objects: Vec<Value> = items.into_iter().map(|(_, object)| object).collect();
            let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": objects});
            output.print(&list, "list")
        }
    }
}

/// `-w`: the list, then every change, from the list's revision on.
async fn follow(args: &Args, session: &Session, targets: &[Target], namespace: Option<&str>) -> Result<()> {
    let [target] = targets else {
        return Err(Error::usage("you may only specify a single resource type when watching"));
    };
    let rest = session.rest().await?;
    let as_objects = Output::needs_objects(args.output.as_ref());
    let accept = if as_objects { "application/json" } else { ACCEPT_TABLE };
    let base = || {
        let call = Call::get(target.kind.path(namespace))
            .accept(accept)
            .maybe("labelSelector", args.selector.clone());
        let by_name = target.name.as_ref().map(|name| format!("metadata.name={name}"));
        let fields: Vec<String> = by_name.into_iter().chain(args.field_selector.clone()).collect();
        call.maybe("fieldSelector", (!fields.is_empty()).then(|| fields.join(",")))
    };
    let layout = layout(args, target, namespace.is_none() && target.kind.namespaced, false);
    let mut view = Follow { args, target, layout, columns: Columns::default(), widths: Vec::new() };
    let mut list = select::list(session, base()).await?;
    let mut version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    if !args.watch_only {
        if as_objects && let Value::Array(items) = list["items"].take() {
            for item in items {
                view.change("ADDED", item)?;
            }
        } else if list["rows"].as_array().is_some_and(|rows| !rows.is_empty()) {
            view.change("ADDED", list)?;
        }
    }
    loop {
        let mut events = Box::pin(rest.watch(base().query("resourceVersion", version.as_str())).await?);
        while let Some(event) = events.next().await {
            let (change, object) = match event {
                Ok(event) => event,
                Err(error) if error.code() == Some(410) => {
                    version.clear();
                    break;
                }
                Err(error) => return Err(error),
            };
            let meta =
                if as_objects { &object["metadata"] } else { &object["rows"][0]["object"]["metadata"] };
            if let Some(seen) =
                meta["resourceVersion"].as_str().or(object["metadata"]["resourceVersion"].as_str())
            {
                version = seen.to_owned();
            }
            if change != "BOOKMARK" {
                view.change(&change, object)?;
            }
        }
        // The server ends watches now and then. What happened meanwhile is shown from the last revision seen; when
        // that is gone, from a fresh one.
        if version.is_empty() {
            let fresh = rest.call(base().query("limit", "1")).await?;
            version = fresh["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        }
    }
}

struct Follow<'a> {
    args: &'a Args,
    target: &'a Target,
    layout: Layout,
    columns: Columns,
    widths: Vec<usize>,
}

impl Follow<'_> {
    fn change(&mut self, change: &str, mut object: Value) -> Result<()> {
        if let Some(output) = self.args.output.as_ref().filter(|output| Output::needs_objects(Some(output))) {
            select::type_item(&mut object, &self.target.kind);
            if !self.args.show_managed_fields
                && let Some(meta) = object["metadata"].as_object_mut()
            {
                meta.remove("managedFields");
            }
            if *output == Output::Yaml {
                term::out("---");
            }
            return output.print(&object, &self.target.kind.qualified());
        }
        if object["kind"] != "Table" {
            object = plain_table(&object);
        }
        let mut text = Table::new();
        if self.columns.is_empty() {
            self.columns = Columns::read(&object);
            if !self.args.no_headers {
                let event = self.args.output_watch_events.then(|| "EVENT".to_owned());
                text.row(event.into_iter().chain(self.columns.header(&self.layout)));
            }
        }
        for row in object["rows"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let event = self.args.output_watch_events.then(|| change.to_owned());
            text.row(event.into_iter().chain(self.columns.cells(row, &self.layout)));
        }
        term::out(text.render_with(&mut self.widths));
        Ok(())
    }
}
