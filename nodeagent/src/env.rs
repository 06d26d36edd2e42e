//! A container's environment, and the expansion of `$(NAME)`: pure.

mod service;

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::api::core::v1::{Container, EnvVar, Pod, Service};

use crate::{
    error::{Error, Result},
    field,
    references::Resolved,
};

pub use service::service_env;

/// What an environment is made from.
pub struct Sources<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// The pod's address.
    pub pod_ip: Option<IpAddr>,
    /// The node's address.
    pub node_ip: IpAddr,
    /// ConfigMaps and Secrets of the pod.
    pub resolved: &'a Resolved,
    /// All services.
    pub services: &'a [std::sync::Arc<Service>],
    /// What the node has, for limits that are not set: CPUs and bytes.
    pub allocatable: field::Allocatable,
}

/// The environment, in the order of declaration; what services add comes last.
pub fn environment(container: &Container, sources: &Sources<'_>) -> Result<Vec<(String, String)>> {
    let mut made = Ordered::default();
    let resolved = sources.resolved;
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        if let Some(map) = &from.config_map_ref {
            if let Some(found) = resolved.config_map(&map.name, map.optional)? {
                for (key, value) in found.data.iter().flatten() {
                    made.set(format!("{prefix}{key}"), value.clone());
                }
            }
        } else if let Some(secret) = &from.secret_ref
            && let Some(found) = resolved.secret(&secret.name, secret.optional)?
        {
            for (key, value) in found.data.iter().flatten() {
                made.set(format!("{prefix}{key}"), String::from_utf8_lossy(&value.0).into_owned());
            }
        }
    }
    let spec = sources.pod.spec.clone().unwrap_or_default();
    let namespace = sources.pod.metadata.namespace.as_deref().unwrap_or("default");
    let services = service_env(sources.services, namespace, spec.enable_service_links.unwrap_or(true));
    for var in container.env.iter().flatten() {
        if let Some(value) = value(var, container, sources, &made, &services)? {
            made.set(var.name.clone(), value);
        }
    }
    for (name, value) in services {
        if made.get(&name).is_none() {
            made.set(name, value);
        }
    }
    Ok(made.0)
}

/// The value of one variable; `None`: it is optional and its source is absent.
fn value(
    var: &EnvVar,
    container: &Container,
    sources: &Sources<'_>,
    made: &Ordered,
    services: &BTreeMap<String, String>,
) -> Result<Option<String>> {
    if let Some(text) = var.value.as_ref().filter(|v| !v.is_empty()) {
        return Ok(Some(expand(text, |name| made.get(name).or_else(|| services.get(name)).cloned())));
    }
    let Some(from) = &var.value_from else { return Ok(Some(String::new())) };
    if let Some(field) = &from.field_ref {
        return field::pod_field(sources.pod, sources.pod_ip, sources.node_ip, &field.field_path).map(Some);
    }
    if let Some(resource) = &from.resource_field_ref {
        let spec = sources.pod.spec.clone().unwrap_or_default();
        let of = resource.container_name.as_ref().filter(|n| !n.is_empty());
        let of = of.and_then(|n| spec.containers.iter().find(|c| c.name == *n)).unwrap_or(container);
        let divisor = resource.divisor.as_ref().map(|q| q.0.as_str());
        return field::resource_field(of, &resource.resource, divisor, sources.allocatable).map(Some);
    }
    if let Some(key) = &from.config_map_key_ref {
        let found = sources.resolved.config_map(&key.name, key.optional)?;
        let Some(map) = found else { return Ok(None) };
        let value = map.data.as_ref().and_then(|d| d.get(&key.key)).cloned();
        return absent(value, key.optional, || {
            format!(
                "couldn't find key {} in ConfigMap {namespace}/{}",
                key.key,
                key.name,
                namespace = ns(sources)
            )
        });
    }
    if let Some(key) = &from.secret_key_ref {
        let found = sources.resolved.secret(&key.name, key.optional)?;
        let Some(secret) = found else { return Ok(None) };
        let value = secret.data.as_ref().and_then(|d| d.get(&key.key));
        let value = value.map(|v| String::from_utf8_lossy(&v.0).into_owned());
        return absent(value, key.optional, || {
            format!(
                "couldn't find key {} in Secret {namespace}/{}",
                key.key,
                key.name,
                namespace = ns(sources)
            )
        });
    }
    Ok(Some(String::new()))
}

fn ns<'a>(sources: &'a Sources<'_>) -> &'a str {
    sources.pod.metadata.namespace.as_deref().unwrap_or("default")
}

fn absent(
    value: Option<String>,
    optional: Option<bool>,
    text: impl FnOnce() -> String,
) -> Result<Option<String>> {
    match value {
        None if optional != Some(true) => Err(Error::Reference(text())),
        value => Ok(value),
    }
}

/// Variables in the order of their first declaration.
#[derive(Default)]
struct Ordered(Vec<(String, String)>);

impl Ordered {
    fn get(&self, name: &str) -> Option<&String> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v)
    }

    fn set(&mut self, name: String, value: String) {
        match self.0.iter_mut().find(|(n, _)| *n == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }
}

/// Replaces `$(NAME)` by its value; `$$` is one `$`, and what is not known stays as it is.
pub fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            out.push_str(&lookup(name).unwrap_or_else(|| format!("$({name})")));
            rest = tail;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_expanded_as_upstream_does() {
        let lookup = |name: &str| (name == "A").then(|| "x".to_owned());
        let cases = [
            ("$(A)", "x"),
            ("$(A)$(A)-", "xx-"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$x"),
            ("$(B)", "$(B)"),
            ("$A", "$A"),
            ("$(A", "$(A"),
            ("$", "$"),
        ];
        for (text, want) in cases {
            assert_eq!(expand(text, lookup), want, "{text}");
        }
    }
}
