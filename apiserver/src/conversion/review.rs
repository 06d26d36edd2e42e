//! What a converter is sent, and what it may answer. Pure.

use serde_json::{Map, Value, json};

/// The first version of reviews that both sides know.
pub fn version(known: &[String]) -> Option<&str> {
    known.iter().map(String::as_str).find(|version| matches!(*version, "v1" | "v1beta1"))
}

/// The body of a review.
pub fn request(version: &str, uid: &str, wanted: &str, objects: &[Value]) -> Vec<u8> {
    let review = json!({
        "kind": "ConversionReview", "apiVersion": format!("apiextensions.k8s.io/{version}"),
        "request": {"uid": uid, "desiredAPIVersion": wanted, "objects": objects},
    });
    serde_json::to_vec(&review).expect("a value is valid JSON")
}

/// Reads an answer, or says what is wrong with it.
pub fn answer(version: &str, uid: &str, review: &Value) -> Result<Vec<Value>, String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let response = &review["response"];
    if version == "v1" {
        let (kind, api_version) = (text(&review["kind"]), text(&review["apiVersion"]));
        if kind != "ConversionReview" || api_version != "apiextensions.k8s.io/v1" {
            let api_version = if api_version.is_empty() { "/" } else { &api_version };
            return Err(format!(
                "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got {api_version}, Kind={kind}"
            ));
        }
    }
    if !response.is_object() {
        return Err("no response provided".into());
    }
    let given = text(&response["uid"]);
    if version == "v1" && given != uid {
        return Err(format!("expected response.uid={uid:?}, got {given:?}"));
    }
    let result = &response["result"];
    let (status, message) = (text(&result["status"]), text(&result["message"]));
    match status.as_str() {
        "Success" => Ok(response["convertedObjects"].as_array().cloned().unwrap_or_default()),
        _ if !message.is_empty() => Err(message),
        _ => Err(format!("response.result.status was '{status}', not 'Success'")),
    }
}

/// A converted object with the metadata of what it was made from; labels and annotations are the converter's.
pub fn settled(before: &Value, mut after: Value, wanted: &str) -> Result<Value, String> {
    let text = |object: &Value, key: &str| object[key].as_str().unwrap_or_default().to_owned();
    let got = text(&after, "apiVersion");
    if got != wanted {
        return Err(format!("invalid groupVersion (expected {wanted}, received {got})"));
    }
    let (kind, got) = (text(before, "kind"), text(&after, "kind"));
    if kind != got {
        return Err(format!("invalid kind (expected {kind}, received {got})"));
    }
    let (old, new) = (&before["metadata"], &after["metadata"]);
    if !new.is_object() {
        return Err("missing metadata in converted object".into());
    }
    for (key, shown) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
        let (was, is) = (text(old, key), text(new, key));
        if was != is {
            return Err(format!("must have the same {shown}: {was} != {is}"));
        }
    }
    let mut metadata = old.as_object().cloned().unwrap_or_else(Map::new);
    for key in ["labels", "annotations"] {
        match &new[key] {
            Value::Null => {
                metadata.remove(key);
            }
            Value::Object(given) => {
                if let Some((name, _)) = given.iter().find(|(_, value)| !value.is_string()) {
                    return Err(format!("metadata.{key}[{name}] must be a string in converted object"));
                }
                metadata.insert(key.into(), Value::Object(given.clone()));
            }
            _ => return Err(format!("invalid metadata.{key} in converted object")),
        }
    }
    after["metadata"] = metadata.into();
    Ok(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tower(version: &str) -> Value {
        json!({"apiVersion": format!("g/{version}"), "kind": "Tower", "metadata": {"name": "a", "uid": "u", "labels": {"a": "b"}}})
    }

    #[test]
    fn metadata_stay_but_labels_and_annotations() {
        let mut after = tower("v2");
        after["metadata"]["labels"] = json!({"c": "d"});
        after["metadata"]["generation"] = 7.into();
        let settled = settled(&tower("v1"), after, "g/v2").unwrap();
        assert_eq!(settled["metadata"], json!({"name": "a", "uid": "u", "labels": {"c": "d"}}));
    }

    #[test]
    fn another_object_is_refused() {
        let wrong = |change: &dyn Fn(&mut Value)| {
            let mut after = tower("v2");
            change(&mut after);
            settled(&tower("v1"), after, "g/v2").unwrap_err()
        };
        assert_eq!(
            wrong(&|o| o["apiVersion"] = "g/v1".into()),
            "invalid groupVersion (expected g/v2, received g/v1)"
        );
        assert_eq!(wrong(&|o| o["kind"] = "Spire".into()), "invalid kind (expected Tower, received Spire)");
        assert_eq!(wrong(&|o| o["metadata"]["name"] = "b".into()), "must have the same name: a != b");
        assert_eq!(wrong(&|o| o["metadata"]["uid"] = "v".into()), "must have the same UID: u != v");
        assert_eq!(wrong(&|o| o["metadata"] = Value::Null), "missing metadata in converted object");
    }

    #[test]
    fn answers_that_are_none_are_told_apart() {
        let review = |response: Value| json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1", "response": response});
        for (given, expected) in [
            (
                json!({}),
                "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got /, Kind=",
            ),
            (review(Value::Null), "no response provided"),
            (review(json!({"uid": "v"})), "expected response.uid=\"u\", got \"v\""),
            (review(json!({"uid": "u", "result": {"status": "Failure", "message": "no"}})), "no"),
            (review(json!({"uid": "u"})), "response.result.status was '', not 'Success'"),
        ] {
            assert_eq!(answer("v1", "u", &given).unwrap_err(), expected);
        }
        let old = json!({"response": {"result": {"status": "Success"}, "convertedObjects": [1]}});
        assert_eq!(answer("v1beta1", "u", &old).unwrap(), [json!(1)]);
    }
}
