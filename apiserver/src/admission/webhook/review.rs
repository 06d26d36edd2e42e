//! What a webhook is sent, and what it may answer. Pure.
//!
//! Matched to `plugin/webhook/request/admissionreview.go` and `plugin/webhook/errors`.

use base64::Engine;
use serde_json::{Map, Value, json};
use skiff_api::status::Status;

/// The versions of reviews that are spoken.
pub const VERSIONS: [&str; 2] = ["v1", "v1beta1"];

/// The body of a review.
pub fn request(
    version: &str,
    uid: &str,
    mut request: Map<String, Value>,
    object: &Value,
    old: &Value,
) -> Vec<u8> {
    request.insert("uid".into(), uid.into());
    request.insert("object".into(), object.clone());
    request.insert("oldObject".into(), old.clone());
    let review = json!({
        "kind": "AdmissionReview", "apiVersion": format!("admission.k8s.io/{version}"), "request": request,
    });
    serde_json::to_vec(&review).expect("a value is valid JSON")
}

/// What a webhook answered.
#[derive(Debug, Default, PartialEq)]
pub struct Answer {
    /// Whether the request may pass.
    pub allowed: bool,
    /// Why not.
    pub result: Value,
    /// What shall be changed, as a JSON patch.
    pub patch: Vec<u8>,
    /// For the client.
    pub warnings: Vec<String>,
    /// For the audit log.
    pub annotations: Vec<(String, String)>,
}

