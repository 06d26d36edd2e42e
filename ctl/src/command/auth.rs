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
    let list = |rule: &Value, key: &str| -> String {
        let values: Vec<&str> =
            rule[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        format!("[{}]", values.join(" "))
    };
    let mut table = Table::new();
    table.row(["Resources", "Non-Resource URLs", "Resource Names", "Verbs"]);
    for rule in answer["status"]["resourceRules"].as_array().into_iter().flatten() {
        let group = rule["apiGroups"][0].as_str().filter(|group| !group.is_empty());
        let resources = list(rule, "resources");
        let resources = match group {
            Some(group) => resources
                .trim_matches(['[', ']'])
                .split(' ')
                .map(|name| format!("{name}.{group}"))
                .collect::<Vec<_>>()
                .join(","),
            None => resources.trim_matches(['[', ']']).replace(' ', ","),
        };
        table.row([resources, "[]".to_owned(), list(rule, "resourceNames"), list(rule, "verbs")]);
    }
    for rule in answer["status"]["nonResourceRules"].as_array().into_iter().flatten() {
        table.row([String::new(), list(rule, "nonResourceURLs"), "[]".to_owned(), list(rule, "verbs")]);
    }
    term::out(table.render());
    Ok(())
}
