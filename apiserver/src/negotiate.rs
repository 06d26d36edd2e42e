//! What a client can read, and the forms an answer takes.

use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::Value;
use skiff_api::protobuf;
use skiff_api::status::Status;
use skiff_api::yaml;

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

/// The bytes of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// JSON.
    #[default]
    Json,
    /// YAML.
    Yaml,
    /// Protobuf and nothing else: a kind without that form cannot be served.
    Protobuf,
    /// Protobuf, or JSON for a kind without that form.
    ProtobufOrJson,
}

/// The media type of protobuf.
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// What the `Accept` header asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accept {
    /// The form.
    pub form: Form,
    /// Whether the metadata of a list is wanted, not of one object.
    pub list: bool,
    /// Whether a table or metadata are wanted as `v1beta1`.
    pub beta: bool,
    /// The encoding.
    pub encoding: Encoding,
    /// The header asks for aggregated discovery in this version (`v2`).
    pub aggregated: Option<String>,
    /// Nothing in the header can be served.
    pub refused: bool,
}

impl Accept {
    /// Takes the best alternative that can be served, as upstream: clients list several.
    pub fn parse(value: Option<&HeaderValue>) -> Self {
        let text = value.and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty());
        let mut clauses: Vec<Clause<'_>> = text.unwrap_or("*/*").split(',').map(Clause::read).collect();
        clauses.sort_by(|a, b| b.rank().total_cmp(&a.rank()));
        let mut served = clauses.iter().filter_map(Clause::accept);
        let Some(mut best) = served.next() else { return Self { refused: true, ..Self::default() } };
        if best.encoding == Encoding::Protobuf && served.any(|other| other.encoding == Encoding::Json) {
            best.encoding = Encoding::ProtobufOrJson;
        }
        best
    }

    /// Whether the answer is JSON, whatever the kind.
    pub fn is_json(&self) -> bool {
        self.encoding == Encoding::Json
    }

    /// Whether objects of that kind are answered in protobuf; an error if they would have to be and
    /// cannot.
    pub fn in_protobuf(&self, api_version: &str, kind: &str) -> Result<bool, Status> {
        let known = match self.form {
            Form::Object => protobuf::has_form(api_version, kind),
            Form::Metadata => true,
            Form::Table => false,
        };
        match self.encoding {
            Encoding::Protobuf if !known => Err(no_protobuf(self.form)),
            Encoding::Protobuf | Encoding::ProtobufOrJson => Ok(known),
            Encoding::Json | Encoding::Yaml => Ok(false),
        }
    }

    /// The version of tables and metadata.
    pub fn meta_version(&self) -> &'static str {
        if self.beta { "meta.k8s.io/v1beta1" } else { "meta.k8s.io/v1" }
    }

    /// The metadata of an object alone.
    pub fn partial(&self, object: &Value) -> Value {
        serde_json::json!({
            "kind": "PartialObjectMetadata", "apiVersion": self.meta_version(), "metadata": object["metadata"],
        })
    }
}

/// One alternative of an `Accept` header.
struct Clause<'a> {
    media: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> Clause<'a> {
    fn read(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let parameters = parts.filter_map(|part| part.split_once('=')).collect();
        Self { media, parameters }
    }

    fn find(&self, key: &str) -> Option<&'a str> {
        self.parameters.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
    }

    /// Weight first, then how much is said.
    fn rank(&self) -> f64 {
        let weight: f64 = self.find("q").and_then(|q| q.parse().ok()).unwrap_or(1.0);
        let stars = self.media.matches('*').count();
        weight * 10.0 - f64::from(u32::try_from(stars).unwrap_or(2))
    }

    fn accept(&self) -> Option<Accept> {
        let encoding = match self.media {
            "application/json" | "*/*" | "application/*" => Encoding::Json,
            "application/yaml" => Encoding::Yaml,
            PROTOBUF => Encoding::Protobuf,
            _ => return None,
        };
        let beta = match (self.find("g"), self.find("v")) {
            (_, None | Some("v1")) => false,
            (_, Some("v1beta1")) => true,
            (Some("apidiscovery.k8s.io"), Some("v2" | "v2beta1")) => false,
            _ => return None,
        };
        let (form, list) = match self.find("as") {
            None => (Form::Object, false),
            Some("Table") => (Form::Table, false),
            Some("PartialObjectMetadata") => (Form::Metadata, false),
            Some("PartialObjectMetadataList") => (Form::Metadata, true),
            Some("APIGroupDiscoveryList") => {
                let aggregated = self.find("v").map(str::to_owned);
                return Some(Accept { aggregated, ..Accept::default() });
            }
            Some(_) => return None,
        };
        Some(Accept { form, list, beta, encoding, ..Accept::default() })
    }
}

