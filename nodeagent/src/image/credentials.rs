//! Credentials for a registry, out of a pod's `imagePullSecrets`: pure.

use base64::{Engine, engine::general_purpose::STANDARD};
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use crate::{cri::Credentials, references::Resolved};

/// The first credentials that fit the image's registry.
pub fn credentials(pod: &Pod, resolved: &Resolved, image: &str) -> Option<Credentials> {
    let registry = registry(image);
    let names = pod.spec.iter().flat_map(|s| s.image_pull_secrets.iter().flatten()).map(|s| s.name.as_str());
    names
        .filter_map(|name| resolved.secrets.get(name)?.as_ref())
        .filter_map(|secret| {
            let data = secret.data.as_ref()?;
            if let Some(config) = data.get(".dockerconfigjson") {
                return serde_json::from_slice::<Value>(&config.0).ok()?.get("auths").cloned();
            }
            serde_json::from_slice(&data.get(".dockercfg")?.0).ok()
        })
        .find_map(|auths: Value| {
            let (server, entry) = auths.as_object()?.iter().find(|(server, _)| host(server) == registry)?;
            read(server, entry)
        })
}

fn read(server: &str, entry: &Value) -> Option<Credentials> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
    let pair = text("auth").and_then(|auth| {
        let plain = String::from_utf8(STANDARD.decode(auth).ok()?).ok()?;
        plain.split_once(':').map(|(u, p)| (u.to_owned(), p.to_owned()))
    });
    let (username, password) = text("username").zip(text("password")).or(pair)?;
    Some(Credentials { username, password, server: server.to_owned() })
}

/// The registry that an image's name means.
fn registry(image: &str) -> String {
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first.to_owned(),
        _ => "docker.io".to_owned(),
    }
}

fn host(server: &str) -> String {
    let bare = server.trim_start_matches("https://").trim_start_matches("http://");
    let host = bare.split('/').next().unwrap_or_default();
    if matches!(host, "index.docker.io" | "registry-1.docker.io") { "docker.io".into() } else { host.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_of_the_images_registry_is_taken() {
        let pod: Pod = serde_json::from_value(
            serde_json::json!({"spec": {"containers": [], "imagePullSecrets": [{"name": "s"}]}}),
        )
        .unwrap();
        let config = serde_json::json!({"auths": {"https://index.docker.io/v1/": {"auth": STANDARD.encode("u:p")}, "127.0.0.1:5000": {"username": "a", "password": "b"}}});
        let data = std::collections::BTreeMap::from([(
            ".dockerconfigjson".to_owned(),
            k8s_openapi::ByteString(config.to_string().into_bytes()),
        )]);
        let secret = k8s_openapi::api::core::v1::Secret { data: Some(data), ..Default::default() };
        let mut resolved = Resolved::default();
        resolved.secrets.insert("s".into(), Some(std::sync::Arc::new(secret)));
        let user = |image: &str| credentials(&pod, &resolved, image).map(|c| c.username);
        assert_eq!(user("nginx:1"), Some("u".into()));
        assert_eq!(user("127.0.0.1:5000/x:1"), Some("a".into()));
        assert_eq!(user("ghcr.io/x:1"), None);
    }
}
