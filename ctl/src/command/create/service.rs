//! Services of each sort.

use clap::Subcommand;
use serde_json::{Value, json};

use crate::error::{Error, Result};

/// Which Service.
#[derive(Debug, Subcommand)]
pub enum ServiceSort {
    /// An address inside the cluster
    Clusterip {
        /// Its name
        name: String,
        /// PORT or PORT:TARGET; may be repeated
        #[arg(long, value_delimiter = ',')]
        tcp: Vec<String>,
        /// A fixed address, or None for a headless Service
        #[arg(long)]
        clusterip: Option<String>,
    },
    /// A port of every node
    Nodeport {
        /// Its name
        name: String,
        /// PORT or PORT:TARGET; may be repeated
        #[arg(long, value_delimiter = ',', required = true)]
        tcp: Vec<String>,
        /// The node's port
        #[arg(long)]
        node_port: Option<u16>,
    },
    /// An address outside, where the cluster can have one
    Loadbalancer {
        /// Its name
        name: String,
        /// PORT or PORT:TARGET; may be repeated
        #[arg(long, value_delimiter = ',', required = true)]
        tcp: Vec<String>,
    },
    /// Another name
    Externalname {
        /// Its name
        name: String,
        /// The other name
        #[arg(long)]
        external_name: String,
        /// PORT or PORT:TARGET; may be repeated
        #[arg(long, value_delimiter = ',')]
        tcp: Vec<String>,
    },
}

/// The Service.
pub(super) fn service(sort: &ServiceSort) -> Result<Value> {
    let (name, kind, tcp) = match sort {
        ServiceSort::Clusterip { name, tcp, .. } => (name, "ClusterIP", tcp),
        ServiceSort::Nodeport { name, tcp, .. } => (name, "NodePort", tcp),
        ServiceSort::Loadbalancer { name, tcp } => (name, "LoadBalancer", tcp),
        ServiceSort::Externalname { name, tcp, .. } => (name, "ExternalName", tcp),
    };
    let headless =
        matches!(sort, ServiceSort::Clusterip { clusterip: Some(address), .. } if address == "None");
    if tcp.is_empty() && kind == "ClusterIP" && !headless {
        return Err(Error::usage("at least one tcp port specifier must be provided"));
    }
    let mut ports = tcp.iter().map(|text| port(text)).collect::<Result<Vec<Value>>>()?;
    if let (ServiceSort::Nodeport { node_port: Some(number), .. }, Some(first)) = (sort, ports.first_mut()) {
        first["nodePort"] = json!(number);
    }
    let mut service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"type": kind, "selector": {"app": name}},
    });
    if !ports.is_empty() {
        service["spec"]["ports"] = json!(ports);
    }
    match sort {
        ServiceSort::Clusterip { clusterip: Some(address), .. } => {
            service["spec"]["clusterIP"] = json!(address)
        }
        ServiceSort::Externalname { external_name, .. } => {
            service["spec"]["externalName"] = json!(external_name)
        }
        _ => {}
    }
    Ok(service)
}

/// `80`, `80:8080` or `80:http`.
fn port(text: &str) -> Result<Value> {
    let (port, target) = text.split_once(':').unwrap_or((text, text));
    let number: u16 =
        port.parse().ok().filter(|number| *number > 0).ok_or_else(|| {
            Error::usage(format!("{text}: must be a port between 1 and 65535, or PORT:TARGET"))
        })?;
    let target = target.parse::<u16>().map_or_else(|_| json!(target), |number| json!(number));
    let name = text.replace(':', "-");
    Ok(json!({"name": name, "port": number, "protocol": "TCP", "targetPort": target}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_targets() {
        assert_eq!(port("80").expect("valid")["targetPort"], json!(80));
        assert_eq!(port("80:http").expect("valid")["targetPort"], json!("http"));
        assert_eq!(port("80:8080").expect("valid")["name"], json!("80-8080"));
        assert!(port("0").is_err() && port("x").is_err());
    }
}