/// Reads an answer, or says what is wrong with it.
pub fn answer(version: &str, uid: &str, mutating: bool, review: &Value) -> Result<Answer, String> {
    let response = &review["response"];
    if !response.is_object() {
        return Err("webhook response was absent".into());
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let patch = match &response["patch"] {
        Value::Null => Vec::new(),
        encoded => base64::engine::general_purpose::STANDARD
            .decode(text(encoded))
            .map_err(|error| format!("response.patch is no base64: {error}"))?,
    };
    if version == "v1" {
        let given = text(&response["uid"]);
        if given != uid {
            return Err(format!("expected response.uid={uid:?}, got {given:?}"));
        }
        let (kind, api_version) = (text(&review["kind"]), text(&review["apiVersion"]));
        if kind != "AdmissionReview" || api_version != "admission.k8s.io/v1" {
            return Err(format!(
                "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {}, Kind={kind}",
                if api_version.is_empty() { "/" } else { &api_version }
            ));
        }
        patch_and_type(mutating, &patch, &response["patchType"])?;
    }
    let list = |value: &Value| value.as_array().map(|list| list.iter().map(text).collect());
    let pairs = response["auditAnnotations"].as_object().into_iter().flatten();
    Ok(Answer {
        allowed: response["allowed"] == true,
        result: response["status"].clone(),
        patch: if mutating { patch } else { Vec::new() },
        warnings: list(&response["warnings"]).unwrap_or_default(),
        annotations: pairs.map(|(key, value)| (key.clone(), text(value))).collect(),
    })
}

/// A patch and its type come together, and from mutating webhooks only.
fn patch_and_type(mutating: bool, patch: &[u8], sort: &Value) -> Result<(), String> {
    let why = match (mutating, !patch.is_empty(), sort.as_str()) {
        (true, true, None) => "webhook returned response.patch but not response.patchType",
        (true, false, Some(_)) => "webhook returned response.patchType but not response.patch",
        (true, _, Some("")) => "webhook returned invalid response.patchType of \"\"",
        (true, _, Some(other)) if other != "JSONPatch" => {
            return Err(format!("unsupported patch type {other:?}"));
        }
        (false, true, _) => "validating webhook may not return response.patch",
        (false, _, Some(_)) => "validating webhook may not return response.patchType",
        _ => return Ok(()),
    };
    Err(why.into())
}

/// The refusal that a client reads: what the webhook said, with its name.
pub fn denied(name: &str, result: &Value) -> Status {
    let mut result = match result {
        Value::Object(given) => given.clone(),
        _ => Map::new(),
    };
    let code =
        result.get("code").and_then(Value::as_u64).filter(|code| (400..1000).contains(code)).unwrap_or(400);
    let text = |key: &str| result.get(key).and_then(Value::as_str).unwrap_or_default();
    let by = format!("admission webhook {name:?} denied the request");
    let message = match (text("message"), text("reason")) {
        ("", "") => format!("{by} without explanation"),
        ("", reason) => format!("{by}: {reason}"),
        (message, _) => format!("{by}: {message}"),
    };
    let failed = !matches!(text("status"), "" | "Success");
    let status = if failed { text("status").to_owned() } else { "Failure".into() };
    for (key, value) in [
        ("kind", json!("Status")),
        ("apiVersion", json!("v1")),
        ("status", status.into()),
        ("message", message.as_str().into()),
        ("code", code.into()),
    ] {
        result.insert(key.into(), value);
    }
    result.entry("metadata").or_insert_with(|| json!({}));
    let code = u16::try_from(code).expect("it is below 1000");
    Status::told(code, message, result.into())
}

/// What an answer that is no success says, as client-go tells it.
pub fn unsuccessful(code: u16, is_text: bool, body: &[u8]) -> String {
    if let Ok(status) = serde_json::from_slice::<Value>(body)
        && status["kind"] == "Status"
        && let Some(message) = status["message"].as_str().filter(|message| !message.is_empty())
    {
        return message.to_owned();
    }
    let shown = if is_text { String::from_utf8_lossy(body).trim().to_owned() } else { "unknown".to_owned() };
    match code {
        400 => "the server rejected our request for an unknown reason".into(),
        401 => "the server has asked for the client to provide credentials".into(),
        403 | 415 => shown,
        404 => "the server could not find the requested resource".into(),
        405 => "the server does not allow this method on the requested resource".into(),
        406 if shown.is_empty() || shown == "unknown" => {
            "the server was unable to respond with a content type that the client supports".into()
        }
        406 => shown,
        409 => "the server reported a conflict".into(),
        422 => "the server rejected our request due to an error in our request".into(),
        429 => "the server has received too many requests and has asked us to try again later".into(),
        503 => "the server is currently unable to handle the request".into(),
        504 => "the server was unable to return a response in the time allotted, but may still be processing the request"
            .into(),
        code if code >= 500 => format!("an error on the server ({shown:?}) has prevented the request from succeeding"),
        code => format!("the server responded with the status code {code} but did not return more information"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn review(response: Value) -> Value {
        json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response})
    }

    fn wrong(mutating: bool, review: &Value) -> String {
        answer("v1", "u", mutating, review).unwrap_err()
    }

    #[test]
    fn answers_that_are_none_are_told_apart() {
        assert_eq!(wrong(true, &json!({})), "webhook response was absent");
        assert_eq!(wrong(true, &review(json!({"uid": "v"}))), "expected response.uid=\"u\", got \"v\"");
        assert_eq!(
            wrong(true, &json!({"response": {"uid": "u"}})),
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /, Kind="
        );
        for (mutating, response, expected) in [
            (
                true,
                json!({"uid": "u", "patch": "W10="}),
                "webhook returned response.patch but not response.patchType",
            ),
            (
                true,
                json!({"uid": "u", "patchType": "JSONPatch"}),
                "webhook returned response.patchType but not response.patch",
            ),
            (true, json!({"uid": "u", "patch": "W10=", "patchType": "X"}), "unsupported patch type \"X\""),
            (false, json!({"uid": "u", "patch": "W10="}), "validating webhook may not return response.patch"),
            (
                false,
                json!({"uid": "u", "patchType": "JSONPatch"}),
                "validating webhook may not return response.patchType",
            ),
        ] {
            assert_eq!(wrong(mutating, &review(response)), expected);
        }
        assert!(
            wrong(true, &review(json!({"uid": "u", "patch": "!"})))
                .starts_with("response.patch is no base64")
        );
    }

    #[test]
    fn the_older_review_is_checked_less() {
        let old = json!({"response": {"allowed": true, "patch": "W10="}});
        let read = answer("v1beta1", "u", true, &old).unwrap();
        assert!(read.allowed);
        assert_eq!(read.patch, b"[]");
    }

    #[test]
    fn a_refusal_names_the_webhook_and_keeps_what_it_said() {
        for (result, code, message) in [
            (Value::Null, 400, "admission webhook \"w\" denied the request without explanation"),
            (json!({"reason": "Odd"}), 400, "admission webhook \"w\" denied the request: Odd"),
            (json!({"code": 418, "message": "no"}), 418, "admission webhook \"w\" denied the request: no"),
            (json!({"code": 200, "message": "no"}), 400, "admission webhook \"w\" denied the request: no"),
        ] {
            let status = denied("w", &result);
            assert_eq!((status.code, status.message.as_str()), (code, message));
        }
        let told =
            denied("w", &json!({"reason": "Odd", "details": {"causes": [{"message": "x"}]}})).to_object();
        assert_eq!((&told["reason"], &told["details"]["causes"][0]["message"]), (&json!("Odd"), &json!("x")));
        assert_eq!(told["status"], "Failure");
    }

    #[test]
    fn codes_are_told_as_client_go_tells_them() {
        assert_eq!(unsuccessful(404, true, b"x"), "the server could not find the requested resource");
        assert_eq!(
            unsuccessful(500, true, b" boom\n"),
            "an error on the server (\"boom\") has prevented the request from succeeding"
        );
        assert_eq!(unsuccessful(500, false, br#"{"kind":"Status","message":"why"}"#), "why");
    }
}
