//! What the controllers are told; the defaults are kube-controller-manager's.

use std::time::Duration;

use crate::Signer;

/// The controllers' configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The range that nodes' pod ranges are cut from (`--cluster-cidr`), IPv4.
    pub cluster_cidr: String,
    /// The prefix length of a node's pod range (`--node-cidr-mask-size`).
    pub node_cidr_mask_size: u8,
    /// Whether nodes are given pod ranges (`--allocate-node-cidrs`).
    pub allocate_node_cidrs: bool,
    /// How often heartbeats are compared with the clock (`--node-monitor-period`). Silence is what no watch can tell.
    pub node_monitor_period: Duration,
    /// How long a node may be silent (`--node-monitor-grace-period`).
    pub node_monitor_grace_period: Duration,
    /// How long a new node may take to report for the first time (`--node-startup-grace-period`).
    pub node_startup_grace_period: Duration,
    /// Finished pods kept before the oldest are deleted (`--terminated-pod-gc-threshold`); zero keeps all.
    pub terminated_pod_gc_threshold: usize,
    /// What pods verify the API server with; published in every namespace as `kube-root-ca.crt`. Empty: not published.
    pub root_ca_pem: String,
    /// The CA that certificate requests are signed with; without one none is.
    pub signer: Option<Signer>,
    /// What signs the tokens that Secrets hold (`--service-account-private-key-file`); none are made without it.
    pub service_account_key: Option<crate::SigningKey>,
    /// Whether to wait for a Lease before doing anything, so that of several processes one acts.
    pub leader_elect: bool,
    /// Keys worked on at once, per controller.
    pub workers: usize,
    /// Requests under way at once for one key: pods of a ReplicaSet being created or deleted.
    pub burst: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cluster_cidr: "10.244.0.0/16".to_owned(),
            node_cidr_mask_size: 24,
            allocate_node_cidrs: true,
            node_monitor_period: Duration::from_secs(5),
            node_monitor_grace_period: Duration::from_secs(50),
            node_startup_grace_period: Duration::from_secs(60),
            terminated_pod_gc_threshold: 12_500,
            root_ca_pem: String::new(),
            signer: None,
            service_account_key: None,
            leader_elect: true,
            workers: 8,
            burst: 32,
        }
    }
}
