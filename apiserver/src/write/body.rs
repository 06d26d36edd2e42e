//! What a client sent, decoded and checked against the schema.

use axum::body::Body;
use http::{Request, header};
use http_body_util::{BodyExt, Limited};
use serde_json::Value;
use skiff_api::status::Status;
use skiff_api::{walk, yaml};

use crate::app::Call;

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

fn validation(call: &Call) -> Result<FieldValidation, Status> {
    match call.query.get("fieldValidation") {
        "" | "Warn" => Ok(FieldValidation::Warn),
        "Ignore" => Ok(FieldValidation::Ignore),
        "Strict" => Ok(FieldValidation::Strict),
        other => Err(Status::bad_request(format!(
            "fieldValidation: Unsupported value: {other:?}: supported values: \"Ignore\", \"Strict\", \"Warn\""
        ))),
    }
}

/// 415.
fn unsupported(media: &str, known: &str) -> Status {
    let text = "the body of the request was in an unknown format - accepted media types include:";
    Status::new(415, "UnsupportedMediaType", format!("{text} {known} (got {media:?})"))
}

/// Decodes a JSON, YAML or protobuf body of a request that carries an object.
pub async fn parse(request: Request<Body>) -> Result<(Value, Vec<String>), Status> {
    let media = media_type(&request);
    let yaml = match media.as_str() {
        "" | "application/json" => false,
        "application/yaml" => true,
        "application/vnd.kubernetes.protobuf" => {
            let bytes = read_all(request).await?;
            let object = skiff_api::protobuf::decode(&bytes).map_err(Status::bad_request)?;
            return Ok((object, Vec::new()));
        }
        other => {
            let known = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
            return Err(unsupported(other, known));
        }
    };
    let bytes = read_all(request).await?;
    if bytes.is_empty() {
        return Ok((Value::Null, Vec::new()));
    }
    yaml::decode_one(&bytes, yaml).map_err(Status::bad_request)
}

/// Decodes the object of a create or an update of this call's kind.
pub async fn decode(call: &Call, request: Request<Body>) -> Result<Value, Status> {
    let validation = validation(call)?;
    let (mut object, duplicates) = parse(request).await?;
    if !object.is_object() {
        return Err(Status::bad_request("the body of the request must be an object"));
    }
    let expected = call.kind.api_version(&call.version);
    let given = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (kind, version) = (given("kind"), given("apiVersion"));
    if (!kind.is_empty() && kind != call.kind.kind) || (!version.is_empty() && version != expected) {
        return Err(Status::bad_request(format!(
            "{kind} in version {version:?} cannot be handled as a {}: the API version in the data \
             ({version}) or its kind does not match the expected {expected}, Kind={}",
            call.kind.kind, call.kind.kind
        )));
    }
    object["kind"] = call.kind.kind.as_str().into();
    object["apiVersion"] = expected.into();
    check_fields(call, &mut object, &duplicates, validation)?;
    Ok(object)
}

/// Drops what the schema does not know, and says so as `validation` wants.
pub fn check_fields(
    call: &Call,
    object: &mut Value,
    duplicates: &[String],
    validation: FieldValidation,
) -> Result<(), Status> {
    if let Some(status) = walk::decode_error(&call.kind.kind, &call.version, call.schema(), object) {
        return Err(status);
    }
    let mut problems: Vec<String> =
        duplicates.iter().map(|path| format!("duplicate field {path:?}")).collect();
    problems
        .extend(walk::prune(call.schema(), object).into_iter().map(|path| format!("unknown field {path:?}")));
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
    let validation = validation(call)?;
    let media = media_type(&request);
    let sort = match media.as_str() {
        "application/json-patch+json" => PatchSort::Json,
        "application/merge-patch+json" => PatchSort::Merge,
        "application/strategic-merge-patch+json" => PatchSort::Strategic,
        "application/apply-patch+yaml" => return Err(Status::not_implemented("server-side apply")),
        other => {
            let known = "application/json-patch+json, application/merge-patch+json, \
                         application/strategic-merge-patch+json";
            return Err(unsupported(other, known));
        }
    };
    Ok((sort, read_all(request).await?, validation))
}
