//! `ctl describe`: an object in detail, with what belongs to it.

use serde_json::Value;

use crate::describe::{self, Related};
use crate::error::{Error, Result};
use crate::rest::Call;
use crate::select::{self, Item, Selection};
use crate::session::Session;
use crate::term;

/// Flags of `describe`.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// The objects; a name may be the beginning of several
    #[command(flatten)]
    pub selection: Selection,
    /// Show events
    #[arg(long, default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set)]
    pub show_events: bool,
}

/// Does it.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    let words = &args.selection.args;
    let named = words.len() > 1 || words.iter().any(|word| word.contains('/'));
    let selection = Selection { all: !named, ..args.selection.clone() };
    let mut items = selection.items(session).await?;
    if items.len() == 1 && matches!(&items[0], Err(error) if error.is_not_found()) {
        let begun = beginning(&args, session).await?;
        if !begun.is_empty() {
            items = begun.into_iter().map(Ok).collect();
        }
    }
    if items.is_empty() {
        term::err(format!("No resources found in {} namespace.", session.namespace().await?));
        return Ok(());
    }
    let (mut failed, mut first) = (false, true);
    for item in items {
        match page(&args, session, item).await {
            Ok(page) => {
                if !first {
                    term::out("\n");
                }
                first = false;
                term::raw(page.as_bytes());
            }
            Err(error) => {
                crate::report(&error);
                failed = true;
            }
        }
    }
    if failed { Err(Error::Exit(1)) } else { Ok(()) }
}

/// As kubectl: a name that is not there may be the beginning of others.
async fn beginning(args: &Args, session: &Session) -> Result<Vec<Item>> {
    let mut found = Vec::new();
    for target in select::targets(session, &args.selection.args).await? {
        let Some(name) = target.name else { continue };
        let selection = Selection { args: vec![target.kind.resource()], all: true, ..Selection::default() };
        let items = selection.items(session).await?.into_iter().collect::<Result<Vec<Item>>>()?;
        found.extend(items.into_iter().filter(|item| item.name.starts_with(&name)));
    }
    Ok(found)
}

async fn page(args: &Args, session: &Session, item: Result<Item>) -> Result<String> {
    let item = item?;
    let events = if args.show_events { events(session, &item).await.unwrap_or_default() } else { Vec::new() };
    let objects = related(session, &item).await.unwrap_or_default();
    Ok(describe::render(&item.object, &Related { events, objects, now: jiff::Timestamp::now() }))
}

async fn read(session: &Session, call: Call) -> Result<Vec<Value>> {
    let mut list = select::list(session, call).await?;
    Ok(match list["items"].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    })
}

async fn events(session: &Session, item: &Item) -> Result<Vec<Value>> {
    let uid = item.object["metadata"]["uid"].as_str().unwrap_or_default();
    let kind = session.kind("events").await?;
    // Events about cluster-scoped objects live in namespace default.
    let namespace = if item.kind.namespaced { item.namespace.as_str() } else { "default" };
    let mut fields =
        vec![format!("involvedObject.name={}", item.name), format!("involvedObject.kind={}", item.kind.kind)];
    // A node's events carry its name as uid, by an old habit of the kubelet.
    if item.kind.kind != "Node" && !uid.is_empty() {
        fields.push(format!("involvedObject.uid={uid}"));
    }
    read(session, Call::get(kind.path(Some(namespace))).query("fieldSelector", fields.join(","))).await
}

async fn related(session: &Session, item: &Item) -> Result<Vec<Value>> {
    let name = &item.name;
    let wanted: &[(&str, Option<(&str, String)>)] = &match item.kind.kind.as_str() {
        "Deployment" => vec![("replicasets.apps", None)],
        "Service" => {
            let label = ("labelSelector", format!("kubernetes.io/service-name={name}"));
            vec![("endpointslices.discovery.k8s.io", Some(label))]
        }
        "Node" => vec![
            ("pods", Some(("fieldSelector", format!("spec.nodeName={name}")))),
            ("leases.coordination.k8s.io", Some(("fieldSelector", format!("metadata.name={name}")))),
        ],
        _ => return Ok(Vec::new()),
    };
    let mut found = Vec::new();
    for (kind, selector) in wanted {
        let kind = session.kind(kind).await?;
        let namespace = match kind.kind.as_str() {
            // Where nodes keep their heartbeats.
            "Lease" => Some("kube-node-lease"),
            _ => item.kind.namespaced.then_some(item.namespace.as_str()),
        };
        let mut call = Call::get(kind.path(namespace));
        if let Some((key, value)) = selector {
            call = call.query(key, value.as_str());
        }
        for mut object in read(session, call).await? {
            select::type_item(&mut object, kind);
            found.push(object);
        }
    }
    Ok(found)
}
