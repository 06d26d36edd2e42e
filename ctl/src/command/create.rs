//! `ctl create`: from manifests, or the common kinds from flags.

use std::path::Path;

use base64::Engine;
use clap::Subcommand;
use http::Method;
use serde_json::{Map, Value, json};

use super::apply::field_validation;
use crate::cli::DryRun;
use crate::error::{Error, Result};
use crate::manifest::{self, Document};
use crate::merge;
use crate::output::Output;
use crate::rest::Call;
use crate::select::{self, FileArgs};
use crate::session::Session;
use crate::term;

/// Flags of `create`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = false)]
pub struct Args {
    /// Where the manifests are
    #[command(flatten)]
    pub files: FileArgs,
    /// How objects are made and shown
    #[command(flatten)]
    pub how: How,
    /// A kind made from flags
    #[command(subcommand)]
    pub what: Option<What>,
}

/// How objects are made and shown, for every command that makes some.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct How {
    /// Only show or check
    #[arg(long, global = true, value_enum, default_value = "none", default_missing_value = "client", num_args = 0..=1, require_equals = true)]
    pub dry_run: DryRun,
    /// Print the object instead of a line
    #[arg(long, short = 'o', global = true)]
    pub output: Option<Output>,
    /// What to do about unknown fields: strict, warn or ignore
    #[arg(long, global = true, default_value = "strict", default_missing_value = "strict", num_args = 0..=1, require_equals = true)]
    pub validate: String,
    /// Keep the manifest in the object, for a later apply
    #[arg(long, global = true)]
    pub save_config: bool,
    /// Who sets the fields
    #[arg(long, global = true, default_value = "kubectl-create")]
    pub field_manager: String,
}

/// A kind made from flags.
#[derive(Debug, Subcommand)]
pub enum What {
    /// A namespace
    #[command(visible_alias = "ns")]
    Namespace {
        /// Its name
        name: String,
    },
    /// A ConfigMap
    #[command(visible_alias = "cm")]
    Configmap {
        /// Its name
        name: String,
        /// Where the data is
        #[command(flatten)]
        data: Data,
    },
    /// A Secret
    Secret {
        /// Which sort
        #[command(subcommand)]
        sort: SecretSort,
    },
    /// A Deployment
    #[command(visible_alias = "deploy")]
    Deployment {
        /// Its name
        name: String,
        /// Image; may be repeated
        #[arg(long, required = true, value_delimiter = ',')]
        image: Vec<String>,
        /// How many pods
        #[arg(long, short = 'r', default_value_t = 1)]
        replicas: u32,
        /// The container's port
        #[arg(long)]
        port: Option<u16>,
        /// Command and arguments
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// A ServiceAccount
    #[command(visible_alias = "sa")]
    Serviceaccount {
        /// Its name
        name: String,
    },
    /// A Role
    Role {
        /// Its name
        name: String,
        /// What it may do
        #[command(flatten)]
        rule: Rule,
    },
    /// A ClusterRole
    Clusterrole {
        /// Its name
        name: String,
        /// What it may do
        #[command(flatten)]
        rule: Rule,
    },
    /// A RoleBinding
    Rolebinding {
        /// Its name
        name: String,
        /// Who gets what
        #[command(flatten)]
        binding: Binding,
    },
    /// A ClusterRoleBinding
    Clusterrolebinding {
        /// Its name
        name: String,
        /// Who gets what
        #[command(flatten)]
        binding: Binding,
    },
    /// A token for a ServiceAccount
    Token {
        /// The ServiceAccount's name
        name: String,
        /// Who shall accept it
        #[arg(long)]
        audience: Vec<String>,
        /// How long it is valid
        #[arg(long)]
        duration: Option<String>,
    },
}

/// Which Secret.
#[derive(Debug, Subcommand)]
pub enum SecretSort {
    /// Any data
    Generic {
        /// Its name
        name: String,
        /// Its type
        #[arg(long = "type", default_value = "Opaque")]
        kind: String,
        /// Where the data is
        #[command(flatten)]
        data: Data,
    },
    /// A certificate and its key
    Tls {
        /// Its name
        name: String,
        /// The certificate's file
        #[arg(long)]
        cert: String,
        /// The key's file
        #[arg(long)]
        key: String,
    },
    /// A registry's credentials
    DockerRegistry {
        /// Its name
        name: String,
        /// The registry
        #[arg(long, default_value = "https://index.docker.io/v1/")]
        docker_server: String,
        /// The user
        #[arg(long)]
        docker_username: String,
        /// The password
        #[arg(long)]
        docker_password: String,
        /// The e-mail address
        #[arg(long, default_value = "")]
        docker_email: String,
    },
}

/// Where data is.
#[derive(Debug, Default, clap::Args)]
pub struct Data {
    /// KEY=VALUE
    #[arg(long)]
    pub from_literal: Vec<String>,
    /// [KEY=]FILE, or a folder
    #[arg(long)]
    pub from_file: Vec<String>,
    /// A file of KEY=VALUE lines
    #[arg(long)]
    pub from_env_file: Vec<String>,
}

/// What a role may do.
#[derive(Debug, clap::Args)]
pub struct Rule {
    /// Verbs
    #[arg(long, value_delimiter = ',', required = true)]
    pub verb: Vec<String>,
    /// Resources, as pods or deployments.apps or pods/log
    #[arg(long, value_delimiter = ',')]
    pub resource: Vec<String>,
    /// Names of objects
    #[arg(long, value_delimiter = ',')]
    pub resource_name: Vec<String>,
    /// URL paths (cluster roles)
    #[arg(long, value_delimiter = ',')]
    pub non_resource_url: Vec<String>,
}

/// Who gets what.
#[derive(Debug, clap::Args)]
pub struct Binding {
    /// A ClusterRole
    #[arg(long)]
    pub clusterrole: Option<String>,
    /// A Role
    #[arg(long)]
    pub role: Option<String>,
    /// Users
    #[arg(long = "for-user", alias = "username")]
    pub user_names: Vec<String>,
    /// Groups
    #[arg(long, value_delimiter = ',')]
    pub group: Vec<String>,
    /// NAMESPACE:NAME
    #[arg(long, value_delimiter = ',')]
    pub serviceaccount: Vec<String>,
}

/// Does it.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    let Some(what) = args.what else { return from_files(&args.files, &args.how, session).await };
    if let What::Token { name, audience, duration } = what {
        return token(session, &name, &audience, duration.as_deref()).await;
    }
    let object = build(&what, session).await?;
    make(&args.how, session, object, None).await
}

