//! `ctl apply`: make the cluster match manifests, client-side with a three-way patch, or server-side.

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};

use crate::cli::{DryRun, DryRunArgs};
use crate::discovery::Kind;
use crate::error::{Error, Result};
use crate::manifest::{self, Document};
use crate::merge::{self, schema::Schema};
use crate::output::Output;
use crate::rest::Call;
use crate::select::{self, FileArgs};
use crate::session::Session;
use crate::suggest;
use crate::term;

/// Ownership of fields is kept under kubectl's names, so that the two can be used in turns on one object.
const CLIENT_SIDE: &str = "kubectl-client-side-apply";
const SERVER_SIDE: &str = "kubectl";

/// Groups whose kinds take strategic merge patches; custom kinds take JSON merge patches.
const BUILT_IN: [&str; 22] = [
    "",
    "apps",
    "batch",
    "autoscaling",
    "policy",
    "extensions",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
];

/// Flags of `apply`.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Where the manifests are
    #[command(flatten)]
    pub files: FileArgs,
    /// Only show or check
    #[command(flatten)]
    pub dry_run: DryRunArgs,
    /// Let the server merge, and keep track of who set what
    #[arg(long)]
    pub server_side: bool,
    /// Take fields over from others (server-side)
    #[arg(long)]
    pub force_conflicts: bool,
    /// Who sets the fields
    #[arg(long)]
    pub field_manager: Option<String>,
    /// What to do about unknown fields: strict, warn or ignore
    #[arg(long, default_value = "strict", default_missing_value = "strict", num_args = 0..=1, require_equals = true)]
    pub validate: String,
    /// Print the resulting objects instead of a line each
    #[arg(long, short = 'o')]
    pub output: Option<Output>,
    /// Only objects whose labels match (equality)
    #[arg(long, short = 'l')]
    pub selector: Option<String>,
}

/// The `fieldValidation` that `--validate` means.
pub fn field_validation(validate: &str) -> Result<&'static str> {
    match validate {
        "strict" | "true" => Ok("Strict"),
        "warn" => Ok("Warn"),
        "ignore" | "false" => Ok("Ignore"),
        other => Err(Error::usage(format!(
            "invalid - validate option {other:?}; must be one of: strict (or true), warn, ignore (or false)"
        ))),
    }
}

/// Does it.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    if args.files.files.is_empty() {
        return Err(Error::usage("must specify one of -f and -k"));
    }
    if args.force_conflicts && !args.server_side {
        return Err(Error::usage("--force-conflicts only works with --server-side"));
    }
    let manifests = manifest::read(&args.files.files, args.files.recursive)?;
    let mut failed = !manifests.errors.is_empty();
    for error in &manifests.errors {
        crate::report(error);
    }
    if manifests.documents.is_empty() && !failed {
        return Err(Error::usage("no objects passed to apply"));
    }
    let mut fresh_kinds = None;
    for document in &manifests.documents {
        if !matches_labels(args.selector.as_deref(), &document.object) {
            continue;
        }
        let mut result = one(&args, session, document).await;
        // A CustomResourceDefinition applied a moment ago brings kinds that discovery did not show yet.
        if matches!(&result, Err(Error::Usage(text)) if text.starts_with("resource mapping not found"))
            && fresh_kinds.is_none()
        {
            fresh_kinds = Some(session.afresh().await?);
        }
        if let (Some(fresh), Err(Error::Usage(_))) = (&fresh_kinds, &result) {
            result = one(&args, fresh, document).await;
        }
        if let Err(error) = result {
            failed = true;
            crate::report(&error);
            suggest::advise(session, document, &error).await;
            if matches!(error, Error::Transport { .. } | Error::Kubeconfig(_)) {
                break;
            }
        }
    }
    if failed { Err(Error::Exit(1)) } else { Ok(()) }
}

/// Equality selectors on a manifest, which no server can evaluate.
fn matches_labels(selector: Option<&str>, object: &Value) -> bool {
    selector.is_none_or(|selector| {
        selector.split(',').all(|term| {
            let (key, value) = term.split_once('=').unwrap_or((term, ""));
            object["metadata"]["labels"][key].as_str() == Some(value.trim_start_matches('='))
        })
    })
}

async fn one(args: &Args, session: &Session, document: &Document) -> Result<()> {
    let kind = select::kind_of(session, document).await?;
    let namespace = select::namespace_of(session, kind, document).await?;
    if document.name().is_empty() {
        let generated = document.object["metadata"]["generateName"].as_str();
        return Err(Error::usage(match generated {
            Some(prefix) => format!("from {prefix}: cannot use generate name with apply"),
            None => format!(
                "error when retrieving current configuration of \"{}\": resource name may not be empty",
                document.source
            ),
        }));
    }
    let mut manifest = document.object.clone();
    if kind.namespaced {
        manifest["metadata"]["namespace"] = Value::String(namespace.clone());
    }
    let (object, outcome) = if args.server_side {
        (server_side(args, session, kind, &namespace, document, &manifest).await?, "serverside-applied")
    } else {
        client_side(args, session, kind, &namespace, document, &manifest).await?
    };
    match &args.output {
        Some(Output::Name) | None if args.output.is_none() => {
            term::out(format!(
                "{}/{} {outcome}{}",
                kind.qualified(),
                document.name(),
                args.dry_run.dry_run.suffix()
            ));
            Ok(())
        }
        Some(output) => {
            let mut object = object;
            select::type_item(&mut object, kind);
            output.print(&object, &kind.qualified())
        }
        None => Ok(()),
    }
}

