//! `ctl set`: parts of a workload, so far its images, environment, and resources.

use clap::Subcommand;
use http::Method;
use serde_json::{Map, Value, json};

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
    Env(Env),
    /// TYPE NAME --limits=… --requests=…
    Resources(Resources),
}

/// Flags of `set env`.
#[derive(Debug, Default, clap::Args)]
pub struct Env {
    /// Of what
    #[command(flatten)]
    pub change: Change,
    /// Show the variables instead
    #[arg(long)]
    pub list: bool,
}

/// Flags of `set resources`.
#[derive(Debug, Default, clap::Args)]
pub struct Resources {
    /// Of what
    #[command(flatten)]
    pub change: Change,
    /// At most, as cpu=200m,memory=512Mi
    #[arg(long, value_delimiter = ',')]
    pub limits: Vec<String>,
    /// At least, as cpu=100m,memory=256Mi
    #[arg(long, value_delimiter = ',')]
    pub requests: Vec<String>,
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
    match args.what {
        What::Image(mut change) => {
            let pairs = change.take(|arg| arg.contains('='));
            if pairs.is_empty() {
                return Err(Error::usage("at least one image update is required"));
            }
            apply(&change, session, "image", |item| images(item, &pairs)).await
        }
        What::Env(Env { change, list: true }) => {
            each(change.selection.items(session).await?, |item| async move { list(&item) }).await
        }
        What::Env(Env { mut change, .. }) => {
            let pairs = change.take(|arg| arg.contains('=') || arg.ends_with('-'));
            if pairs.is_empty() {
                return Err(Error::usage("at least one environment variable must be provided"));
            }
            apply(&change, session, "env", |item| environment(item, &pairs, &change.containers)).await
        }
        What::Resources(Resources { change, limits, requests }) => {
            if limits.is_empty() && requests.is_empty() {
                return Err(Error::usage(
                    "you must specify an update to requests or limits (in the form of --requests/--limits)",
                ));
            }
            let (limits, requests) = (amounts(&limits)?, amounts(&requests)?);
            apply(&change, session, "resource requirements", |item| {
                let mut resources = json!({});
                for (key, map) in [("limits", &limits), ("requests", &requests)] {
                    if !map.is_empty() {
                        resources[key] = json!(map);
                    }
                }
                containers(item, &change.containers, &json!({"resources": resources}))
            })
            .await
        }
    }
}

impl Change {
    /// Takes the changes out of the arguments, and leaves the objects.
    fn take(&mut self, is_change: impl Fn(&String) -> bool) -> Vec<String> {
        let (changes, objects) = self.selection.args.drain(..).partition(is_change);
        self.selection.args = objects;
        changes
    }
}

/// Patches each object by what `plan` says; nothing to do is nothing to say.
async fn apply(
    change: &Change,
    session: &Session,
    what: &str,
    plan: impl Fn(&Item) -> Result<Option<Value>>,
) -> Result<()> {
    let plan = &plan;
    each(change.selection.items(session).await?, |item| async move {
        let Some(patch) = plan(&item)? else { return Ok(()) };
        let dry_run = change.dry_run.dry_run;
        if dry_run != DryRun::Client {
            let call = Call::new(Method::PATCH, item.path())
                .query("fieldManager", "kubectl-set")
                .maybe("dryRun", dry_run.query())
                .body("application/strategic-merge-patch+json", &patch);
            session.rest().await?.call(call).await?;
        }
        term::out(format!("{} {what} updated{}", item.title(), dry_run.suffix()));
        Ok(())
    })
    .await
}

/// `cpu=200m` pairs as a mapping.
fn amounts(pairs: &[String]) -> Result<Map<String, Value>> {
    pairs
        .iter()
        .map(|pair| {
            let (name, amount) = pair.split_once('=').ok_or_else(|| {
                Error::usage(format!("invalid argument syntax {pair}, expected <resource>=<quantity>"))
            })?;
            Ok((name.to_owned(), json!(amount)))
        })
        .collect()
}

/// The variables of each container.
fn list(item: &Item) -> Result<()> {
    let (spec, _) = pod_spec(&item.object);
    for list in ["initContainers", "containers"] {
        for (name, container) in named(spec, list) {
            term::out(format!("# {} {}, container {name}", item.kind.kind, item.name));
            for variable in container["env"].as_array().into_iter().flatten() {
                let name = variable["name"].as_str().unwrap_or_default();
                match variable["value"].as_str() {
                    _ if variable["valueFrom"].is_object() => {
                        term::out(format!("# {name} from {}", variable["valueFrom"]))
                    }
                    value => term::out(format!("{name}={}", value.unwrap_or_default())),
                }
            }
        }
    }
    Ok(())
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

fn environment(item: &Item, pairs: &[String], wanted: &str) -> Result<Option<Value>> {
    let env: Vec<Value> = pairs
        .iter()
        .map(|pair| match pair.split_once('=') {
            Some((name, value)) => json!({"name": name, "value": value}),
            None => json!({"name": pair.trim_end_matches('-'), "$patch": "delete"}),
        })
        .collect();
    containers(item, wanted, &json!({"env": env}))
}

/// The same change for each container of this name, `*` for all.
fn containers(item: &Item, wanted: &str, change: &Value) -> Result<Option<Value>> {
    let (spec, templated) = pod_spec(&item.object);
    let changes: Vec<Value> = named(spec, "containers")
        .into_iter()
        .filter(|(name, _)| wanted == "*" || wanted == *name)
        .map(|(name, _)| {
            let mut change = change.clone();
            change["name"] = json!(name);
            change
        })
        .collect();
    if changes.is_empty() {
        return Err(Error::usage(format!(
            "{} does not have any containers matching \"{wanted}\"",
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