async fn from_files(files: &FileArgs, how: &How, session: &Session) -> Result<()> {
    if files.files.is_empty() {
        return Err(Error::usage("must specify one of -f and -k, or what to create (see ctl create --help)"));
    }
    let manifests = manifest::read(&files.files, files.recursive)?;
    let mut failed = !manifests.errors.is_empty();
    manifests.errors.iter().for_each(crate::report);
    if manifests.documents.is_empty() && !failed {
        return Err(Error::usage("no objects passed to create"));
    }
    for document in manifests.documents {
        let source = document.source.clone();
        if let Err(error) = make(how, session, document.object, Some(&source)).await {
            failed = true;
            crate::report(&error);
        }
    }
    if failed { Err(Error::Exit(1)) } else { Ok(()) }
}

/// Creates an object and says so.
pub async fn make(how: &How, session: &Session, object: Value, source: Option<&str>) -> Result<()> {
    let document = Document { source: source.unwrap_or("flags").to_owned(), line: 1, object };
    // A client's dry run of flags needs no server at all, as long as nothing asks for the kind's names.
    let (made, title) = create(how, session, document).await?;
    match &how.output {
        None => term::out(format!("{title} created{}", how.dry_run.suffix())),
        Some(output) => output.print(&made, title.split_once('/').map_or("", |(kind, _)| kind))?,
    }
    Ok(())
}

/// Creates an object; gives what the server made of it, and `pod/name`.
pub async fn create(how: &How, session: &Session, document: Document) -> Result<(Value, String)> {
    if how.dry_run == DryRun::Client && how.output.is_some() {
        let kind = document.kind().to_lowercase();
        let title = format!("{kind}/{}", document.name());
        return Ok((document.object, title));
    }
    let kind = select::kind_of(session, &document).await?;
    let namespace = select::namespace_of(session, kind, &document).await?;
    let mut object = document.object.clone();
    if kind.namespaced {
        object["metadata"]["namespace"] = Value::String(namespace.clone());
    }
    if how.save_config {
        object = merge::with_last_applied(&object);
    }
    if how.dry_run == DryRun::Client {
        return Ok((object, format!("{}/{}", kind.qualified(), document.name())));
    }
    let call = Call::new(Method::POST, kind.path(Some(&namespace)))
        .query("fieldManager", how.field_manager.as_str())
        .query("fieldValidation", field_validation(&how.validate)?)
        .maybe("dryRun", how.dry_run.query())
        .json(&object);
    let mut made =
        session.rest().await?.call(call).await.map_err(|error| match document.source.as_str() {
            "flags" => error.while_doing(format!("failed to create {}", kind.singular)),
            source => error.while_doing(format!("error when creating \"{source}\"")),
        })?;
    select::type_item(&mut made, kind);
    let title = format!("{}/{}", kind.qualified(), made["metadata"]["name"].as_str().unwrap_or_default());
    Ok((made, title))
}

