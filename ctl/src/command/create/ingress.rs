//! An Ingress from rules in one line each.

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};

/// An Ingress from flags.
#[derive(Debug, clap::Args)]
pub struct IngressArgs {
    /// Its name
    pub name: String,
    /// HOST/PATH=SERVICE:PORT[,tls[=SECRET]]; a path that ends with * is a prefix
    #[arg(long)]
    pub rule: Vec<String>,
    /// SERVICE:PORT for all else
    #[arg(long)]
    pub default_backend: Option<String>,
    /// The IngressClass
    #[arg(long)]
    pub class: Option<String>,
    /// KEY=VALUE; may be repeated
    #[arg(long)]
    pub annotation: Vec<String>,
}

fn backend(text: &str) -> Result<Value> {
    let (service, port) = text
        .split_once(':')
        .filter(|(service, port)| !service.is_empty() && !port.is_empty())
        .ok_or_else(|| Error::usage(format!("{text}: expected SERVICE:PORT")))?;
    let port = port.parse::<u16>().map_or_else(|_| json!({"name": port}), |number| json!({"number": number}));
    Ok(json!({"service": {"name": service, "port": port}}))
}

/// The Ingress.
pub(super) fn ingress(args: &IngressArgs) -> Result<Value> {
    if args.rule.is_empty() && args.default_backend.is_none() {
        return Err(Error::usage(
            "not enough information provided: every ingress has to either specify a default-backend (which catches all traffic) or a list of rules (which catch specific paths)",
        ));
    }
    let (mut hosts, mut tls): (Vec<(String, Vec<Value>)>, Vec<Value>) = (Vec::new(), Vec::new());
    for rule in &args.rule {
        let wrong = || {
            Error::usage(format!(
                "rule {rule} is invalid and should be in format host/path=svcname:svcport[,tls[=secret]]"
            ))
        };
        let (place, target) = rule.split_once('=').ok_or_else(wrong)?;
        let (host, path) = place.split_once('/').ok_or_else(wrong)?;
        let (service, secret) =
            target.split_once(",tls").map_or((target, None), |(service, rest)| (service, Some(rest)));
        let (path, sort) = match path.strip_suffix('*') {
            Some(prefix) => (prefix, "Prefix"),
            None => (path, "Exact"),
        };
        let path = json!({"path": format!("/{path}"), "pathType": sort, "backend": backend(service)?});
        match hosts.iter_mut().find(|(known, _)| known == host) {
            Some((_, paths)) => paths.push(path),
            None => hosts.push((host.to_owned(), vec![path])),
        }
        if let Some(secret) = secret {
            let mut entry = json!({});
            if !host.is_empty() {
                entry["hosts"] = json!([host]);
            }
            if let Some(name) = secret.strip_prefix('=').filter(|name| !name.is_empty()) {
                entry["secretName"] = json!(name);
            }
            tls.push(entry);
        }
    }
    let rules: Vec<Value> = hosts
        .into_iter()
        .map(|(host, paths)| {
            let http = json!({"paths": paths});
            if host.is_empty() { json!({"http": http}) } else { json!({"host": host, "http": http}) }
        })
        .collect();
    let mut spec = json!({});
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            spec[key] = value;
        }
    };
    set("ingressClassName", args.class.as_ref().map(|class| json!(class)));
    set("rules", (!rules.is_empty()).then(|| json!(rules)));
    set("tls", (!tls.is_empty()).then(|| json!(tls)));
    set("defaultBackend", args.default_backend.as_deref().map(backend).transpose()?);
    let mut meta = json!({"name": args.name});
    if !args.annotation.is_empty() {
        let pairs = args.annotation.iter().map(|pair| {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| Error::usage(format!("{pair}: expected KEY=VALUE")))?;
            Ok((key.to_owned(), json!(value)))
        });
        meta["annotations"] = Value::Object(pairs.collect::<Result<Map<String, Value>>>()?);
    }
    Ok(json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": meta, "spec": spec}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_one_host_are_joined() {
        let args = IngressArgs {
            name: "i".into(),
            rule: vec!["a.io/=web:80".into(), "a.io/x*=api:http,tls=cert".into()],
            default_backend: None,
            class: None,
            annotation: Vec::new(),
        };
        let spec = &ingress(&args).expect("valid")["spec"];
        assert_eq!(spec["rules"].as_array().map(Vec::len), Some(1));
        assert_eq!(spec["rules"][0]["http"]["paths"][1]["path"], "/x");
        assert_eq!(
            spec["rules"][0]["http"]["paths"][1]["backend"]["service"]["port"],
            json!({"name": "http"})
        );
        assert_eq!(spec["tls"], json!([{"hosts": ["a.io"], "secretName": "cert"}]));
    }
}
