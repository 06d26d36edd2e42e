//! `ctl config`: show and change the kubeconfig.

use clap::Subcommand;
use kube::config::Kubeconfig;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::kubeconfig;
use crate::output::{Output, json, yaml};
use crate::session::Session;
use crate::table::Table;
use crate::term;

/// Flags of `config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    pub what: What,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Show it, without secrets
    View {
        /// Only what the current context needs
        #[arg(long)]
        minify: bool,
        /// Secrets too
        #[arg(long)]
        raw: bool,
        /// Put files' contents in place of their names
        #[arg(long)]
        flatten: bool,
        /// yaml, json or jsonpath=…
        #[arg(long, short = 'o')]
        output: Option<Output>,
    },
    /// Print the current context
    CurrentContext,
    /// Choose another context
    #[command(visible_alias = "use")]
    UseContext {
        /// Its name
        name: String,
    },
    /// List contexts
    GetContexts {
        /// Only this one
        name: Option<String>,
        /// name: names only
        #[arg(long, short = 'o')]
        output: Option<Output>,
        /// No header line
        #[arg(long)]
        no_headers: bool,
    },
    /// List clusters
    GetClusters,
    /// List users
    GetUsers,
    /// Change the current or a named context
    SetContext {
        /// Its name
        name: Option<String>,
        /// The current one
        #[arg(long)]
        current: bool,
    },
}

/// Does it.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    let file = session.globals().kubeconfig.as_deref();
    let config = kubeconfig::load(file)?;
    let current = config.current_context.clone().unwrap_or_default();
    match args.what {
        What::View { minify, raw, flatten, output } => {
            let context = session.globals().context.clone().unwrap_or(current);
            let mut shown = serde_json::to_value(&config)?;
            if minify {
                minify_to(&mut shown, &context, &config)?;
            }
            if flatten {
                embed(&mut shown)?;
            }
            if !raw {
                redact(&mut shown);
            }
            drop_nulls(&mut shown);
            match output {
                None | Some(Output::Yaml) => term::raw(yaml(&shown)?.as_bytes()),
                Some(Output::Json) => term::out(json(&shown)),
                Some(output) => output.print(&shown, "config")?,
            }
            Ok(())
        }
        What::CurrentContext if current.is_empty() => Err(Error::usage("current-context is not set")),
        What::CurrentContext => {
            term::out(current);
            Ok(())
        }
        What::UseContext { name } => {
            if !config.contexts.iter().any(|context| context.name == name) {
                return Err(Error::usage(format!("no context exists with the name: \"{name}\"")));
            }
            edit(session, |value| value["current-context"] = json!(name))?;
            term::out(format!("Switched to context \"{name}\"."));
            Ok(())
        }
        What::GetContexts { name, output, no_headers } => {
            contexts(&config, &current, name.as_deref(), output.as_ref(), no_headers)
        }
        What::GetClusters => {
            term::out("NAME");
            config.clusters.iter().for_each(|cluster| term::out(&cluster.name));
            Ok(())
        }
        What::GetUsers => {
            term::out("NAME");
            config.auth_infos.iter().for_each(|user| term::out(&user.name));
            Ok(())
        }
        What::SetContext { name, current: use_current } => {
            let name = name
                .or_else(|| use_current.then(|| current.clone()))
                .ok_or_else(|| Error::usage("name a context, or use --current"))?;
            set_context(session, &name)
        }
    }
}

fn contexts(
    config: &Kubeconfig,
    current: &str,
    only: Option<&str>,
    output: Option<&Output>,
    no_headers: bool,
) -> Result<()> {
    let found: Vec<_> =
        config.contexts.iter().filter(|context| only.is_none_or(|name| context.name == name)).collect();
    if let (Some(name), true) = (only, found.is_empty()) {
        return Err(Error::usage(format!("context {name} not found")));
    }
    if output == Some(&Output::Name) {
        found.iter().for_each(|context| term::out(&context.name));
        return Ok(());
    }
    let mut table = Table::new();
    if !no_headers {
        table.row(["CURRENT", "NAME", "CLUSTER", "AUTHINFO", "NAMESPACE"]);
    }
    for named in found {
        let mark = if named.name == current { "*" } else { "" };
        let context = named.context.as_ref();
        let text = |value: Option<&String>| value.cloned().unwrap_or_default();
        table.row([
            mark.to_owned(),
            named.name.clone(),
            context.map(|context| context.cluster.clone()).unwrap_or_default(),
            text(context.and_then(|context| context.user.as_ref())),
            text(context.and_then(|context| context.namespace.as_ref())),
        ]);
    }
    term::out(table.render());
    Ok(())
}

