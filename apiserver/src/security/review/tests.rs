use super::*;
use crate::security::Authority;
use crate::security::authenticate::{Options, tests::ca_and_client};
use crate::security::token::tests::{NOW, Store, grant};

fn authority() -> Authority {
    let mut authority = Authority::new();
    for object in crate::security::bootstrap::objects() {
        authority.update(object["kind"].as_str().unwrap(), None, Some(&object));
    }
    authority
}

async fn whole(kind: &str, namespace: &str, object: Value, user: &User) -> Result<Value, Status> {
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let subjects = Subjects {
        user,
        authorizer: &authority(),
        authenticator: &Authenticator::new(&Options::default(), &ca_and_client("x").0, &key).unwrap(),
        objects: &Store::with_account(),
        now_s: NOW,
    };
    review(kind, namespace, object, &subjects).await.map(|object| object["status"].clone())
}

async fn ask(kind: &str, spec: Value, user: &User) -> Result<Value, Status> {
    let local = kind.starts_with("Local");
    let metadata = if local { json!({"namespace": "a"}) } else { json!({}) };
    let namespace = if local { "a" } else { "" };
    whole(kind, namespace, json!({"metadata": metadata, "spec": spec}), user).await
}

#[tokio::test]
async fn access_is_answered_for_oneself_and_for_others() {
    let scheduler = User::new("system:kube-scheduler", &[]);
    let list = |resource: &str| json!({"verb": "list", "resource": resource, "namespace": "a"});
    let (pods, secrets) = (list("pods"), list("secrets"));
    let other = |attributes: &Value| json!({"user": "system:kube-proxy", "resourceAttributes": attributes});
    let table = [
        ("SelfSubjectAccessReview", json!({"resourceAttributes": pods}), Ok(true)),
        ("SelfSubjectAccessReview", json!({"resourceAttributes": secrets}), Ok(false)),
        ("SubjectAccessReview", other(&pods), Ok(false)),
        ("SubjectAccessReview", other(&list("services")), Ok(true)),
        ("LocalSubjectAccessReview", other(&list("services")), Ok(true)),
        (
            "SubjectAccessReview",
            json!({"groups": ["system:authenticated"], "nonResourceAttributes": {"verb": "get", "path": "/api"}}),
            Ok(true),
        ),
        (
            "SelfSubjectAccessReview",
            json!({}),
            Err("exactly one of nonResourceAttributes or resourceAttributes must be specified"),
        ),
        (
            "SelfSubjectAccessReview",
            json!({"resourceAttributes": pods, "nonResourceAttributes": {}}),
            Err("cannot be specified in combination with resourceAttributes"),
        ),
        (
            "SubjectAccessReview",
            json!({"resourceAttributes": pods}),
            Err("at least one of user or group must be specified"),
        ),
        (
            "LocalSubjectAccessReview",
            other(&json!({"verb": "list", "resource": "pods"})),
            Err("must match metadata.namespace"),
        ),
        (
            "LocalSubjectAccessReview",
            json!({"user": "x", "nonResourceAttributes": {"path": "/", "verb": "get"}}),
            Err("disallowed on this kind of request"),
        ),
        (
            "SelfSubjectAccessReview",
            json!({"resourceAttributes": {"verb": "list", "resource": "pods", "fieldSelector": {}}}),
            Err("requirements or rawSelector is required"),
        ),
    ];
    for (kind, spec, expected) in table {
        match (ask(kind, spec.clone(), &scheduler).await, expected) {
            (Ok(status), Ok(allowed)) => assert_eq!(status["allowed"], allowed, "{kind} {spec}"),
            (Err(status), Err(why)) => {
                assert_eq!(status.code, 422);
                assert!(status.message.contains(why), "{kind} {spec}: {}", status.message);
            }
            (answer, _) => panic!("{kind} {spec}: {answer:?}"),
        }
    }
    let named = json!({"metadata": {"name": "x"}, "spec": {"resourceAttributes": pods}});
    let refused = whole("SelfSubjectAccessReview", "", named, &scheduler).await.unwrap_err();
    assert!(refused.message.ends_with("must be empty"), "{}", refused.message);
}

