//! `ctl auth`: ask what one may do, and who one is.

use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::rest::Call;
use crate::session::Session;
use crate::table::Table;
use crate::term;

/// Flags of `auth`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    pub what: What,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum What {
    /// May I do this?
    CanI {
        /// The verb
        verb: Option<String>,
        /// TYPE, TYPE/NAME or /PATH
        resource: Option<String>,
        /// The object's name
        name: Option<String>,
        /// A subresource, as log
        #[arg(long)]
        subresource: Option<String>,
        /// In all namespaces
        #[arg(long, short = 'A')]
        all_namespaces: bool,
        /// All that I may do here
        #[arg(long)]
        list: bool,
        /// Say nothing, answer by exit code
        #[arg(long, short = 'q')]
        quiet: bool,
    },
    /// Who am I?
    Whoami,
}

/// Does it.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    match args.what {
        What::Whoami => whoami(session).await,
        What::CanI { list: true, .. } => rules(session).await,
        What::CanI {
            verb: Some(verb),
            resource: Some(resource),
            name,
            subresource,
            all_namespaces,
            quiet,
            ..
        } => {
            let namespace =
                if all_namespaces { String::new() } else { session.namespace().await?.to_owned() };
            let spec = if resource.starts_with('/') {
                json!({"nonResourceAttributes": {"verb": verb, "path": resource}})
            } else {
                let (typed, in_path) = resource
                    .split_once('/')
                    .map_or((resource.as_str(), None), |(typed, name)| (typed, Some(name.to_owned())));
                let (group, plural, namespaced) = match session.kind(typed).await {
                    _ if typed == "*" => ("*".to_owned(), "*".to_owned(), true),
                    Ok(kind) => (kind.group.clone(), kind.plural.clone(), kind.namespaced),
                    Err(Error::Usage(text)) => {
                        term::warn(text);
                        (String::new(), typed.to_owned(), true)
                    }
                    Err(error) => return Err(error),
                };
                json!({"resourceAttributes": {
                    "verb": verb, "group": group, "resource": plural, "subresource": subresource.unwrap_or_default(),
                    "name": name.or(in_path).unwrap_or_default(), "namespace": if namespaced { namespace } else { String::new() },
                }})
            };
            let answer = review(session, "SelfSubjectAccessReview", "v1", spec).await?;
            let status = &answer["status"];
            let allowed = status["allowed"] == true;
            if !quiet {
                let reason = status["reason"].as_str().filter(|reason| !allowed && !reason.is_empty());
                let word = if allowed { "yes" } else { "no" };
                term::out(reason.map_or(word.to_owned(), |reason| format!("{word} - {reason}")));
            }
            if allowed { Ok(()) } else { Err(Error::Exit(1)) }
        }
        What::CanI { .. } => {
            Err(Error::usage("you must specify two arguments: verb resource or verb resource/resourceName"))
        }
    }
}

async fn review(session: &Session, kind: &str, version: &str, spec: Value) -> Result<Value> {
    let group = if kind == "SelfSubjectReview" { "authentication.k8s.io" } else { "authorization.k8s.io" };
    let path = format!("/apis/{group}/{version}/{}s", kind.to_lowercase());
    let body = json!({"apiVersion": format!("{group}/{version}"), "kind": kind, "spec": spec});
    session.rest().await?.call(Call::new(Method::POST, path).json(&body)).await
}

async fn whoami(session: &Session) -> Result<()> {
    let answer = review(session, "SelfSubjectReview", "v1", json!(null)).await?;
    let user = &answer["status"]["userInfo"];
    let mut table = Table::new();
    table.row(["ATTRIBUTE", "VALUE"]);
    table.row(["Username", user["username"].as_str().unwrap_or_default()]);
    if let Some(groups) = user["groups"].as_array() {
        let names: Vec<&str> = groups.iter().filter_map(Value::as_str).collect();
        table.row(["Groups".to_owned(), format!("[{}]", names.join(" "))]);
    }
    term::out(table.render());
    Ok(())
}

async fn rules(session: &Session) -> Result<()> {
    let namespace = session.namespace().await?;
    let answer = review(session, "SelfSubjectRulesReview", "v1", json!({"namespace": namespace})).await?;
    let mut table = Table::new();
    table.row(["Resources", "Non-Resource URLs", "Resource Names", "Verbs"]);
    rule_rows(&answer["status"]).into_iter().for_each(|row| {
        table.row(row);
    });
    term::out(table.render());
    Ok(())
}

/// A row for each resource and for each path.
///
/// Upstream: `kubectl/pkg/describe/describe.go` `printPolicyRule` over rules broken down to one resource or path each.
fn rule_rows(status: &Value) -> Vec<[String; 4]> {
    let texts = |rule: &Value, key: &str| -> Vec<String> {
        rule[key].as_array().into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned)).collect()
    };
    let list = |rule: &Value, key: &str| format!("[{}]", texts(rule, key).join(" "));
    let mut rows = Vec::new();
    for rule in status["resourceRules"].as_array().into_iter().flatten() {
        for group in texts(rule, "apiGroups") {
            for resource in texts(rule, "resources") {
                let name = if group.is_empty() { resource } else { format!("{resource}.{group}") };
                rows.push([name, "[]".to_owned(), list(rule, "resourceNames"), list(rule, "verbs")]);
            }
        }
    }
    for rule in status["nonResourceRules"].as_array().into_iter().flatten() {
        for path in texts(rule, "nonResourceURLs") {
            rows.push([String::new(), format!("[{path}]"), "[]".to_owned(), list(rule, "verbs")]);
        }
    }
    // Those with most verbs first, then by name; paths after resources.
    rows.sort_by_key(|[name, path, names, verbs]| {
        (
            name.is_empty(),
            std::cmp::Reverse(verbs.split(' ').count()),
            name.clone(),
            path.clone(),
            names.clone(),
        )
    });
    rows
}
