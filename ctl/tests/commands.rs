//! Commands against a server in memory: what they ask, in which order, and how they end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use clap::Parser;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use skiff_ctl::cli::Cli;
use skiff_ctl::error::Error;
use skiff_ctl::session::Session;

/// Requests that change something, as (method, path with query, content type, body), and the objects by path.
#[derive(Default)]
struct World {
    changes: Vec<(Method, String, String, Value)>,
    objects: BTreeMap<String, Value>,
    conflicts: usize,
}

type Shared = Arc<Mutex<World>>;

fn answer(
    world: &Shared,
    method: &Method,
    path: &str,
    target: &str,
    content: &str,
    body: Value,
) -> (u16, String) {
    let mut world = world.lock().expect("no test panics while it holds the lock");
    let failure = |code: u16, reason: &str, message: &str| {
        (code, json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}).to_string())
    };
    match path {
        "/api" => return (200, discovery("", &[("pods", "Pod"), ("configmaps", "ConfigMap")])),
        "/apis" => return (200, discovery("apps", &[("deployments", "Deployment")])),
        "/openapi/v3" => {
            return (
                200,
                json!({"paths": {"apis/apps/v1": {"serverRelativeURL": "/openapi/v3/apis/apps/v1"}}})
                    .to_string(),
            );
        }
        "/openapi/v3/apis/apps/v1" => return (200, openapi()),
        _ => {}
    }
    if *method != Method::GET {
        world.changes.push((method.clone(), target.to_owned(), content.to_owned(), body.clone()));
    }
    match *method {
        Method::POST => {
            let name = body["metadata"]["name"].as_str().unwrap_or_default();
            if name == "bad" {
                return failure(400, "BadRequest", "strict decoding error: unknown field \"dta\"");
            }
            let mut object = body.clone();
            object["metadata"]["uid"] = json!("u");
            world.objects.insert(format!("{path}/{name}"), object);
            (201, body.to_string())
        }
        Method::PATCH if world.conflicts > 0 => {
            world.conflicts -= 1;
            failure(409, "Conflict", "the object has been modified")
        }
        Method::PATCH => (200, json!({"metadata": {"name": "x", "resourceVersion": "2"}}).to_string()),
        Method::DELETE => {
            world.objects.remove(path);
            (200, json!({"kind": "Status", "status": "Success"}).to_string())
        }
        _ => match world.objects.get(path) {
            Some(object) => (200, object.to_string()),
            None if path.ends_with("s") && !target.contains("watch=") => {
                let prefix = format!("{path}/");
                let items: Vec<&Value> = world
                    .objects
                    .iter()
                    .filter(|(key, _)| key.starts_with(&prefix))
                    .map(|(_, value)| value)
                    .collect();
                (
                    200,
                    json!({"kind": "List", "metadata": {"resourceVersion": "1"}, "items": items}).to_string(),
                )
            }
            None => failure(404, "NotFound", "not found"),
        },
    }
}

fn discovery(group: &str, kinds: &[(&str, &str)]) -> String {
    let resources: Vec<Value> = kinds
        .iter()
        .map(|(plural, kind)| {
            json!({"resource": plural, "responseKind": {"kind": kind}, "scope": "Namespaced", "singularResource": kind.to_lowercase(),
                "verbs": ["get", "list"], "subresources": [{"subresource": "scale"}]})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "items": [{"metadata": {"name": group}, "versions": [{"version": "v1", "resources": resources}]}]})
        .to_string()
}

fn openapi() -> String {
    json!({"components": {"schemas": {
        "D": {"x-kubernetes-group-version-kind": [{"group": "apps", "version": "v1", "kind": "Deployment"}],
            "properties": {"spec": {"$ref": "#/components/schemas/S"}}},
        "S": {"properties": {"containers": {"type": "array", "items": {"type": "object"},
            "x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": "name"}}}}}})
    .to_string()
}

fn client(world: &Shared) -> kube::Client {
    let world = Arc::clone(world);
    let service = tower::service_fn(move |request: Request<kube::client::Body>| {
        let world = Arc::clone(&world);
        async move {
            let (parts, body) = request.into_parts();
            let bytes = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
            let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            let content =
                parts.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
            let (code, text) =
                answer(&world, &parts.method, parts.uri.path(), &parts.uri.to_string(), content, body);
            Response::builder()
                .status(code)
                .body(Full::new(bytes::Bytes::from(text)))
                .map_err(|error| error.to_string())
        }
    });
    kube::Client::new(service, "default")
}

async fn ctl(world: &Shared, line: &[&str]) -> Result<(), Error> {
    let cli = Cli::try_parse_from(std::iter::once("ctl").chain(line.iter().copied()))
        .expect("a valid command line");
    let session = Session::with_client(cli.globals, client(world));
    cli.command.run(&session).await
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().expect("a file");
    std::fs::write(file.path(), text).expect("written");
    file
}

fn path(file: &tempfile::NamedTempFile) -> &str {
    file.path().to_str().expect("UTF-8")
}