fn set_context(session: &Session, name: &str) -> Result<()> {
    let globals = session.globals();
    let mut created = false;
    edit(session, |value| {
        if !value["contexts"].is_array() {
            value["contexts"] = json!([]);
        }
        let Some(list) = value["contexts"].as_array_mut() else { return };
        if !list.iter().any(|entry| entry["name"] == name) {
            created = true;
            list.push(json!({"name": name, "context": {"cluster": "", "user": ""}}));
        }
        let Some(entry) = list.iter_mut().find(|entry| entry["name"] == name) else { return };
        for (key, flag) in
            [("namespace", &globals.namespace), ("cluster", &globals.cluster), ("user", &globals.user)]
        {
            if let Some(flag) = flag {
                entry["context"][key] = json!(flag);
            }
        }
    })?;
    term::out(format!("Context \"{name}\" {}.", if created { "created" } else { "modified" }));
    Ok(())
}

/// Changes the first kubeconfig file, as a value: what we do not know in it stays. The old one is replaced at once.
fn edit(session: &Session, change: impl FnOnce(&mut Value)) -> Result<()> {
    let paths = kubeconfig::paths(session.globals().kubeconfig.as_deref());
    let path = paths.first().ok_or_else(|| Error::usage("there is no kubeconfig to change"))?;
    let io = |source| Error::Io { path: path.clone(), source };
    let text = std::fs::read_to_string(path).map_err(io)?;
    // Strict, so that a context named `n` or `on` stays a text.
    let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
    let mut value: Value = serde_saphyr::from_str_with_options(&text, options)
        .map_err(|error| Error::usage(format!("{}: {}", path.display(), error.without_snippet())))?;
    change(&mut value);
    let mut next = path.clone().into_os_string();
    next.push(".new");
    std::fs::write(&next, yaml(&value)?).map_err(io)?;
    let permissions = std::fs::metadata(path).map_err(io)?.permissions();
    std::fs::set_permissions(&next, permissions).map_err(io)?;
    std::fs::rename(&next, path).map_err(io)
}

fn minify_to(shown: &mut Value, context: &str, config: &Kubeconfig) -> Result<()> {
    let named = config
        .contexts
        .iter()
        .find(|named| named.name == context)
        .and_then(|named| named.context.as_ref())
        .ok_or_else(|| Error::usage(format!("cannot locate context {context}")))?;
    let user = named.user.clone().unwrap_or_default();
    for (key, name) in [("contexts", context), ("clusters", named.cluster.as_str()), ("users", user.as_str())]
    {
        if let Some(list) = shown[key].as_array_mut() {
            list.retain(|entry| entry["name"] == name);
        }
    }
    shown["current-context"] = json!(context);
    Ok(())
}

/// The fields that name files, with the fields that hold their contents.
const FILES: [(&str, &str, &str); 3] = [
    ("cluster", "certificate-authority", "certificate-authority-data"),
    ("user", "client-certificate", "client-certificate-data"),
    ("user", "client-key", "client-key-data"),
];

fn entries<'a>(shown: &'a mut Value, part: &str) -> impl Iterator<Item = &'a mut Value> {
    let list = if part == "cluster" { "clusters" } else { "users" };
    let part = part.to_owned();
    shown[list].as_array_mut().into_iter().flatten().filter_map(move |entry| entry.get_mut(&part))
}

fn embed(shown: &mut Value) -> Result<()> {
    use base64::Engine;
    for (part, file, data) in FILES {
        for entry in entries(shown, part) {
            if let Some(path) = entry[file].as_str().map(std::path::PathBuf::from) {
                let bytes = std::fs::read(&path).map_err(|source| Error::Io { path, source })?;
                entry[data] = json!(base64::engine::general_purpose::STANDARD.encode(bytes));
                entry[file] = Value::Null;
            }
        }
    }
    Ok(())
}

fn redact(shown: &mut Value) {
    for (part, field, word) in [
        ("cluster", "certificate-authority-data", "DATA+OMITTED"),
        ("user", "client-certificate-data", "DATA+OMITTED"),
        ("user", "client-key-data", "DATA+OMITTED"),
        ("user", "token", "REDACTED"),
        ("user", "password", "REDACTED"),
    ] {
        for entry in entries(shown, part) {
            if entry[field].is_string() {
                entry[field] = json!(word);
            }
        }
    }
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let mut shown = json!({"clusters": [{"name": "c", "cluster": {"certificate-authority-data": "x", "server": "s"}}],
            "users": [{"name": "u", "user": {"token": "t", "client-key-data": "k", "username": null}}]});
        redact(&mut shown);
        drop_nulls(&mut shown);
        assert_eq!(
            shown,
            json!({"clusters": [{"name": "c", "cluster": {"certificate-authority-data": "DATA+OMITTED", "server": "s"}}],
            "users": [{"name": "u", "user": {"token": "REDACTED", "client-key-data": "DATA+OMITTED"}}]})
        );
    }
}
