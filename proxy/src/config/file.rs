//! `KubeProxyConfiguration`, read by a table of its fields.

use serde_json::Value;
use skiff_runtime::config::Field::{self, Idle, Taken};
use skiff_runtime::config::{Schema, value};

use super::Config;

/// The file's kind.
pub(super) const SCHEMA: Schema<Config> = Schema {
    api_version: "kubeproxy.config.k8s.io/v1alpha1",
    kind: "KubeProxyConfiguration",
    fields: FIELDS,
};

/// Every field of the version, in the order of upstream's `types.go`; a dot leads into an object.
const FIELDS: &[(&str, Field<Config>)] = &[
    ("featureGates", Idle),
    ("clientConnection.kubeconfig", Taken(kubeconfig)),
    ("clientConnection.acceptContentTypes", Idle),
    ("clientConnection.contentType", Idle),
    ("clientConnection.qps", Idle),
    ("clientConnection.burst", Idle),
    ("logging", Idle),
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
    ("winkernel", Idle),
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

fn kubeconfig(value: &Value, config: &mut Config) -> Result<bool, &'static str> {
    config.kubeconfig = Some(value::path(value)?);
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
    config.masquerade_all = value::boolean(value)?;
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
        let head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
        SCHEMA.parse(&format!("{head}{fields}"), Config::default())
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
        assert_eq!(config.kubeconfig, Some("/etc/k".into()));
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
                "line 5: featureGates: not supported, ignored",
                "line 3: mode: \"ipvs\" is not supported, ignored",
                "line 4: ipvs.scheduler: not supported, ignored",
                "line 6: oomScoreAdj: not supported, ignored"
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
            assert!(message.starts_with("line 3: ") && message.contains(expected), "{message}");
        }
    }
}
