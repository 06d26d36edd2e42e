//! `ctl set`: parts of a workload, so far its images and environment.

use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};

use crate::cli::{DryRun, DryRunArgs};
use crate::error::{Error, Result};
use crate::rest::Call;
use crate::select::{Item, Selection, each};
use crate::session::Session;
use crate::term;

/// Flags of `set`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to set
    #[command(subcommand)]
    pub what: What,
}

/// What to set.
#[derive(Debug, Subcommand)]
pub enum What {
    /// TYPE NAME CONTAINER=IMAGE…
    Image(Change),
    /// TYPE NAME VARIABLE=VALUE… VARIABLE-…
    Env(Change),
}

/// Flags of each.
#[derive(Debug, Default, clap::Args)]
pub struct Change {
    /// Of what, and the changes
    #[command(flatten)]
    pub selection: Selection,
    /// Only this container (env); * for all
    #[arg(long, short = 'c', default_value = "*")]
    pub containers: String,
    /// Only show or check
    #[command(flatten)]
    pub dry_run: DryRunArgs,
}

/// Does it.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    let (mut change, is_image) = match args.what {
        What::Image(change) => (change, true),
        What::Env(change) => (change, false),
    };
    let is_pair = |arg: &String| arg.contains('=') || (!is_image && arg.ends_with('-'));
    let (pairs, objects): (Vec<String>, Vec<String>) = change.selection.args.drain(..).partition(is_pair);
    if pairs.is_empty() {
        return Err(Error::usage(if is_image {
            "at least one image update is required"
        } else {
            "at least one environment variable must be provided"
        }));
    }
    change.selection.args = objects;
    let items = change.selection.items(session).await?;
    let (change, pairs) = (&change, &pairs);
    each(items, |item| async move {
        let patch =
            if is_image { images(&item, pairs)? } else { environment(&item, pairs, &change.containers)? };
        let Some(patch) = patch else { return Ok(()) };
        let dry_run = change.dry_run.dry_run;
        if dry_run != DryRun::Client {
            let call = Call::new(Method::PATCH, item.path())
                .query("fieldManager", "kubectl-set")
                .maybe("dryRun", dry_run.query())
                .body("application/strategic-merge-patch+json", &patch);
            session.rest().await?.call(call).await?;
        }
        term::out(format!(
            "{} {} updated{}",
            item.title(),
            if is_image { "image" } else { "env" },
            dry_run.suffix()
        ));
        Ok(())
    })
    .await
}

/// The pod spec of the object, and how deep it lies.
fn pod_spec(object: &Value) -> (&Value, bool) {
    let template = &object["spec"]["template"]["spec"];
    if template.is_object() { (template, true) } else { (&object["spec"], false) }
}

fn wrap(spec: Value, templated: bool) -> Value {
    if templated { json!({"spec": {"template": {"spec": spec}}}) } else { json!({"spec": spec}) }
}

fn named<'a>(spec: &'a Value, list: &str) -> Vec<(&'a str, &'a Value)> {
    let containers = spec[list].as_array().map(Vec::as_slice).unwrap_or_default();
    containers.iter().filter_map(|container| Some((container["name"].as_str()?, container))).collect()
}

fn images(item: &Item, pairs: &[String]) -> Result<Option<Value>> {
    let (spec, templated) = pod_spec(&item.object);
    let mut patch = json!({});
    for pair in pairs {
        let (wanted, image) = pair.split_once('=').unwrap_or((pair, ""));
        let mut found = false;
        for list in ["containers", "initContainers"] {
            for (name, container) in named(spec, list) {
                if wanted != "*" && wanted != name {
                    continue;
                }
                found = true;
                if container["image"] != image {
                    if patch[list].is_null() {
                        patch[list] = json!([]);
                    }
                    if let Some(changes) = patch[list].as_array_mut() {
                        changes.push(json!({"name": name, "image": image}));
                    }
                }
            }
        }
        if !found {
            return Err(Error::usage(format!("unable to find container named \"{wanted}\"")));
        }
    }
    Ok((patch != json!({})).then(|| wrap(patch, templated)))
}

fn environment(item: &Item, pairs: &[String], containers: &str) -> Result<Option<Value>> {
    let (spec, templated) = pod_spec(&item.object);
    let env: Vec<Value> = pairs
        .iter()
        .map(|pair| match pair.split_once('=') {
            Some((name, value)) => json!({"name": name, "value": value}),
            None => json!({"name": pair.trim_end_matches('-'), "$patch": "delete"}),
        })
        .collect();
    let changes: Vec<Value> = named(spec, "containers")
        .into_iter()
        .filter(|(name, _)| containers == "*" || containers == *name)
        .map(|(name, _)| json!({"name": name, "env": env}))
        .collect();
    if changes.is_empty() {
        return Err(Error::usage(format!(
            "{} does not have any containers matching \"{containers}\"",
            item.title()
        )));
    }
    Ok(Some(wrap(json!({"containers": changes}), templated)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::Kind;

    #[test]
    fn images_change_where_they_differ() {
        let object = json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "x:1"}, {"name": "b", "image": "y:1"}]}}}});
        let item = Item { kind: Kind::default(), namespace: String::new(), name: "d".into(), object };
        let patch =
            |pairs: &[&str]| images(&item, &pairs.iter().map(|pair| (*pair).to_owned()).collect::<Vec<_>>());
        let want =
            |containers: Value| Some(json!({"spec": {"template": {"spec": {"containers": containers}}}}));
        assert_eq!(patch(&["a=x:2"]).expect("valid"), want(json!([{"name": "a", "image": "x:2"}])));
        assert_eq!(patch(&["*=y:1"]).expect("valid"), want(json!([{"name": "a", "image": "y:1"}])));
        assert_eq!(patch(&["a=x:1"]).expect("valid"), None);
        assert!(patch(&["c=z"]).is_err());
    }
}
