//! Values are kept sealed, are shown as ever, and are sealed anew when the keys change.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use skiff_apiserver::encryption::{Configuration, Encrypted};
use skiff_storage::embedded::{Embedded, Options};
use skiff_storage::{Expect, Op, Storage};
use tokio_util::sync::CancellationToken;

use crate::server::{CONFIG_MAPS, Client, Server, config_map, names, version};

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const TEXT: &str = "correct horse battery staple";
/// The same in base64, as the API has it.
const DATA: &str = "Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZQ==";
const KEYS: [&str; 2] =
    ["AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=", "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="];

/// `resources` are sealed by the first of these, and read by all.
fn sealing(resources: &str, providers: &[String]) -> Configuration {
    let providers: String = providers.iter().map(|provider| format!("  - {provider}\n")).collect();
    let text = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: {resources}\n  \
         providers:\n{providers}"
    );
    Configuration::parse(&text).unwrap()
}

fn provider(sort: &str, key: usize) -> String {
    format!("{sort}: {{keys: [{{name: key{key}, secret: {}}}]}}", KEYS[key])
}

fn plain() -> String {
    "identity: {}".to_owned()
}

/// A server on a sealed store, with that store and the one below.
struct Bed {
    server: Server,
    sealed: Encrypted,
    below: Arc<Embedded>,
    dir: tempfile::TempDir,
}

impl Bed {
    async fn start(configuration: Configuration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let below = Arc::new(Embedded::open(dir.path(), Options::default()).unwrap());
        let sealed = Encrypted::new(below.clone(), configuration, CancellationToken::new());
        let server = Server::on(Arc::new(sealed.clone()), "", |_| {}).await;
        Self { server, sealed, below, dir }
    }

    /// What is stored at a key, as it is.
    async fn raw(&self, key: &str) -> String {
        let entry = self.below.get(key).await.unwrap().0.expect("it is there");
        String::from_utf8_lossy(&entry.value).into_owned()
    }
}

fn secret(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"password": DATA}})
}

/// Whether any file below a folder holds a text.
fn is_on_disk(dir: &Path, text: &str) -> bool {
    let files = std::fs::read_dir(dir).unwrap();
    files.into_iter().any(|file| {
        let bytes = std::fs::read(file.unwrap().path()).unwrap_or_default();
        bytes.windows(text.len()).any(|part| part == text.as_bytes())
    })
}

async fn make(admin: &Client) {
    admin.post(SECRETS, &secret("a")).await.expect(201);
    let mut map = config_map("a");
    map["data"] = json!({"text": TEXT});
    admin.post(CONFIG_MAPS, &map).await.expect(201);
}

#[tokio::test]
async fn a_secret_is_shown_and_is_nowhere_on_disk() {
    for sort in ["aesgcm", "aescbc", "secretbox"] {
        let bed = Bed::start(sealing("[secrets]", &[provider(sort, 0), plain()])).await;
        let admin = bed.server.admin();
        let mut watch = admin.watch(&format!("{SECRETS}?watch=true")).await;
        make(&admin).await;
        assert_eq!(admin.get(&format!("{SECRETS}/a")).await.expect(200)["data"]["password"], DATA);
        let list = admin.get(SECRETS).await.expect(200);
        assert_eq!((names(&list), &list["items"][0]["data"]["password"]), (vec!["a"], &json!(DATA)));
        let event = watch.next().await.unwrap();
        assert_eq!((&event["type"], &event["object"]["data"]["password"]), (&json!("ADDED"), &json!(DATA)));
        let patch = json!({"metadata": {"labels": {"x": "y"}}});
        admin.patch(&format!("{SECRETS}/a"), "merge-patch", &patch).await.expect(200);
        let event = watch.next().await.unwrap();
        assert_eq!(
            (&event["type"], &event["object"]["data"]["password"]),
            (&json!("MODIFIED"), &json!(DATA))
        );
        admin.post(SECRETS, &secret("a")).await.expect(409);

        assert!(
            bed.raw("/registry/secrets/default/a").await.starts_with(&format!("k8s:enc:{sort}:v1:key0:"))
        );
        assert!(!is_on_disk(bed.dir.path(), DATA), "{sort}");
        assert!(is_on_disk(bed.dir.path(), TEXT), "what no rule names is kept as it is");

        // Another server on the same store, with the same keys, starts from what is there.
        let again = Encrypted::new(
            bed.below.clone(),
            sealing("[secrets]", &[provider(sort, 0)]),
            CancellationToken::new(),
        );
        let other = Server::on(Arc::new(again), "", |_| {}).await;
        let shown = other.admin().get(&format!("{SECRETS}/a")).await.expect(200);
        assert_eq!(shown["data"]["password"], DATA);
        admin.delete(&format!("{SECRETS}/a")).await.expect(200);
        assert_eq!(watch.next().await.unwrap()["type"], "DELETED");
    }
}