#[tokio::test]
async fn of_ten_objects_one_bad_nine_are_applied() {
    let names: Vec<String> = (0..9).map(|number| format!("c{number}")).chain(["bad".to_owned()]).collect();
    let text: Vec<String> = names
        .iter()
        .map(|name| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n"))
        .collect();
    let world = Shared::default();
    let result = ctl(&world, &["apply", "-f", path(&file(&text.join("---\n")))]).await;
    assert_eq!(result.map_err(|error| error.exit_code()), Err(1));
    let world = world.lock().expect("free");
    assert_eq!(world.objects.len(), 9);
    let (method, target, _, body) = &world.changes[0];
    assert_eq!(
        (method, target.as_str()),
        (
            &Method::POST,
            "/api/v1/namespaces/default/configmaps?fieldManager=kubectl-client-side-apply&fieldValidation=Strict"
        )
    );
    let applied =
        body["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"].as_str();
    assert!(applied.is_some_and(|text| text.contains("\"name\":\"c0\"") && text.ends_with('\n')));
}

#[tokio::test]
async fn a_document_that_does_not_parse_leaves_the_others() {
    let world = Shared::default();
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\nkind: [\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n";
    let result = ctl(&world, &["apply", "-f", path(&file(text))]).await;
    assert_eq!(result.map_err(|error| error.exit_code()), Err(1));
    assert_eq!(world.lock().expect("free").objects.len(), 2);
}

#[tokio::test]
async fn an_unchanged_object_is_not_written_and_a_changed_one_is_patched() {
    let world = Shared::default();
    let text = |image: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: d}}\nspec: {{containers: [{{name: c, image: {image}}}]}}\n"
        )
    };
    let first = file(&text("one"));
    for _ in 0..2 {
        ctl(&world, &["apply", "-f", path(&first)]).await.expect("applied");
    }
    assert_eq!(world.lock().expect("free").changes.len(), 1);
    // The first try meets a conflict; it is merged again with what is there now.
    world.lock().expect("free").conflicts = 1;
    ctl(&world, &["apply", "-f", path(&file(&text("two")))]).await.expect("applied");
    let world = world.lock().expect("free");
    let (method, _, content, body) = &world.changes[2];
    assert_eq!((method, content.as_str()), (&Method::PATCH, "application/strategic-merge-patch+json"));
    assert_eq!(body["spec"]["containers"], json!([{"name": "c", "image": "two"}]));
    assert_eq!(world.changes.len(), 3);
}

#[tokio::test]
async fn a_dry_run_on_the_client_changes_nothing() {
    let world = Shared::default();
    let manifest = file("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n");
    ctl(&world, &["apply", "--dry-run=client", "-f", path(&manifest)]).await.expect("shown");
    ctl(&world, &["run", "x", "--image=nginx", "--dry-run=client"]).await.expect("shown");
    assert!(world.lock().expect("free").changes.is_empty());
    ctl(&world, &["apply", "--dry-run=server", "-f", path(&manifest)]).await.expect("checked");
    assert!(world.lock().expect("free").changes[0].1.ends_with("&dryRun=All"));
}

#[tokio::test]
async fn deleting_sends_options_and_waits_until_it_is_gone() {
    let world = Shared::default();
    ctl(&world, &["run", "x", "--image=nginx"]).await.expect("created");
    ctl(&world, &["delete", "pod", "x", "--grace-period=5"]).await.expect("deleted");
    {
        let world = world.lock().expect("free");
        let (method, target, _, body) = &world.changes[1];
        assert_eq!((method, target.as_str()), (&Method::DELETE, "/api/v1/namespaces/default/pods/x"));
        assert_eq!(
            (&body["propagationPolicy"], &body["gracePeriodSeconds"]),
            (&json!("Background"), &json!(5))
        );
    }
    let again = ctl(&world, &["delete", "pod", "x"]).await;
    assert_eq!(again.map_err(|error| error.exit_code()), Err(1));
    ctl(&world, &["delete", "pod", "x", "--ignore-not-found"]).await.expect("nothing to do");
}

#[tokio::test]
async fn scaling_and_images_change_only_what_they_say() {
    let world = Shared::default();
    ctl(&world, &["create", "deployment", "web", "--image=nginx:1"]).await.expect("created");
    ctl(&world, &["scale", "deployment/web", "--replicas=5"]).await.expect("scaled");
    ctl(&world, &["set", "image", "deployment/web", "nginx=nginx:2"]).await.expect("set");
    ctl(&world, &["label", "deployments", "web", "a=b", "x-"]).await.expect("labeled");
    let world = world.lock().expect("free");
    let bodies: Vec<&Value> = world.changes.iter().skip(1).map(|change| &change.3).collect();
    assert!(world.changes[1].1.starts_with("/apis/apps/v1/namespaces/default/deployments/web/scale?"));
    assert_eq!(bodies[0], &json!({"spec": {"replicas": 5}}));
    assert_eq!(
        bodies[1],
        &json!({"spec": {"template": {"spec": {"containers": [{"name": "nginx", "image": "nginx:2"}]}}}})
    );
    assert_eq!(bodies[2], &json!({"metadata": {"labels": {"a": "b"}}}));
}
