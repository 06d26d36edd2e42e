//! A cluster of which every component is a process of its own.

use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use crate::{Cluster, Engine, bin, eventually, machine};

/// The name of the API server's process.
pub const API_SERVER: &str = "apiserver";

impl Cluster {
    /// Starts an API server, a scheduler, controllers, a node agent for each of `nodes` and one proxy, all on this
    /// machine; the last two read their configuration from files. `words` go to the API server, `lifecycle` to the
    /// controllers.
    pub fn start_apart(engine: Engine, nodes: &[&str], words: &[&str], lifecycle: &[&str]) -> Self {
        let mut cluster = Self::unstarted(Some(engine), words);
        let mut server = cluster.skiff("apiserver");
        server.args([
            "--listen",
            &cluster.listen(),
            "--credentials-for-nodes",
            &nodes.join(","),
            "--data-dir",
        ]);
        server.arg(cluster.dir()).args(&cluster.extra);
        cluster.start_part(API_SERVER, server);
        cluster.process(API_SERVER).wait_for_line("ready", 90);

        let pki = cluster.pki();
        let part = |name: &str| {
            let mut command = cluster.skiff(name);
            command.arg("--kubeconfig").arg(pki.join(format!("{name}.kubeconfig")));
            command
        };
        let (scheduler, mut controller, mut proxy) = (part("scheduler"), part("controller"), part("proxy"));
        controller.arg("--root-ca-file").arg(pki.join("ca.crt")).args(lifecycle);
        controller.arg("--cluster-signing-cert-file").arg(pki.join("ca.crt"));
        controller.arg("--cluster-signing-key-file").arg(pki.join("ca.key"));
        let config = cluster.write_config(
            "proxy",
            &json!({
                "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
                "mode": "nftables", "clusterCIDR": "10.244.0.0/16", "bindAddress": "0.0.0.0",
            }),
        );
        proxy.arg("--config").arg(config).args(["--hostname-override", &nodes.join(",")]);
        for (name, command) in [("scheduler", scheduler), ("controller", controller), ("proxy", proxy)] {
            cluster.start_part(name, command);
        }
        for node in nodes {
            cluster.start_node(node);
        }
        for node in nodes {
            cluster.wait_for_node(node, "True", 60);
        }
        cluster
    }

    fn pki(&self) -> PathBuf {
        self.dir().join("pki")
    }

    fn skiff(&self, part: &str) -> Command {
        let mut command = Command::new(bin("skiff"));
        command.arg(part).env("DOCKER_HOST", self.engine().host());
        command
    }

    fn write_config(&self, name: &str, config: &serde_json::Value) -> PathBuf {
        let path = self.dir().join(format!("{name}.yaml"));
        // JSON is YAML.
        std::fs::write(&path, config.to_string()).expect("a file can be written");
        path
    }

    /// Starts (again) the agent of a node, with a `KubeletConfiguration`. Its heart beats every half second.
    pub fn start_node(&mut self, node: &str) {
        let pki = self.pki();
        let number = u16::from(node.bytes().last().unwrap_or_default() - b'0');
        let config = self.write_config(
            &format!("node-{node}"),
            &json!({
                "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
                "address": machine::ADDRESS, "port": 10260 + number,
                "tlsCertFile": pki.join(format!("node-{node}-serving.crt")),
                "tlsPrivateKeyFile": pki.join(format!("node-{node}-serving.key")),
                "authentication": {
                    "x509": {"clientCAFile": pki.join("ca.crt")},
                    "anonymous": {"enabled": false}, "webhook": {"enabled": false},
                },
                "clusterDNS": ["10.96.0.10"], "clusterDomain": "cluster.local",
                "nodeLeaseDurationSeconds": 2, "maxPods": 40 + number,
                "systemReserved": {"memory": "64Mi"}, "cgroupDriver": "cgroupfs",
            }),
        );
        let mut agent = self.skiff("nodeagent");
        agent.arg("--kubeconfig").arg(pki.join(format!("node-{node}.kubeconfig")));
        agent.arg("--config").arg(config).args(["--hostname-override", node, "--data-dir"]);
        agent.arg(self.dir().join("nodes").join(node));
        self.start_part(node, agent);
    }

    /// Waits until the Ready condition of a node has this status.
    pub fn wait_for_node(&self, node: &str, status: &str, seconds: u64) {
        let path = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
        eventually(&format!("node {node} to be Ready={status}"), seconds, || {
            match self.try_ctl(&["get", "node", node, "-o", path]) {
                Ok(found) if found == status => Ok(()),
                Ok(found) | Err(found) => Err(found),
            }
        });
    }
}