#[tokio::test]
async fn what_was_kept_otherwise_is_read_and_sealed_anew_by_a_write_that_changes_nothing() {
    let bed = Bed::start(Configuration::default()).await;
    let admin = bed.server.admin();
    make(&admin).await;
    let (path, key) = (format!("{SECRETS}/a"), "/registry/secrets/default/a");
    assert!(bed.raw(key).await.starts_with('{'), "nothing is sealed at first");
    let steps: [(Vec<String>, &str); 4] = [
        (vec![provider("aesgcm", 0), plain()], "k8s:enc:aesgcm:v1:key0:"),
        (vec![provider("aesgcm", 1), provider("aesgcm", 0)], "k8s:enc:aesgcm:v1:key1:"),
        (vec![provider("secretbox", 0), provider("aesgcm", 1)], "k8s:enc:secretbox:v1:key0:"),
        (vec![plain(), provider("secretbox", 0)], "{"),
    ];
    for (providers, expected) in steps {
        let before = bed.raw(key).await;
        bed.sealed.adopt(sealing("[secrets]", &providers));
        let object = admin.get(&path).await.expect(200);
        assert_eq!(object["data"]["password"], DATA, "{expected}");
        assert_eq!(bed.raw(key).await, before, "reading writes nothing");
        let written = admin.put(&path, &object).await.expect(200);
        assert!(bed.raw(key).await.starts_with(expected), "{expected}");
        assert_ne!(version(&written), version(&object), "{expected}");
        let again = admin.put(&path, &written).await.expect(200);
        assert_eq!(version(&again), version(&written), "{expected}: once is enough");
    }
}

#[tokio::test]
async fn a_value_that_cannot_be_opened_is_an_error_of_its_object_alone() {
    let bed = Bed::start(sealing("[secrets]", &[provider("aesgcm", 0)])).await;
    let admin = bed.server.admin();
    make(&admin).await;
    admin.post(SECRETS, &secret("b")).await.expect(201);
    admin.post("/api/v1/namespaces/kube-system/secrets", &secret("c")).await.expect(201);
    // The value of one is put in the place of another, which the cipher notices.
    let value = bed.below.get("/registry/secrets/default/b").await.unwrap().0.unwrap().value;
    let op = Op::Put { value, ttl_s: None };
    bed.below.write("/registry/secrets/default/a", Expect::Any, op).await.unwrap();

    let why = "Internal error occurred: cipher: message authentication failed";
    admin.get(&format!("{SECRETS}/a")).await.refused(500, "InternalError", why);
    assert_eq!(admin.get(&format!("{SECRETS}/b")).await.expect(200)["data"]["password"], DATA);
    let why = "Internal error occurred: unable to transform key \"/registry/secrets/default/a\": cipher: message authentication failed";
    admin.get(SECRETS).await.refused(500, "InternalError", why);
    let elsewhere = admin.get("/api/v1/namespaces/kube-system/secrets").await.expect(200);
    assert_eq!(names(&elsewhere), ["c"]);
    let patch = json!({"metadata": {"labels": {"x": "y"}}});
    assert_eq!(admin.patch(&format!("{SECRETS}/a"), "merge-patch", &patch).await.code, 500);
    assert_eq!(admin.delete(&format!("{SECRETS}/a")).await.code, 500);
    admin.get(CONFIG_MAPS).await.expect(200);

    // With a wrong key the server starts all the same; with the right one all is there again.
    let stranger = Encrypted::new(
        bed.below.clone(),
        sealing("[secrets]", &[provider("aesgcm", 1)]),
        CancellationToken::new(),
    );
    let other = Server::on(Arc::new(stranger), "", |_| {}).await;
    let why = "Internal error occurred: no matching key was found for the provided AES transformer";
    other.admin().get(&format!("{SECRETS}/b")).await.refused(500, "InternalError", why);
    other.admin().get(CONFIG_MAPS).await.expect(200);
    other.admin().post(SECRETS, &secret("b")).await.expect(409);
    let value = bed.below.get("/registry/secrets/default/b").await.unwrap().0.unwrap().value;
    assert!(value.starts_with(b"k8s:enc:aesgcm:v1:key0:"), "what cannot be read is left as it is");
}

#[tokio::test]
async fn wildcards_cover_every_group_and_kinds_made_later() {
    let bed = Bed::start(sealing("['*.*']", &[provider("secretbox", 0)])).await;
    let admin = bed.server.admin();
    make(&admin).await;
    let definition = json!({"metadata": {"name": "things.example.com"}, "spec": {
        "group": "example.com", "scope": "Namespaced",
        "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
            "type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
    }});
    admin.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).await.expect(201);
    let things = "/apis/example.com/v1/namespaces/default/things";
    let thing =
        json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t"}, "note": TEXT});
    let made = tokio::time::timeout(crate::server::PATIENCE, async {
        loop {
            let answer = admin.post(things, &thing).await;
            if answer.code != 404 {
                return answer;
            }
        }
    });
    made.await.expect("the kind is served").expect(201);
    assert_eq!(admin.get(&format!("{things}/t")).await.expect(200)["note"], TEXT);
    for key in [
        "/registry/example.com/things/default/t",
        "/registry/configmaps/default/a",
        "/registry/secrets/default/a",
    ] {
        assert!(bed.raw(key).await.starts_with("k8s:enc:secretbox:v1:key0:"), "{key}");
    }
    assert!(!is_on_disk(bed.dir.path(), TEXT));
}