async fn build(what: &What, session: &Session) -> Result<Value> {
    let core = |kind: &str, name: &str| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}});
    Ok(match what {
        What::Namespace { name } => core("Namespace", name),
        What::Serviceaccount { name } => core("ServiceAccount", name),
        What::Configmap { name, data } => {
            let mut object = core("ConfigMap", name);
            for (key, bytes) in data.read()? {
                match String::from_utf8(bytes) {
                    Ok(text) => object["data"][key] = Value::String(text),
                    Err(error) => object["binaryData"][key] = json!(encode(error.as_bytes())),
                }
            }
            object
        }
        What::Secret { sort } => secret(sort)?,
        What::Deployment { name, image, replicas, port, command } => {
            deployment(name, image, *replicas, *port, command)
        }
        What::Role { name, rule } => role("Role", name, rule, session).await?,
        What::Clusterrole { name, rule } => role("ClusterRole", name, rule, session).await?,
        What::Rolebinding { name, binding } => binding.object("RoleBinding", name)?,
        What::Clusterrolebinding { name, binding } => binding.object("ClusterRoleBinding", name)?,
        What::Token { .. } => Value::Null,
    })
}

fn encode(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn secret(sort: &SecretSort) -> Result<Value> {
    let (name, kind, data) = match sort {
        SecretSort::Generic { name, kind, data } => (name, kind.as_str(), data.read()?),
        SecretSort::Tls { name, cert, key } => {
            let data = vec![
                ("tls.crt".to_owned(), read(Path::new(cert))?),
                ("tls.key".to_owned(), read(Path::new(key))?),
            ];
            (name, "kubernetes.io/tls", data)
        }
        SecretSort::DockerRegistry {
            name,
            docker_server,
            docker_username,
            docker_password,
            docker_email,
        } => {
            let auth = encode(format!("{docker_username}:{docker_password}").as_bytes());
            let mut entry = json!({"username": docker_username, "password": docker_password, "auth": auth});
            if !docker_email.is_empty() {
                entry["email"] = json!(docker_email);
            }
            let config = json!({"auths": {docker_server.as_str(): entry}}).to_string();
            (
                name,
                "kubernetes.io/dockerconfigjson",
                vec![(".dockerconfigjson".to_owned(), config.into_bytes())],
            )
        }
    };
    let data: Map<String, Value> =
        data.into_iter().map(|(key, bytes)| (key, json!(encode(&bytes)))).collect();
    Ok(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": kind, "data": data}))
}

fn deployment(name: &str, images: &[String], replicas: u32, port: Option<u16>, command: &[String]) -> Value {
    let containers: Vec<Value> = images
        .iter()
        .map(|image| {
            let mut container = json!({"name": container_name(image), "image": image});
            if let Some(port) = port {
                container["ports"] = json!([{"containerPort": port}]);
            }
            if !command.is_empty() {
                container["command"] = json!(command);
            }
            container
        })
        .collect();
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": containers}},
        },
    })
}

/// `registry.io/team/web:1.2@sha256:…` is named `web`.
fn container_name(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    let name: String = last.split([':', '@']).next().unwrap_or(last).to_lowercase();
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect::<String>()
        .trim_matches('-')
        .to_owned()
}

async fn role(kind: &str, name: &str, rule: &Rule, session: &Session) -> Result<Value> {
    // One rule for each API group.
    let mut by_group: Vec<(String, Vec<String>)> = Vec::new();
    for resource in &rule.resource {
        let (plain, sub) =
            resource.split_once('/').map_or((resource.as_str(), None), |(plain, sub)| (plain, Some(sub)));
        let (group, plural) = if plain == "*" {
            ("*".to_owned(), "*".to_owned())
        } else {
            let kind = session.kind(plain).await?;
            (kind.group.clone(), kind.plural.clone())
        };
        let resource = sub.map_or(plural.clone(), |sub| format!("{plural}/{sub}"));
        match by_group.iter_mut().find(|(known, _)| *known == group) {
            Some((_, resources)) => resources.push(resource),
            None => by_group.push((group, vec![resource])),
        }
    }
    let mut rules: Vec<Value> = by_group
        .into_iter()
        .map(|(group, resources)| {
            let mut value = json!({"apiGroups": [group], "resources": resources, "verbs": rule.verb});
            if !rule.resource_name.is_empty() {
                value["resourceNames"] = json!(rule.resource_name);
            }
            value
        })
        .collect();
    if !rule.non_resource_url.is_empty() {
        rules.push(json!({"nonResourceURLs": rule.non_resource_url, "verbs": rule.verb}));
    }
    if rules.is_empty() {
        return Err(Error::usage("at least one resource must be specified"));
    }
    Ok(
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "rules": rules}),
    )
}

