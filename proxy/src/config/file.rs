//! `KubeProxyConfiguration`, read by a table of its fields.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Config;
use crate::error::{Error, Result};

const API_VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";
const KIND: &str = "KubeProxyConfiguration";

/// What a field does here.
enum Field {
    /// It is taken, if it tells true; a value that is known but does nothing here gets a warning.
    Taken(fn(&Value, &mut Config) -> Result<bool, &'static str>),
    /// It is known, and does nothing; a value other than nothing gets a warning.
    Idle,
}
use Field::{Idle, Taken};

/// Every field of the version, in the order of upstream's `types.go`; a dot leads into an object.
const FIELDS: &[(&str, Field)] = &[
    ("featureGates.*", Idle),
    ("clientConnection.kubeconfig", Taken(kubeconfig)),
    ("clientConnection.acceptContentTypes", Idle),
    ("clientConnection.contentType", Idle),
    ("clientConnection.qps", Idle),
    ("clientConnection.burst", Idle),
    ("logging.*", Idle),
    ("hostnameOverride", Taken(hostname)),
    ("bindAddress", Taken(bind_address)),
    ("healthzBindAddress", Taken(healthz)),
    ("metricsBindAddress", Idle),
    ("bindAddressHardFail", Idle),
    ("enableProfiling", Idle),
    ("showHiddenMetricsForVersion", Idle),
    ("mode", Taken(mode)),
    ("iptables.masqueradeBit", Idle),
    ("iptables.masqueradeAll", Idle),
    ("iptables.localhostNodePorts", Idle),
    ("iptables.syncPeriod", Idle),
    ("iptables.minSyncPeriod", Idle),
    ("ipvs.syncPeriod", Idle),
    ("ipvs.minSyncPeriod", Idle),
    ("ipvs.scheduler", Idle),
    ("ipvs.excludeCIDRs", Idle),
    ("ipvs.strictARP", Idle),
    ("ipvs.tcpTimeout", Idle),
    ("ipvs.tcpFinTimeout", Idle),
    ("ipvs.udpTimeout", Idle),
    ("nftables.masqueradeBit", Idle),
    ("nftables.masqueradeAll", Taken(masquerade_all)),
    ("nftables.syncPeriod", Idle),
    ("nftables.minSyncPeriod", Idle),
    ("winkernel.*", Idle),
    ("detectLocalMode", Taken(detect_local)),
    ("detectLocal.bridgeInterface", Idle),
    ("detectLocal.interfaceNamePrefix", Idle),
    ("clusterCIDR", Taken(cluster_cidr)),
    ("nodePortAddresses", Taken(node_port_addresses)),
    ("oomScoreAdj", Idle),
    ("conntrack.maxPerCore", Idle),
    ("conntrack.min", Idle),
    ("conntrack.tcpEstablishedTimeout", Idle),
    ("conntrack.tcpCloseWaitTimeout", Idle),
    ("conntrack.tcpBeLiberal", Idle),
    ("conntrack.udpTimeout", Idle),
    ("conntrack.udpStreamTimeout", Idle),
    ("configSyncPeriod", Idle),
    ("portRange", Idle),
    ("windowsRunAsService", Idle),
];

pub(super) fn read(path: &Path) -> Result<(Config, Vec<String>)> {
    let text =
        std::fs::read_to_string(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
    parse(&text).map_err(|message| Error::Config { path: path.to_owned(), message })
}

fn parse(text: &str) -> Result<(Config, Vec<String>), String> {
    let document: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let Value::Object(mut fields) = document else {
        return Err(format!("expected an object of kind {KIND}"));
    };
    for (field, expected) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        match fields.remove(field) {
            Some(Value::String(found)) if found == expected => {}
            Some(found) => return Err(format!("{field}: {found} is not supported; expected {expected:?}")),
            None => return Err(format!("{field}: required; expected {expected:?}")),
        }
    }
    let mut config = Config::default();
    let mut warnings = Vec::new();
    walk("", &Value::Object(fields), &mut config, &mut warnings)?;
    Ok((config, warnings))
}

fn walk(path: &str, value: &Value, config: &mut Config, warnings: &mut Vec<String>) -> Result<(), String> {
    let within = format!("{path}.");
    if let Some((_, field)) =
        FIELDS.iter().find(|(name, _)| *name == path || name.strip_suffix(".*") == Some(path))
    {
        match field {
            _ if is_nothing(value) => {}
            Taken(take) => {
                if !take(value, config).map_err(|expected| format!("{path}: {value}: expected {expected}"))? {
                    warnings.push(format!("{path}: {value} is not supported, ignored"));
                }
            }
            Idle => warnings.push(format!("{path}: not supported, ignored")),
        }
        return Ok(());
    }
    if !path.is_empty() && !FIELDS.iter().any(|(name, _)| name.starts_with(&within)) {
        return Err(format!("unknown field {path:?}"));
    }
    match value {
        Value::Null => Ok(()),
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| {
            let path = if path.is_empty() { name.clone() } else { format!("{within}{name}") };
            walk(&path, value, config, warnings)
        }),
        other => Err(format!("{path}: {other}: expected an object")),
    }
}

/// Files written by tools carry every field; one that says nothing needs no warning.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty() || text == "0s",
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_nothing),
    }
}

fn kubeconfig(value: &Value, config: &mut Config) -> Result<bool, &'static str> {
    config.kubeconfig = Some(PathBuf::from(value.as_str().ok_or("a path")?));
    Ok(true)
}

