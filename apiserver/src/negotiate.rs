//! What a client can read, and the forms an answer takes.

use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::Value;
use skiff_api::status::Status;

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// The object itself.
    #[default]
    Object,
    /// A `Table` for people.
    Table,
    /// `PartialObjectMetadata`, or a list of them.
    Metadata,
}

/// What the `Accept` header asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accept {
    /// The form.
    pub form: Form,
    /// Whether YAML is wanted, not JSON.
    pub yaml: bool,
    /// The header asks for aggregated discovery in this version (`v2`).
    pub aggregated: Option<String>,
    /// Nothing in the header can be served.
    pub refused: bool,
}

impl Accept {
    /// Takes the first alternative that can be served, as upstream: clients list several.
    pub fn parse(value: Option<&HeaderValue>) -> Self {
        let text = value.and_then(|value| value.to_str().ok()).unwrap_or("*/*");
        for alternative in text.split(',') {
            let mut parts = alternative.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
            let find = |key: &str| parameters.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
            let yaml = match media {
                "application/json" | "*/*" | "application/*" | "" | "text/plain" => false,
                "application/yaml" => true,
                _ => continue,
            };
            let form = match find("as") {
                None => Form::Object,
                Some("Table") => Form::Table,
                Some("PartialObjectMetadata" | "PartialObjectMetadataList") => Form::Metadata,
                Some("APIGroupDiscoveryList") => {
                    let aggregated = find("v").map(str::to_owned);
                    return Self { aggregated, ..Self::default() };
                }
                Some(_) => continue,
            };
            return Self { form, yaml, ..Self::default() };
        }
        Self { refused: true, ..Self::default() }
    }
}

/// An answer with a JSON body that is there already.
pub fn json(code: u16, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// An answer with a value, in the encoding that the client asked for.
pub fn value(code: u16, value: &Value, accept: &Accept) -> Response<Body> {
    if accept.yaml
        && let Ok(text) = serde_saphyr::to_string(value)
    {
        let mut response = json(code, text);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/yaml"));
        return response;
    }
    // Not `to_string`, which goes through the slower machinery of `Display`.
    json(code, serde_json::to_vec(value).expect("a value is valid JSON"))
}

/// The answer that carries a refusal.
pub fn refusal(status: &Status, accept: &Accept) -> Response<Body> {
    let mut response = value(status.code, &status.to_object(), accept);
    let wait = status.details.as_ref().map_or(0, |details| details.retry_after_s);
    if wait > 0 {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait));
    }
    response
}

/// The metadata of an object alone.
pub fn partial(object: &Value) -> Value {
    serde_json::json!({
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_form_that_can_be_served_is_taken() {
        let of = |text: &'static str| Accept::parse(Some(&HeaderValue::from_static(text)));
        assert_eq!(of("application/json;as=Table;v=v1;g=meta.k8s.io,application/json").form, Form::Table);
        assert_eq!(of("application/vnd.kubernetes.protobuf, application/json").form, Form::Object);
        assert!(of("application/yaml").yaml);
        assert!(of("image/png").refused);
        let discovery = of("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
        assert_eq!(discovery.aggregated.as_deref(), Some("v2"));
    }
}