#[tokio::test]
async fn selectors_narrow_what_a_node_may_list() {
    let node = User::new("system:node:n", &["system:nodes"]);
    let with = |selector: Value| json!({"resourceAttributes": {"verb": "list", "version": "v1", "resource": "pods", "fieldSelector": selector}});
    let one = |key: &str, operator: &str, values: &[&str]| json!({"key": key, "operator": operator, "values": values});
    let table = [
        (with(json!({"rawSelector": "spec.nodeName=n"})), true, ""),
        (with(json!({"rawSelector": "spec.nodeName=other"})), false, ""),
        (
            with(json!({"rawSelector": "spec.nodeName"})),
            false,
            "spec.resourceAttributes.fieldSelector ignored due to parse error",
        ),
        (with(json!({"requirements": [one("spec.nodeName", "In", &["n"])]})), true, ""),
        (with(json!({"requirements": [one("spec.nodeName", "NotIn", &["n"])]})), false, ""),
        (
            with(json!({"requirements": [one("spec.nodeName", "In", &["n"]), one("a", "Odd", &["b"])]})),
            true,
            "spec.resourceAttributes.fieldSelector partially ignored due to parse error",
        ),
        (
            with(json!({"requirements": [one("spec.nodeName", "In", &["n", "m"])]})),
            false,
            "spec.resourceAttributes.fieldSelector ignored due to parse error",
        ),
    ];
    for (spec, allowed, why) in table {
        let status = ask("SelfSubjectAccessReview", spec.clone(), &node).await.unwrap();
        assert_eq!(status["allowed"], allowed, "{spec}");
        assert_eq!(status["evaluationError"].as_str().unwrap_or_default(), why, "{spec}");
    }
}

#[tokio::test]
async fn rules_are_listed() {
    let scheduler = User::new("system:kube-scheduler", &[]);
    let status = ask("SelfSubjectRulesReview", json!({"namespace": "a"}), &scheduler).await.unwrap();
    assert!(status["resourceRules"].as_array().unwrap().len() > 10);
    assert_eq!(status["incomplete"], false);
    assert_eq!(ask("SelfSubjectRulesReview", json!({}), &scheduler).await.unwrap_err().code, 400);
}

#[tokio::test]
async fn tokens_and_oneself_are_reviewed() {
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let authenticator = Authenticator::new(&Options::default(), &ca_and_client("x").0, &key).unwrap();
    let good = authenticator.accounts.sign(&grant()).unwrap();
    let (authority, user) = (Authority::new(), User::new("me", &["g"]));
    let subjects = Subjects {
        user: &user,
        authorizer: &authority,
        authenticator: &authenticator,
        objects: &Store::with_account(),
        now_s: NOW,
    };
    let ask = async |spec: Value| review("TokenReview", "", json!({"spec": spec}), &subjects).await;
    let status = ask(json!({"token": good})).await.unwrap()["status"].clone();
    assert_eq!(status["user"]["username"], "system:serviceaccount:ns:sa");
    assert_eq!(status["authenticated"], true);
    let status = ask(json!({"token": good, "audiences": ["vault"]})).await.unwrap()["status"].clone();
    assert!(status["error"].as_str().unwrap().ends_with("is invalid for the target audiences [\"vault\"]"));
    assert_eq!(ask(json!({"token": "nonsense"})).await.unwrap()["status"]["error"], "invalid bearer token");
    assert_eq!(ask(json!({})).await.unwrap_err().code, 400);
    let own = review("SelfSubjectReview", "", json!({}), &subjects).await.unwrap();
    assert_eq!(own["status"]["userInfo"], json!({"username": "me", "groups": ["g"]}));
}
