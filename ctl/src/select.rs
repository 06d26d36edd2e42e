//! Which objects a command means: `TYPE/NAME…`, `TYPE NAME…`, `TYPE -l …`, `--all`, or those of files.

use clap::Args;
use serde_json::Value;

use crate::discovery::Kind;
use crate::error::{Error, Result};
use crate::manifest::{self, Document};
use crate::rest::Call;
use crate::session::Session;
use crate::suggest;

/// `-f` and `-R`.
#[derive(Debug, Clone, Default, Args)]
pub struct FileArgs {
    /// Manifest file, folder, or - for stdin; may be repeated
    #[arg(long = "filename", short = 'f', value_name = "FILE", value_delimiter = ',')]
    pub files: Vec<String>,
    /// Go into folders' folders too
    #[arg(long, short = 'R')]
    pub recursive: bool,
}

/// The objects a command is about.
#[derive(Debug, Clone, Default, Args)]
pub struct Selection {
    /// TYPE NAME, TYPE/NAME, or TYPE
    #[arg(value_name = "TYPE[/NAME]")]
    pub args: Vec<String>,
    /// Where objects come from instead
    #[command(flatten)]
    pub files: FileArgs,
    /// Only objects whose labels match
    #[arg(long, short = 'l')]
    pub selector: Option<String>,
    /// Only objects whose fields match
    #[arg(long)]
    pub field_selector: Option<String>,
    /// In all namespaces
    #[arg(long, short = 'A')]
    pub all_namespaces: bool,
    /// All objects of the type
    #[arg(long)]
    pub all: bool,
}

/// A kind, and a name unless all of the kind are meant.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The kind.
    pub kind: Kind,
    /// The object's name.
    pub name: Option<String>,
}

/// An object that was read.
#[derive(Debug, Clone)]
pub struct Item {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace, empty if cluster-scoped.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The object as the server has it.
    pub object: Value,
}

impl Item {
    /// `deployment.apps/web`
    pub fn title(&self) -> String {
        format!("{}/{}", self.kind.qualified(), self.name)
    }

    /// The object's path.
    pub fn path(&self) -> String {
        self.kind.object_path(&self.namespace, &self.name)
    }
}

/// The targets that arguments name.
pub async fn targets(session: &Session, args: &[String]) -> Result<Vec<Target>> {
    let kinds = session.kinds().await?;
    if args.iter().any(|arg| arg.contains('/')) {
        return args
            .iter()
            .map(|arg| {
                let (kind, name) = arg.split_once('/').filter(|(kind, name)| !kind.is_empty() && !name.is_empty()).ok_or_else(|| {
                    Error::usage(format!("there is no need to specify a resource type as a separate argument when passing arguments in resource/name form (e.g. 'ctl get resource/<resource_name>' instead of 'ctl get resource resource/<resource_name>'): {arg}"))
                })?;
                Ok(Target { kind: kinds.find(kind)?.clone(), name: Some(name.to_owned()) })
            })
            .collect();
    }
    let Some((types, names)) = args.split_first() else { return Ok(Vec::new()) };
    let mut found: Vec<Kind> = Vec::new();
    for typed in types.split(',').filter(|typed| !typed.is_empty()) {
        let category = kinds.category(typed);
        if category.is_empty() {
            found.push(kinds.find(typed)?.clone());
        } else {
            found.extend(category.into_iter().cloned());
        }
    }
    Ok(found
        .into_iter()
        .flat_map(|kind| {
            let one = |name: Option<&String>| Target { kind: kind.clone(), name: name.cloned() };
            if names.is_empty() {
                vec![one(None)]
            } else {
                names.iter().map(|name| one(Some(name))).collect()
            }
        })
        .collect())
}

/// The kind of a document, or kubectl's words that there is none.
pub async fn kind_of<'a>(session: &'a Session, document: &Document) -> Result<&'a Kind> {
    let kinds = session.kinds().await?;
    kinds.of(document.api_version(), document.kind()).ok_or_else(|| {
        let advice = suggest::kind(kinds, document.api_version(), document.kind());
        Error::usage(format!(
            "resource mapping not found for name: \"{}\" namespace: \"{}\" from \"{}\": no matches for kind \"{}\" in version \"{}\"\n{}",
            document.name(),
            document.namespace().unwrap_or_default(),
            document.source,
            document.kind(),
            document.api_version(),
            advice.unwrap_or_else(|| "ensure CRDs are installed first".to_owned()),
        ))
    })
}