fn hostname(value: &Value, config: &mut Config) -> Result<bool, &'static str> {
    config.node_names = vec![value.as_str().ok_or("the name of a node")?.to_owned()];
    Ok(true)
}

/// Upstream takes from it which family is the first; here there is one.
fn bind_address(value: &Value, _: &mut Config) -> Result<bool, &'static str> {
    let expected = "an IPv4 address";
    value.as_str().ok_or(expected)?.parse::<std::net::Ipv4Addr>().map(|_| true).map_err(|_| expected)
}

fn healthz(value: &Value, config: &mut Config) -> Result<bool, &'static str> {
    let expected = "an address and port such as 0.0.0.0:10256";
    let text = value.as_str().ok_or(expected)?;
    let address = match text.parse::<std::net::IpAddr>() {
        Ok(ip) => (ip, 10256).into(),
        Err(_) => text.parse().map_err(|_| expected)?,
    };
    config.healthz_bind_address = Some(address);
    Ok(true)
}

fn mode(value: &Value, _: &mut Config) -> Result<bool, &'static str> {
    match value.as_str() {
        Some("nftables") => Ok(true),
        Some("iptables" | "ipvs") => Ok(false),
        _ => Err("\"nftables\" (iptables and ipvs are known, and treated the same)"),
    }
}

fn masquerade_all(value: &Value, config: &mut Config) -> Result<bool, &'static str> {
    config.masquerade_all = value.as_bool().ok_or("true or false")?;
    Ok(true)
}

fn detect_local(value: &Value, _: &mut Config) -> Result<bool, &'static str> {
    match value.as_str() {
        Some("ClusterCIDR") => Ok(true),
        Some("NodeCIDR" | "BridgeInterface" | "InterfaceNamePrefix") => Ok(false),
        _ => Err(
            "\"ClusterCIDR\" (NodeCIDR, BridgeInterface and InterfaceNamePrefix are known, and treated the same)",
        ),
    }
}

fn cluster_cidr(value: &Value, config: &mut Config) -> Result<bool, &'static str> {
    let expected = "an IPv4 range such as 10.244.0.0/16 (one; IPv6 is not supported)";
    config.cluster_cidr = value.as_str().ok_or(expected)?.parse().map_err(|_| expected)?;
    Ok(true)
}

fn node_port_addresses(value: &Value, config: &mut Config) -> Result<bool, &'static str> {
    let expected = "a list of IPv4 ranges";
    let ranges = value.as_array().ok_or(expected)?.iter();
    config.node_port_addresses = ranges
        .map(|range| range.as_str().and_then(|range| range.parse().ok()).ok_or(expected))
        .collect::<Result<_, _>>()?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(fields: &str) -> Result<(Config, Vec<String>), String> {
        parse(&format!("apiVersion: {API_VERSION}\nkind: {KIND}\n{fields}"))
    }

    #[test]
    fn supported_fields_are_taken() {
        let (config, warnings) = with(concat!(
            "clusterCIDR: 10.50.0.0/16\nhostnameOverride: n1\nmode: nftables\nbindAddress: 0.0.0.0\n",
            "clientConnection: {kubeconfig: /etc/k, qps: 0, contentType: ''}\nhealthzBindAddress: 127.0.0.1:10256\n",
            "nodePortAddresses: [127.0.0.0/8]\nnftables: {masqueradeAll: true, syncPeriod: 0s}\n",
        ))
        .unwrap();
        assert_eq!(warnings, [""; 0]);
        assert_eq!(config.cluster_cidr.to_string(), "10.50.0.0/16");
        assert_eq!(config.node_names, ["n1"]);
        assert_eq!(config.kubeconfig, Some(PathBuf::from("/etc/k")));
        assert_eq!(config.healthz_bind_address, Some("127.0.0.1:10256".parse().unwrap()));
        assert_eq!(config.node_port_addresses.len(), 1);
        assert!(config.masquerade_all);
    }

    #[test]
    fn known_fields_that_do_nothing_are_named() {
        let (_, warnings) =
            with("mode: ipvs\nipvs: {scheduler: rr}\nfeatureGates: {A: true}\noomScoreAdj: -999\nwinkernel: null\n")
                .unwrap();
        assert_eq!(
            warnings,
            [
                "featureGates: not supported, ignored",
                "ipvs.scheduler: not supported, ignored",
                "mode: \"ipvs\" is not supported, ignored",
                "oomScoreAdj: not supported, ignored"
            ]
        );
    }

    #[test]
    fn wrong_input_is_refused_by_name() {
        for (fields, expected) in [
            ("clusterCidr: 10.0.0.0/8", "unknown field \"clusterCidr\""),
            ("ipvs: {sheduler: rr}", "unknown field \"ipvs.sheduler\""),
            ("clusterCIDR: x", "clusterCIDR: \"x\": expected an IPv4 range"),
            ("mode: userspace", "mode: \"userspace\": expected \"nftables\""),
            ("conntrack: 4", "conntrack: 4: expected an object"),
        ] {
            let message = with(fields).unwrap_err();
            assert!(message.starts_with(expected), "{message}");
        }
        assert!(parse("kind: X").unwrap_err().starts_with("apiVersion: required"));
        assert!(parse(&format!("apiVersion: {API_VERSION}\nkind: X")).unwrap_err().contains(KIND));
    }
}
