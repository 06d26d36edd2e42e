//! Claims in the store: what makes an address or a node port belong to one Service, whichever API
//! server gave it out.
//!
//! A claim is a key of its own, made only where it is absent. For addresses it is an IPAddress, as
//! upstream's allocator makes it; node ports have a key of ours, since upstream keeps them in one
//! record that all writers would wait for. A claim is taken before its Service is written and left after
//! the Service was changed or deleted, so that at any time a Service has its claims; what a crash leaves
//! behind in between is for [`super::repair`].

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde_json::{Value, json};
use skiff_storage::{Error, Expect, Op, Revision, Storage};

/// Where claims are; each ends with `/`.
pub const PREFIXES: [&str; 2] = ["/registry/ipaddresses/", "/registry/skiff.io/nodeports/"];

/// What only one Service may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Claim {
    /// A cluster IP.
    Ip(Ipv4Addr),
    /// A node port, of whatever protocol.
    Port(u16),
}

/// The Service that has a claim.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holder {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A claim as it stands in the store.
#[derive(Debug, Clone)]
pub struct Record {
    /// Of what.
    pub claim: Claim,
    /// Who has it.
    pub holder: Holder,
    /// Since when.
    pub since: Timestamp,
    /// The revision that wrote it.
    pub revision: Revision,
}

impl Claim {
    /// Its key in the store.
    pub fn key(self) -> String {
        match self {
            Self::Ip(ip) => format!("{}{ip}", PREFIXES[0]),
            Self::Port(port) => format!("{}{port}", PREFIXES[1]),
        }
    }

    fn of_key(key: &str) -> Option<Self> {
        if let Some(ip) = key.strip_prefix(PREFIXES[0]) {
            return ip.parse().ok().map(Self::Ip);
        }
        key.strip_prefix(PREFIXES[1])?.parse().ok().map(Self::Port)
    }

    fn value(self, holder: &Holder, now: Timestamp) -> Value {
        let parent = json!({
            "group": "", "resource": "services", "namespace": holder.namespace, "name": holder.name,
        });
        let since = crate::write::time(now);
        match self {
            Self::Ip(ip) => json!({
                "kind": "IPAddress", "apiVersion": "networking.k8s.io/v1",
                "metadata": {
                    "name": ip.to_string(), "uid": uuid::Uuid::new_v4().to_string(),
                    "creationTimestamp": since,
                    "labels": {
                        "ipaddress.kubernetes.io/ip-family": "IPv4",
                        "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
                    },
                },
                "spec": {"parentRef": parent},
            }),
            Self::Port(_) => json!({
                "metadata": {"creationTimestamp": since}, "spec": {"parentRef": parent},
            }),
        }
    }

    /// Takes it for a Service, if `expect` holds of its key.
    pub async fn write(
        self,
        storage: &dyn Storage,
        holder: &Holder,
        expect: Expect,
    ) -> Result<Revision, Error> {
        let value = self.value(holder, Timestamp::now()).to_string();
        storage.write(&self.key(), expect, Op::Put { value: value.into(), ttl_s: None }).await
    }
}

impl Record {
    /// Reads a claim; `None` if the key is none of ours, or not for a Service.
    pub fn read(entry: &skiff_storage::Entry) -> Option<Self> {
        let claim = Claim::of_key(&entry.key)?;
        let value: Value = serde_json::from_slice(&entry.value).ok()?;
        let parent = &value["spec"]["parentRef"];
        if parent["resource"] != "services" {
            return None;
        }
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Some(Self {
            claim,
            holder: Holder { namespace: text(&parent["namespace"])?, name: text(&parent["name"])? },
            since: value["metadata"]["creationTimestamp"].as_str()?.parse().ok()?,
            revision: entry.revision,
        })
    }
}

/// What a Service holds.
pub fn held(service: &Value) -> BTreeSet<Claim> {
    let spec = &service["spec"];
    let ips = spec["clusterIPs"].as_array().into_iter().flatten();
    let ips = ips.filter_map(|ip| Some(Claim::Ip(ip.as_str()?.parse().ok()?)));
    let ports = spec["ports"].as_array().into_iter().flatten();
    let ports = ports.map(|port| &port["nodePort"]).chain([&spec["healthCheckNodePort"]]);
    let ports = ports.filter_map(|port| u16::try_from(port.as_u64()?).ok());
    ips.chain(ports.filter(|port| *port > 0).map(Claim::Port)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_comes_back_as_it_was_written() {
        let holder = Holder { namespace: "shop".into(), name: "till".into() };
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        for claim in [Claim::Ip(Ipv4Addr::new(10, 96, 0, 7)), Claim::Port(30080)] {
            let value = claim.value(&holder, now).to_string();
            let entry = skiff_storage::Entry { key: claim.key(), value: value.into(), revision: 7 };
            let record = Record::read(&entry).unwrap();
            assert_eq!((record.claim, record.revision, record.since), (claim, 7, now));
            assert_eq!(record.holder, holder);
        }
    }

    #[test]
    fn a_service_holds_its_addresses_and_each_node_port_once() {
        let service = json!({"spec": {
            "clusterIPs": ["10.96.0.7", "fd00::7"],
            "ports": [{"nodePort": 30080}, {"nodePort": 30080, "protocol": "UDP"}, {"nodePort": 0}, {}],
        }});
        assert_eq!(held(&service), [Claim::Ip(Ipv4Addr::new(10, 96, 0, 7)), Claim::Port(30080)].into());
        assert!(held(&json!({"spec": {"clusterIPs": ["None"]}})).is_empty());
    }
}