/// The namespace of a document's object; a flag that says another one is an error, as in kubectl.
pub async fn namespace_of(session: &Session, kind: &Kind, document: &Document) -> Result<String> {
    if !kind.namespaced {
        return Ok(String::new());
    }
    match (document.namespace(), &session.globals().namespace) {
        (Some(own), Some(flag)) if own != flag => Err(Error::usage(format!(
            "the namespace from the provided object \"{own}\" does not match the namespace \"{flag}\". You must pass '--namespace={own}' to perform this operation."
        ))),
        (Some(own), _) => Ok(own.to_owned()),
        (None, _) => Ok(session.namespace().await?.to_owned()),
    }
}

/// Reads all pages of a list as one `List`.
pub async fn list(session: &Session, call: Call) -> Result<Value> {
    let rest = session.rest().await?;
    let mut whole = rest.call(call.clone().query("limit", "500")).await?;
    while let Some(token) =
        whole["metadata"]["continue"].as_str().filter(|token| !token.is_empty()).map(str::to_owned)
    {
        let mut page = rest.call(call.clone().query("limit", "500").query("continue", token)).await?;
        whole["metadata"] = page["metadata"].take();
        for key in ["items", "rows"] {
            if let (Some(all), Some(more)) = (whole[key].as_array_mut(), page[key].as_array_mut()) {
                all.append(more);
            }
        }
    }
    Ok(whole)
}

/// The `apiVersion` and `kind` that items of a list leave out.
pub fn type_item(item: &mut Value, kind: &Kind) {
    if let Some(map) = item.as_object_mut() {
        map.entry("apiVersion").or_insert_with(|| kind.api_version().into());
        map.entry("kind").or_insert_with(|| kind.kind.clone().into());
    }
}

impl Selection {
    /// Reads the selected objects; whatever is not found is an error among the results, in order.
    pub async fn items(&self, session: &Session) -> Result<Vec<Result<Item>>> {
        if !self.files.files.is_empty() {
            return self.items_of_files(session).await;
        }
        let rest = session.rest().await?;
        let namespace = session.namespace().await?;
        let targets = targets(session, &self.args).await?;
        if targets.is_empty() {
            return Err(Error::usage("You must provide one or more resources by argument or filename."));
        }
        let mut items = Vec::new();
        for target in targets {
            let kind = target.kind;
            if let Some(name) = target.name {
                let read = rest.call(Call::get(kind.object_path(namespace, &name))).await;
                items.push(read.map(|object| item(kind, object)));
                continue;
            }
            if !self.all && self.selector.is_none() && self.field_selector.is_none() {
                return Err(Error::usage("resource(s) were provided, but no name was specified"));
            }
            let call = Call::get(kind.path((!self.all_namespaces).then_some(namespace)))
                .maybe("labelSelector", self.selector.clone())
                .maybe("fieldSelector", self.field_selector.clone());
            let mut answer = list(session, call).await?;
            if let Value::Array(objects) = answer["items"].take() {
                items.extend(objects.into_iter().map(|object| Ok(item(kind.clone(), object))));
            }
        }
        Ok(items)
    }

    async fn items_of_files(&self, session: &Session) -> Result<Vec<Result<Item>>> {
        let rest = session.rest().await?;
        let manifests = manifest::read(&self.files.files, self.files.recursive)?;
        let mut items: Vec<Result<Item>> = manifests.errors.into_iter().map(Err).collect();
        for document in &manifests.documents {
            let read = async {
                let kind = kind_of(session, document).await?;
                let namespace = namespace_of(session, kind, document).await?;
                let object = rest.call(Call::get(kind.object_path(&namespace, document.name()))).await?;
                Ok(item(kind.clone(), object))
            };
            items.push(read.await);
        }
        Ok(items)
    }
}

/// An item from an object as read.
pub fn item(kind: Kind, mut object: Value) -> Item {
    type_item(&mut object, &kind);
    let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
    Item { namespace: text("namespace"), name: text("name"), kind, object }
}

/// Does something to each item, goes on after failures, and fails at the end if any did.
pub async fn each<F>(items: Vec<Result<Item>>, mut act: impl FnMut(Item) -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let mut failed = false;
    for item in items {
        let done = match item {
            Ok(item) => act(item).await,
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            failed = true;
            crate::report(&error);
        }
    }
    if failed { Err(Error::Exit(1)) } else { Ok(()) }
}
