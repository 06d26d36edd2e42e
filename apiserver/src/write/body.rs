//! What a client sent, decoded and checked against the schema.

use axum::body::Body;
use http::{Request, header};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;
use skiff_api::status::Status;
use skiff_api::{walk, yaml};

use crate::app::Call;
use crate::{negotiate, options};

/// The largest body, as upstream.
const LIMIT_BYTES: usize = 3 << 20;

/// What happens with fields that the schema does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldValidation {
    /// They are dropped.
    Ignore,
    /// They are dropped and the client is warned.
    Warn,
    /// The request is refused.
    Strict,
}

/// The patches that are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchSort {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' own.
    Strategic,
    /// A configuration that is applied.
    Apply,
}

/// Reads a whole body, up to the limit.
pub async fn read_all(request: Request<Body>) -> Result<bytes::Bytes, Status> {
    match Limited::new(request.into_body(), LIMIT_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(Status::new(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: limit is {LIMIT_BYTES}"),
        )),
        Err(error) => Err(Status::bad_request(format!("the body could not be read: {error}"))),
    }
}

fn media_type(request: &Request<Body>) -> String {
    let value = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn validation(text: &str) -> FieldValidation {
    match text {
        "Ignore" => FieldValidation::Ignore,
        "Strict" => FieldValidation::Strict,
        _ => FieldValidation::Warn,
    }
}

/// What bodies may be.
pub const MEDIA_TYPES: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
const PATCH_TYPES: &str = "application/json-patch+json, application/merge-patch+json, \
                           application/strategic-merge-patch+json, application/apply-patch+yaml";

/// 415.
fn unsupported(known: &str) -> Status {
    let text = "the body of the request was in an unknown format - accepted media types include:";
    Status::new(415, "UnsupportedMediaType", format!("{text} {known}"))
}

/// The document that an object was read from, as far as it matters to what is said of its fields.
#[derive(Debug, Default)]
pub struct Source {
    bytes: bytes::Bytes,
    yaml: bool,
    /// The paths of what was given twice.
    duplicates: Vec<String>,
}

impl Source {
    /// What a strict reader refuses of a document, in upstream's order: a typed object is read in one
    /// pass, so its mistakes come as they stand in the document; of a custom object, and of YAML, what was
    /// given twice is found first.
    fn problems(&self, unknown: Vec<String>, typed: bool) -> Vec<String> {
        let mut found: Vec<(bool, String)> = unknown.into_iter().map(|path| (false, path)).collect();
        let mut problems = Vec::new();
        if self.yaml && !self.duplicates.is_empty() {
            problems.push(yaml::duplicate_error(&self.bytes, &self.duplicates));
        } else {
            found.splice(0..0, self.duplicates.iter().map(|path| (true, path.clone())));
        }
        if typed && !self.yaml && found.len() > 1 {
            let keys = yaml::keys(&self.bytes);
            found.sort_by_key(|(twice, path)| {
                let mut places = keys.iter().enumerate().filter(|(_, key)| *key == path).map(|(at, _)| at);
                places.nth(usize::from(*twice))
            });
        }
        problems.extend(found.into_iter().map(|(twice, path)| {
            if twice { format!("duplicate field {path:?}") } else { format!("unknown field {path:?}") }
        }));
        problems
    }
}

/// Decodes a JSON, YAML or protobuf body that must be of this kind; answers with what it was read from.
/// An empty kind words refusals as upstream does for options.
pub async fn parse(request: Request<Body>, kind: &str) -> Result<(Value, Source), Status> {
    let media = media_type(&request);
    let yaml = match media.as_str() {
        "" | "application/json" => false,
        "application/yaml" => true,
        "application/vnd.kubernetes.protobuf" => {
            let bytes = read_all(request).await?;
            let object = skiff_api::protobuf::decode(&bytes)
                .map_err(|why| unrecognized(kind, &why.to_string(), &bytes))?;
            return Ok((object, Source::default()));
        }
        _ => return Err(unsupported(MEDIA_TYPES)),
    };
    let bytes = read_all(request).await?;
    let (object, duplicates) =
        yaml::decode_one(&bytes, yaml).map_err(|why| unrecognized(kind, &why, &bytes))?;
    let source = |bytes| Source { bytes, yaml, duplicates };
    match object {
        Value::Null => Ok((Value::Object(serde_json::Map::new()), source(bytes))),
        Value::Object(_) => Ok((object, source(bytes))),
        other => {
            let sort = walk::sort(&other);
            let why =
                format!("{JSON_ERROR}: json: cannot unmarshal {sort} into Go value of type {TYPE_META}");
            Err(unrecognized(kind, &why, &bytes))
        }
    }
}

/// The same, of a body that may be left out.
pub async fn parse_options(request: Request<Body>) -> Result<Option<Value>, Status> {
    let (head, body) = request.into_parts();
    let bytes = read_all(Request::new(body)).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    parse(Request::from_parts(head, Body::from(bytes)), "").await.map(|(object, _)| Some(object))
}

const JSON_ERROR: &str = "couldn't get version/kind; json parse error";
const TYPE_META: &str = "struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; \
                         Kind string \"json:\\\"kind,omitempty\\\"\" }";

/// 400 for a body whose kind cannot be told.
fn unrecognized(kind: &str, why: &str, body: &[u8]) -> Status {
    if kind.is_empty() {
        return Status::bad_request(why);
    }
    let shown = &body[..body.len().min(SUMMARY)];
    let mut summary = match body {
        [] => "<empty>".to_owned(),
        [b'{', ..] => String::from_utf8_lossy(shown).into_owned(),
        _ => shown.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    if body.len() > SUMMARY {
        summary.push_str(" ...");
    }
    Status::bad_request(format!(
        "the object provided is unrecognized (must be of type {kind}): {why} ({summary})"
    ))
}

/// So much of a body is shown in a refusal, in bytes.
const SUMMARY: usize = 30;

/// Decodes the object of a create or an update of this call's kind.
pub async fn decode(call: &Call, request: Request<Body>) -> Result<Value, Status> {
    let sort = if call.info.verb == "create" { "CreateOptions" } else { "UpdateOptions" };
    let validation = validation(&options::write(&call.query, sort, false)?.field_validation);
    let (mut object, source) = parse(request, &call.kind.kind).await?;
    same_kind(call, &object)?;
    object["kind"] = call.kind.kind.as_str().into();
    object["apiVersion"] = call.kind.api_version(&call.version).into();
    check_fields(call, &mut object, &source, validation)?;
    if let Some(record) = call.context.record() {
        record.request_object(&object);
    }
    Ok(object)
}

/// Refuses an object that says that it is of another kind than the path's.
pub fn same_kind(call: &Call, object: &Value) -> Result<(), Status> {
    let given = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    let expected = call.kind.api_version(&call.version);
    let api_version = if given("apiVersion").is_empty() { expected.as_str() } else { given("apiVersion") };
    let kind = if given("kind").is_empty() { call.kind.kind.as_str() } else { given("kind") };
    if kind == call.kind.kind && api_version == expected {
        return Ok(());
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let wanted = &call.kind.kind;
    let registry = call.app.registry.load();
    let known = registry.kind(group, kind).filter(|known| known.version(version).is_some());
    let unconvertible = || {
        format!(
            "converting ({version}.{kind}) to ({}.{wanted}): unknown conversion",
            negotiate::package(&call.kind.group)
        )
    };
    let why = match known {
        Some(known) if known.group == call.kind.group && known.kind == call.kind.kind => {
            return Err(Status::bad_request(format!(
                "the API version in the data ({api_version}) does not match the expected API version ({expected})"
            )));
        }
        Some(_) => unconvertible(),
        None if is_known(api_version, kind) => unconvertible(),
        None => format!(
            "no kind {kind:?} is registered for version {api_version:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\""
        ),
    };
    Err(Status::bad_request(format!("{kind} in version {version:?} cannot be handled as a {wanted}: {why}")))
}

/// Whether there is such a type, or a list of it.
fn is_known(api_version: &str, kind: &str) -> bool {
    let known = |kind: &str| skiff_api::schema::definition_of_kind(api_version, kind).is_some();
    known(kind) || kind.strip_suffix("List").is_some_and(known)
}

/// 422 for a patch whose result is no object of its kind, as upstream shows it.
pub fn unpatched(patched: &str, status: Status) -> Status {
    if status.code != 400 {
        return status;
    }
    let why = match status.message.split_once(" cannot be handled as a ") {
        Some((_, rest)) => rest.split_once(": ").map_or(rest, |(_, why)| why).to_owned(),
        None => status.message,
    };
    let error = skiff_api::status::FieldError::invalid("patch", patched, why);
    Status::invalid("", "", "", &[error])
}

/// Drops what the schema does not know, and says so as `validation` wants.
pub fn check_fields(
    call: &Call,
    object: &mut Value,
    source: &Source,
    validation: FieldValidation,
) -> Result<(), Status> {
    // What only a schema says is checked with the rest of it; metadata has a type of its own everywhere.
    let typed = match call.validator() {
        Some(_) => &serde_json::json!({"metadata": object["metadata"]}),
        None => &*object,
    };
    if let Some(status) = walk::decode_error(&call.kind.kind, &call.version, call.schema(), typed) {
        return Err(status);
    }
    let unknown = walk::prune(call.schema(), object);
    let problems = source.problems(unknown, call.validator().is_none());
    if !object["metadata"].is_object() {
        object["metadata"] = Value::Object(serde_json::Map::new());
    }
    match validation {
        _ if problems.is_empty() => Ok(()),
        FieldValidation::Ignore => Ok(()),
        FieldValidation::Warn => {
            problems.into_iter().for_each(|problem| call.context.warn(problem));
            Ok(())
        }
        FieldValidation::Strict => {
            let (kind, version) = (&call.kind.kind, &call.version);
            let text = format!(
                "{kind} in version {version:?} cannot be handled as a {kind}: strict decoding error: {}",
                problems.join(", ")
            );
            Err(Status::bad_request(text))
        }
    }
}

/// Reads a patch.
pub async fn patch(
    call: &Call,
    request: Request<Body>,
) -> Result<(PatchSort, bytes::Bytes, FieldValidation), Status> {
    let media = media_type(&request);
    let sort = match media.as_str() {
        "application/json-patch+json" => PatchSort::Json,
        "application/merge-patch+json" => PatchSort::Merge,
        "application/strategic-merge-patch+json" => PatchSort::Strategic,
        "application/apply-patch+yaml" => PatchSort::Apply,
        _ => return Err(unsupported(PATCH_TYPES)),
    };
    let validation =
        validation(&options::write(&call.query, "PatchOptions", sort == PatchSort::Apply)?.field_validation);
    let bytes = read_all(request).await?;
    if let Some(record) = call.context.record() {
        record.request_patch(&bytes);
    }
    Ok((sort, bytes, validation))
}
