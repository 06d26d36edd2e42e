//! `ctl create`: from manifests, or the common kinds from flags.

mod data;
mod deployment;
mod ingress;
mod job;
mod policy;
mod rbac;
mod secret;
mod service;

use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};

pub use data::Data;
pub use ingress::IngressArgs;
pub use job::{CronJobArgs, JobArgs};
pub use policy::{BudgetArgs, PriorityArgs, QuotaArgs};
pub use rbac::{Binding, Rule};
pub use secret::SecretSort;
pub use service::ServiceSort;

use super::apply::field_validation;
use crate::cli::DryRun;
use crate::error::{Error, Result};
use crate::manifest::{self, Document};
use crate::merge;
use crate::output::Output;
use crate::rest::Call;
use crate::select::{self, FileArgs};
use crate::session::Session;
use crate::suggest;
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
    /// A Service
    #[command(visible_alias = "svc")]
    Service {
        /// Which sort
        #[command(subcommand)]
        sort: ServiceSort,
    },
    /// A Job
    Job(JobArgs),
    /// A CronJob
    #[command(visible_alias = "cj")]
    Cronjob(CronJobArgs),
    /// An Ingress
    #[command(visible_alias = "ing")]
    Ingress(IngressArgs),
    /// A ResourceQuota
    #[command(visible_alias = "resourcequota")]
    Quota(QuotaArgs),
    /// A PodDisruptionBudget
    #[command(visible_alias = "pdb")]
    Poddisruptionbudget(BudgetArgs),
    /// A PriorityClass
    #[command(visible_alias = "pc")]
    Priorityclass(PriorityArgs),
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

impl Args {
    /// Whether `--user` names subjects of a binding.
    pub fn names_users(&self) -> bool {
        matches!(&self.what, Some(What::Rolebinding { .. } | What::Clusterrolebinding { .. }))
    }
}

/// Does it.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    let Some(what) = args.what else { return from_files(&args.files, &args.how, session).await };
    if let What::Token { name, audience, duration } = what {
        return token(session, &name, &audience, duration.as_deref()).await;
    }
    let object = build(&what, session).await?;
    make(&args.how, session, object).await
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
        if let Err(error) = make_document(how, session, document.clone(), "created").await {
            failed = true;
            crate::report(&error);
            suggest::advise(session, &document, &error).await;
        }
    }
    if failed { Err(Error::Exit(1)) } else { Ok(()) }
}

/// Creates an object that flags describe and says so.
pub async fn make(how: &How, session: &Session, object: Value) -> Result<()> {
    make_and_say(how, session, object, "created").await
}

/// Creates an object that flags describe and says so in the command's own word.
pub async fn make_and_say(how: &How, session: &Session, object: Value, done: &str) -> Result<()> {
    let document = Document { source: "flags".to_owned(), line: 1, object };
    make_document(how, session, document, done).await
}

async fn make_document(how: &How, session: &Session, document: Document, done: &str) -> Result<()> {
    // A client's dry run of flags needs no server at all, as long as nothing asks for the kind's names.
    let (made, title) = create(how, session, document).await?;
    match &how.output {
        None => term::out(format!("{title} {done}{}", how.dry_run.suffix())),
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
            _ => error.while_doing(format!("error when creating {}", document.place())),
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
                    Err(error) => object["binaryData"][key] = json!(secret::encode(error.as_bytes())),
                }
            }
            object
        }
        What::Secret { sort } => secret::secret(sort)?,
        What::Service { sort } => service::service(sort)?,
        What::Job(args) => job::job(args, session).await?,
        What::Cronjob(args) => job::cron_job(args),
        What::Ingress(args) => ingress::ingress(args)?,
        What::Quota(args) => policy::quota(args)?,
        What::Poddisruptionbudget(args) => policy::budget(args)?,
        What::Priorityclass(args) => policy::priority(args),
        What::Deployment { name, image, replicas, port, command } => {
            deployment::deployment(name, image, *replicas, *port, command)
        }
        What::Role { name, rule } => rbac::role("Role", name, rule, session).await?,
        What::Clusterrole { name, rule } => rbac::role("ClusterRole", name, rule, session).await?,
        What::Rolebinding { name, binding } => binding.object("RoleBinding", name)?,
        What::Clusterrolebinding { name, binding } => binding.object("ClusterRoleBinding", name)?,
        What::Token { .. } => Value::Null,
    })
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