impl Binding {
    fn object(&self, kind: &str, name: &str) -> Result<Value> {
        const GROUP: &str = "rbac.authorization.k8s.io";
        let (role_kind, role) = match (&self.clusterrole, &self.role) {
            (Some(role), None) => ("ClusterRole", role),
            (None, Some(role)) => ("Role", role),
            _ => return Err(Error::usage("exactly one of clusterrole or role must be specified")),
        };
        let plain = |kind: &'static str| {
            move |name: &String| Ok(json!({"apiGroup": GROUP, "kind": kind, "name": name}))
        };
        let accounts = self.serviceaccount.iter().map(|account| {
            let (namespace, name) = account
                .split_once(':')
                .ok_or_else(|| Error::usage("serviceaccount must be <namespace>:<name>"))?;
            Ok(json!({"kind": "ServiceAccount", "namespace": namespace, "name": name}))
        });
        let subjects: Result<Vec<Value>> = self
            .user_names
            .iter()
            .map(plain("User"))
            .chain(self.group.iter().map(plain("Group")))
            .chain(accounts)
            .collect();
        Ok(json!({
            "apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": {"name": name},
            "roleRef": {"apiGroup": GROUP, "kind": role_kind, "name": role}, "subjects": subjects?,
        }))
    }
}

impl Data {
    /// The keys and their bytes, in order of flags.
    fn read(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let mut found = Vec::new();
        for literal in &self.from_literal {
            let (key, value) =
                literal.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(|| {
                    Error::usage(format!("invalid literal source {literal}, expected key=value"))
                })?;
            found.push((key.to_owned(), value.as_bytes().to_vec()));
        }
        for source in &self.from_file {
            let (key, path) = match source.split_once('=') {
                Some((key, path)) => (Some(key), Path::new(path)),
                None => (None, Path::new(source)),
            };
            if path.is_dir() {
                let mut entries: Vec<_> = std::fs::read_dir(path)
                    .and_then(|entries| {
                        entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<_>>()
                    })
                    .map_err(|source| Error::Io { path: path.to_owned(), source })?;
                entries.sort();
                for entry in entries.iter().filter(|entry| entry.is_file()) {
                    found.push((file_name(entry), read(entry)?));
                }
            } else {
                found.push((key.map_or_else(|| file_name(path), str::to_owned), read(path)?));
            }
        }
        for source in &self.from_env_file {
            let bytes = read(Path::new(source))?;
            for line in String::from_utf8_lossy(&bytes).lines().map(str::trim_start) {
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                let (key, value) = match line.split_once('=') {
                    Some((key, value)) => (key.to_owned(), value.to_owned()),
                    // A name alone takes its value from here, as kubectl does.
                    None => (line.to_owned(), std::env::var(line).unwrap_or_default()),
                };
                found.push((key, value.into_bytes()));
            }
        }
        let mut keys: Vec<&String> = found.iter().map(|(key, _)| key).collect();
        keys.sort();
        if let Some(twice) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::usage(format!(
                "cannot add key {}, another key by that name already exists",
                twice[0]
            )));
        }
        Ok(found)
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })
}

async fn token(session: &Session, name: &str, audiences: &[String], duration: Option<&str>) -> Result<()> {
    let mut spec = json!({});
    if !audiences.is_empty() {
        spec["audiences"] = json!(audiences);
    }
    if let Some(duration) = duration {
        let duration = crate::age::parse(duration).map_err(Error::Usage)?.unwrap_or_default();
        spec["expirationSeconds"] = json!(duration.as_secs());
    }
    let kind = session.kind("serviceaccounts").await?;
    let path = format!("{}/token", kind.object_path(session.namespace().await?, name));
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
    let answer = session.rest().await?.call(Call::new(Method::POST, path).json(&request)).await?;
    term::out(answer["status"]["token"].as_str().unwrap_or_default());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_named_after_their_image() {
        for (image, want) in
            [("nginx", "nginx"), ("r.io:5000/a/Web_x:1@sha256:ab", "web-x"), ("busybox:1.36", "busybox")]
        {
            assert_eq!(container_name(image), want);
        }
    }

    #[test]
    fn literals_become_data_and_twice_is_an_error() {
        let data = |literals: &[&str]| Data {
            from_literal: literals.iter().map(|text| (*text).to_owned()).collect(),
            ..Data::default()
        };
        assert_eq!(data(&["a=b=c"]).read().expect("valid"), vec![("a".to_owned(), b"b=c".to_vec())]);
        assert!(data(&["a"]).read().is_err());
        assert!(data(&["a=1", "a=2"]).read().is_err());
    }
}