/// 406 for a form that an answer cannot take.
pub fn wrong_form(form: &str, what: &str) -> Status {
    Status::new(406, "NotAcceptable", format!("you requested {form}, but the requested object is {what}"))
}

/// The package of a group in upstream's words.
pub fn package(group: &str) -> &str {
    if group.is_empty() { "core" } else { group.split('.').next().unwrap_or(group) }
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

/// An answer with a body that is there already, of that media type.
pub fn encoded(code: u16, body: impl Into<Body>, media: &'static str) -> Response<Body> {
    let mut response = json(code, body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

/// 406 for what has no protobuf form, in upstream's words for tables.
fn no_protobuf(form: Form) -> Status {
    let what = if form == Form::Table { "*v1.Table" } else { "*unstructured.Unstructured" };
    let text = format!(
        "object {what} does not implement the protobuf marshalling interface and cannot be encoded to a \
         protobuf message"
    );
    Status::new(406, "NotAcceptable", text)
}

/// An answer with a value, in the encoding that the client asked for.
pub fn value(code: u16, value: &Value, accept: &Accept) -> Response<Body> {
    match accept.encoding {
        Encoding::Yaml => {
            return encoded(code, yaml::to_string(value), "application/yaml");
        }
        Encoding::Protobuf | Encoding::ProtobufOrJson => match protobuf::encode(value) {
            Ok(bytes) => return encoded(code, bytes, PROTOBUF),
            Err(_) if accept.encoding == Encoding::Protobuf => {
                let status = no_protobuf(accept.form);
                let bytes = protobuf::encode(&status.to_object()).expect("a Status has a protobuf form");
                return encoded(status.code, bytes, PROTOBUF);
            }
            Err(_) => {}
        },
        Encoding::Json => {}
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_form_that_can_be_served_is_taken() {
        let of = |text: &'static str| Accept::parse(Some(&HeaderValue::from_static(text)));
        assert_eq!(of("application/json;as=Table;v=v1;g=meta.k8s.io,application/json").form, Form::Table);
        let both = of("application/vnd.kubernetes.protobuf, application/json");
        assert_eq!((both.form, both.encoding), (Form::Object, Encoding::ProtobufOrJson));
        assert_eq!(both.in_protobuf("apps/v1", "Deployment"), Ok(true));
        assert_eq!(both.in_protobuf("shop.example/v1", "Widget"), Ok(false));
        let only = of("application/vnd.kubernetes.protobuf;stream=watch");
        assert!(only.in_protobuf("shop.example/v1", "Widget").is_err());
        assert_eq!(of("application/yaml").encoding, Encoding::Yaml);
        assert!(of("image/png").refused);
        assert_eq!(of("application/json;q=0.5, application/yaml").encoding, Encoding::Yaml);
        assert_eq!(of("*/*, application/yaml").encoding, Encoding::Yaml);
        let beta =
            of("application/json;as=PartialObjectMetadataList;v=v1beta1;g=meta.k8s.io,application/json");
        assert!(beta.beta && beta.list);
        assert_eq!(of("application/json;as=Table;v=v7;g=meta.k8s.io,application/json").form, Form::Object);
        let discovery = of("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
        assert_eq!(discovery.aggregated.as_deref(), Some("v2"));
    }
}