async fn server_side(
    args: &Args,
    session: &Session,
    kind: &Kind,
    namespace: &str,
    document: &Document,
    manifest: &Value,
) -> Result<Value> {
    if args.dry_run.dry_run == DryRun::Client {
        return Err(Error::usage(
            "--dry-run=client doesn't work with --server-side (did you mean --dry-run=server instead?)",
        ));
    }
    let call = Call::new(Method::PATCH, kind.object_path(namespace, document.name()))
        .query("fieldManager", args.field_manager.as_deref().unwrap_or(SERVER_SIDE))
        .query("fieldValidation", field_validation(&args.validate)?)
        .query("force", args.force_conflicts.to_string())
        .maybe("dryRun", args.dry_run.dry_run.query())
        // JSON is YAML.
        .body("application/apply-patch+yaml", manifest);
    session
        .rest()
        .await?
        .call(call)
        .await
        .map_err(|error| error.while_doing(format!("error when applying {}", document.place())))
}

async fn client_side(
    args: &Args,
    session: &Session,
    kind: &Kind,
    namespace: &str,
    document: &Document,
    manifest: &Value,
) -> Result<(Value, &'static str)> {
    let rest = session.rest().await?;
    let path = kind.object_path(namespace, document.name());
    let modified = merge::with_last_applied(manifest);
    let live = match rest.call(Call::get(path.as_str())).await {
        Ok(live) => Some(live),
        Err(error) if error.is_not_found() => None,
        Err(error) => {
            return Err(error.while_doing(format!(
                "error when retrieving current configuration of {}",
                document.place()
            )));
        }
    };
    let manager = args.field_manager.as_deref().unwrap_or(CLIENT_SIDE);
    let validation = field_validation(&args.validate)?;
    let dry_run = args.dry_run.dry_run;
    let Some(mut live) = live else {
        if dry_run == DryRun::Client {
            return Ok((modified, "created"));
        }
        let call = Call::new(Method::POST, kind.path(Some(namespace)))
            .query("fieldManager", manager)
            .query("fieldValidation", validation)
            .maybe("dryRun", dry_run.query())
            .json(&modified);
        let object = rest
            .call(call)
            .await
            .map_err(|error| error.while_doing(format!("error when creating {}", document.place())))?;
        return Ok((object, "created"));
    };
    if live["metadata"]["annotations"].get(merge::LAST_APPLIED).is_none() && dry_run == DryRun::None {
        term::warn(format!(
            "resource {}/{} is missing the {} annotation which is required by ctl apply. ctl apply should only be used on resources created declaratively by either ctl create --save-config or ctl apply. The missing annotation will be patched automatically.",
            kind.plural,
            document.name(),
            merge::LAST_APPLIED,
        ));
    }
    let schema = if BUILT_IN.contains(&kind.group.as_str()) { schema(session, kind).await } else { None };
    // A conflict means that the object changed under the patch: read again, merge again.
    for attempt in 0.. {
        let patch = merge::three_way(merge::last_applied(&live).as_ref(), &modified, &live, schema.as_ref());
        if patch == json!({}) {
            return Ok((live, "unchanged"));
        }
        if dry_run == DryRun::Client {
            return Ok((modified, "configured"));
        }
        let content = if schema.is_some() {
            "application/strategic-merge-patch+json"
        } else {
            "application/merge-patch+json"
        };
        let call = Call::new(Method::PATCH, path.as_str())
            .query("fieldManager", manager)
            .query("fieldValidation", validation)
            .maybe("dryRun", dry_run.query())
            .body(content, &patch);
        match rest.call(call).await {
            Ok(object) => {
                // A patch that changed nothing (a quantity in other words, say) leaves the revision alone.
                let unchanged = object["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"]
                    && dry_run == DryRun::None;
                return Ok((object, if unchanged { "unchanged" } else { "configured" }));
            }
            Err(error) if error.is_conflict() && attempt < 5 => {
                live = rest.call(Call::get(path.as_str())).await?
            }
            Err(error) => {
                let what = format!(
                    "error when applying patch:\n{patch}\nto:\nResource: \"{}\", Name: \"{}\", Namespace: \"{namespace}\"\nfor: \"{}\": error when patching {}",
                    kind.resource(),
                    document.name(),
                    document.source,
                    document.place()
                );
                return Err(error.while_doing(what));
            }
        }
    }
    unreachable!("the loop ends by returning")
}

/// The kind's schema, or none if the server does not tell: lists are then replaced whole.
pub async fn schema(session: &Session, kind: &Kind) -> Option<Schema> {
    let rest = session.rest().await.ok()?;
    let path = if kind.group.is_empty() {
        format!("api/{}", kind.version)
    } else {
        format!("apis/{}/{}", kind.group, kind.version)
    };
    let index = rest.call(Call::get("/openapi/v3")).await.ok()?;
    let url = index["paths"][&path]["serverRelativeURL"].as_str()?;
    let document = rest.call(Call::get(url)).await.ok()?;
    Schema::of_kind(Arc::new(document), &kind.group, &kind.version, &kind.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_filters_manifests() {
        let object = json!({"metadata": {"labels": {"a": "b", "c": "d"}}});
        for (selector, want) in [
            (None, true),
            (Some("a=b"), true),
            (Some("a=b,c==d"), true),
            (Some("a=x"), false),
            (Some("z=1"), false),
        ] {
            assert_eq!(matches_labels(selector, &object), want, "{selector:?}");
        }
    }
}
