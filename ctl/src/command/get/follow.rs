//! `get -w`: a list, then its changes.

use futures::StreamExt;
use serde_json::Value;

use super::{Args, layout, plain_table};
use crate::error::{Error, Result};
use crate::output::Output;
use crate::rest::{ACCEPT_TABLE, Call};
use crate::select::{self, Target};
use crate::session::Session;
use crate::table::{Columns, Layout, Table};
use crate::term;

/// `-w`: the list, then every change, from the list's revision on.
pub(super) async fn follow(
    args: &Args,
    session: &Session,
    targets: &[Target],
    namespace: Option<&str>,
) -> Result<()> {
    let [target] = targets else {
        return Err(Error::usage("you may only specify a single resource type when watching"));
    };
    let rest = session.rest().await?;
    let as_objects = Output::needs_objects(args.output.as_ref());
    let accept = if as_objects { "application/json" } else { ACCEPT_TABLE };
    let base = || {
        let call = Call::get(target.kind.path(namespace))
            .accept(accept)
            .maybe("labelSelector", args.selection.selector.clone());
        let by_name = target.name.as_ref().map(|name| format!("metadata.name={name}"));
        let fields: Vec<String> = by_name.into_iter().chain(args.selection.field_selector.clone()).collect();
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
