//! Admission of streams: what opens one is reviewed as an object of its own kind, made from the query.

use serde_json::{Map, Value, json};
use skiff_api::status::Status;

use crate::admission::{Operation, Review};
use crate::app::Call;

/// How a value of the query stands in the object.
enum Sort {
    Flag,
    Text,
    Texts,
    Number,
}

/// The members of the kinds of options.
const MEMBERS: &[(&str, &[(&str, Sort)])] = &[
    (
        "PodExecOptions",
        &[
            ("stdin", Sort::Flag),
            ("stdout", Sort::Flag),
            ("stderr", Sort::Flag),
            ("tty", Sort::Flag),
            ("container", Sort::Text),
            ("command", Sort::Texts),
        ],
    ),
    (
        "PodAttachOptions",
        &[
            ("stdin", Sort::Flag),
            ("stdout", Sort::Flag),
            ("stderr", Sort::Flag),
            ("tty", Sort::Flag),
            ("container", Sort::Text),
        ],
    ),
    ("PodPortForwardOptions", &[("ports", Sort::Number)]),
];

/// Lets admission judge the opening of a stream.
pub async fn admit(call: &Call) -> Result<(), Status> {
    let review = Review::new(call, Operation::Connect, None, &Value::Null);
    let mut options = options(call, review.gvk().2);
    call.app.admission.admit(&review, &mut options).await
}

fn options(call: &Call, kind: &str) -> Value {
    let query = &call.query;
    let mut object = Map::new();
    object.insert("kind".into(), kind.into());
    object.insert("apiVersion".into(), "v1".into());
    let known = MEMBERS.iter().find(|(known, _)| *known == kind).map_or(&[][..], |(_, members)| members);
    for (key, sort) in known {
        let all = query.all(key);
        let value = match sort {
            Sort::Flag if query.flag(key) => json!(true),
            Sort::Text if !query.get(key).is_empty() => query.get(key).into(),
            Sort::Texts => json!(all),
            Sort::Number if !all.is_empty() => {
                all.iter().filter_map(|text| text.parse::<u16>().ok()).collect()
            }
            _ => continue,
        };
        object.insert((*key).into(), value);
    }
    if call.info.subresource == "proxy" && !call.info.rest.is_empty() {
        object.insert("path".into(), call.info.rest.as_str().into());
    }
    object.into()
}
