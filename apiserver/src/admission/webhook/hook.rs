//! One webhook of a configuration, read once.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use serde_json::Value;

use crate::admission::constraint::Constraint;
use crate::admission::expression::{self, Conditions, Uses};
use crate::backend::{Backend, Place, Trust};

/// What the conditions of a webhook may use.
pub const CONDITIONS: Uses = Uses { params: false, authorizer: true };

/// A webhook, as it is used.
#[derive(Debug)]
pub struct Hook {
    /// Its name.
    pub name: String,
    /// The name of the configuration that it stands in.
    pub configuration: String,
    /// What it is asked about.
    pub about: Constraint,
    /// What must hold besides.
    pub conditions: Conditions,
    /// Whether a request passes when the webhook fails.
    pub ignores_failures: bool,
    /// Whether it may be asked of what is not stored.
    pub dry_run: bool,
    /// How long it may take.
    pub timeout: Duration,
    /// Whether it is asked again when others changed the object after it.
    pub reinvoked: bool,
    /// The reviews that it reads, as it prefers them.
    pub versions: Vec<String>,
    /// Where it is.
    pub client: Result<Client, String>,
}

/// Where a server is, and the path of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Where, and whom to believe.
    pub backend: Backend,
    /// The path.
    pub path: String,
}

impl Client {
    /// The address as failures show it.
    pub fn url(&self, timeout: Duration) -> String {
        format!("https://{}{}?timeout={}s", self.backend.place.authority(), self.path, timeout.as_secs())
    }
}

impl Hook {
    /// Those of a configuration, in its order.
    pub fn all(configuration: &Value) -> Vec<Arc<Self>> {
        let name = skiff_api::meta::name(configuration);
        let hooks = configuration["webhooks"].as_array();
        hooks.into_iter().flatten().map(|hook| Arc::new(Self::read(name, hook))).collect()
    }

    fn read(configuration: &str, hook: &Value) -> Self {
        let text = |key: &str| hook[key].as_str().unwrap_or_default();
        let list = |key: &str| hook[key].as_array().map(Vec::as_slice).unwrap_or_default();
        Self {
            name: text("name").into(),
            configuration: configuration.into(),
            about: Constraint::of_webhook(hook),
            conditions: Conditions::read(&expression::environment(CONDITIONS), &hook["matchConditions"]),
            ignores_failures: text("failurePolicy") == "Ignore",
            dry_run: matches!(text("sideEffects"), "None" | "NoneOnDryRun"),
            timeout: Duration::from_secs(hook["timeoutSeconds"].as_u64().unwrap_or(10)),
            reinvoked: text("reinvocationPolicy") == "IfNeeded",
            versions: list("admissionReviewVersions")
                .iter()
                .filter_map(|one| one.as_str().map(str::to_owned))
                .collect(),
            client: client(&hook["clientConfig"]),
        }
    }
}

/// Reads a `clientConfig`, or why nothing can be asked there.
pub fn client(config: &Value) -> Result<Client, String> {
    let trust = trust(&config["caBundle"]);
    let service = &config["service"];
    if service.is_object() {
        let text = |key: &str| service[key].as_str().unwrap_or_default();
        let port = service["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(443);
        let place = Place::Service { namespace: text("namespace").into(), name: text("name").into(), port };
        let path = format!("/{}", text("path").trim_start_matches('/'));
        return Ok(Client { backend: Backend { place, trust, shows_certificate: false }, path });
    }
    let Some(url) = config["url"].as_str() else {
        return Err("webhook configuration must have either service or URL".into());
    };
    let unparsable = |why: &str| format!("Unparsable URL: parse {url:?}: {why}");
    let uri: http::Uri =
        url.parse().map_err(|error: http::uri::InvalidUri| unparsable(&error.to_string()))?;
    let host = uri.host().ok_or_else(|| unparsable("no host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let place = Place::Host { host, port: uri.port_u16().unwrap_or(443) };
    let path = if uri.path().is_empty() { "/".to_owned() } else { uri.path().to_owned() };
    Ok(Client { backend: Backend { place, trust, shows_certificate: false }, path })
}

/// Whom a `caBundle` believes.
pub fn trust(bundle: &Value) -> Trust {
    match bundle.as_str().filter(|text| !text.is_empty()) {
        None => Trust::System,
        // Not base64 is not PEM either, which the first call says.
        Some(text) => {
            Trust::Bundle(base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default().into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_service_is_called_by_its_name_in_the_cluster() {
        let client = client(&json!({"service": {"namespace": "a", "name": "b", "path": "/c"}})).unwrap();
        assert_eq!(client.url(Duration::from_secs(10)), "https://b.a.svc:443/c?timeout=10s");
        assert_eq!(client.backend.place.server_name(), "b.a.svc");
    }

    #[test]
    fn a_url_is_called_where_it_says() {
        let client = client(&json!({"url": "https://[::1]:8443/x"})).unwrap();
        assert_eq!(client.url(Duration::from_secs(1)), "https://[::1]:8443/x?timeout=1s");
        assert_eq!(client.backend.place, Place::Host { host: "::1".into(), port: 8443 });
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let hook = Hook::read("c", &json!({"name": "h"}));
        assert!(hook.conditions.is_empty() && !hook.ignores_failures && !hook.dry_run && !hook.reinvoked);
        assert_eq!(hook.timeout, Duration::from_secs(10));
        assert_eq!(hook.client.unwrap_err(), "webhook configuration must have either service or URL");
    }
}
