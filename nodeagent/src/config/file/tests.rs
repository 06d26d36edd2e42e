use std::path::PathBuf;
use std::time::Duration;

use super::*;

fn with(fields: &str) -> Result<(Config, Vec<String>), String> {
    let head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";
    let config = Config::new("n", [127, 0, 0, 1].into(), "/tmp");
    SCHEMA.parse(&format!("{head}{fields}"), config)
}

#[test]
fn supported_fields_are_taken() {
    let (config, warnings) = with("\
address: 127.0.0.2
port: 10333
healthzPort: 10248
healthzBindAddress: 127.0.0.3
tlsCertFile: /pki/n.crt
tlsPrivateKeyFile: /pki/n.key
authentication: {anonymous: {enabled: false}, webhook: {enabled: false, cacheTTL: 0s}, x509: {clientCAFile: /pki/ca.crt}}
clusterDNS: [10.96.0.10]
clusterDomain: example.local
nodeStatusReportFrequency: 1m0s
nodeStatusUpdateFrequency: 10s
nodeLeaseDurationSeconds: 8
maxPods: 17
podCIDR: 10.244.7.0/24
resolvConf: /run/resolv.conf
nodeStatusMaxImages: -1
containerLogMaxSize: 1Mi
containerLogMaxFiles: 2
systemReserved: {cpu: 100m, memory: 100Mi}
kubeReserved: {cpu: '1', ephemeral-storage: 1Gi}
registerWithTaints: [{key: a, value: b, effect: NoSchedule}]
providerID: x://y
failSwapOn: false
rotateCertificates: false
staticPodPath: ''
")
    .unwrap();
    assert_eq!(warnings, [""; 0]);
    assert_eq!(config.listen.to_string(), "127.0.0.2:10333");
    assert_eq!(config.healthz, Some(([127, 0, 0, 3], 10248).into()));
    assert_eq!(config.files.tls_cert, Some(PathBuf::from("/pki/n.crt")));
    assert_eq!(config.files.client_ca, Some(PathBuf::from("/pki/ca.crt")));
    assert_eq!(config.cluster_domain, "example.local");
    assert_eq!(
        config.status_interval,
        Duration::from_secs(60),
        "its own interval wins over the default for it"
    );
    assert_eq!(config.lease_interval(), Duration::from_secs(2));
    assert_eq!((config.max_pods, config.max_images), (17, None));
    assert_eq!(config.pod_cidr.as_deref(), Some("10.244.7.0/24"));
    assert_eq!((config.container_log.max_size.as_str(), config.container_log.max_files), ("1048576", 2));
    let reserved = Allocatable { cpu_millis: 1100, memory_bytes: 100 << 20, storage_bytes: 1 << 30 };
    assert_eq!(config.reserved, reserved);
    assert_eq!(config.taints, ["a=b:NoSchedule"]);
}

/// What kubeadm writes: nothing in it is unknown, and what has no effect is named.
#[test]
fn a_file_made_for_upstream_is_read_as_it_is() {
    let (config, warnings) = with("\
authentication:
  anonymous: {enabled: false}
  webhook: {cacheTTL: 0s, enabled: true}
  x509: {clientCAFile: /etc/kubernetes/pki/ca.crt}
authorization: {mode: Webhook, webhook: {cacheAuthorizedTTL: 0s, cacheUnauthorizedTTL: 0s}}
cgroupDriver: systemd
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
containerRuntimeEndpoint: \"\"
cpuManagerReconcilePeriod: 0s
crashLoopBackOff: {}
evictionPressureTransitionPeriod: 0s
fileCheckFrequency: 0s
healthzBindAddress: 127.0.0.1
healthzPort: 10248
httpCheckFrequency: 0s
imageMaximumGCAge: 0s
imageMinimumGCAge: 0s
logging: {flushFrequency: 0, options: {json: {infoBufferSize: \"0\"}, text: {infoBufferSize: \"0\"}}, verbosity: 0}
memorySwap: {}
nodeStatusReportFrequency: 0s
nodeStatusUpdateFrequency: 0s
resolvConf: /run/systemd/resolve/resolv.conf
rotateCertificates: true
runtimeRequestTimeout: 0s
shutdownGracePeriod: 0s
shutdownGracePeriodCriticalPods: 0s
staticPodPath: /etc/kubernetes/manifests
streamingConnectionIdleTimeout: 0s
syncFrequency: 0s
volumeStatsAggPeriod: 0s
")
    .unwrap();
    assert_eq!(config.status_interval, Duration::from_secs(300));
    let named: Vec<&str> = warnings.iter().filter_map(|text| text.split(": ").nth(1)).collect();
    let expected = [
        "staticPodPath",
        "rotateCertificates",
        "authentication.webhook.enabled",
        "authorization.mode",
        "cgroupDriver",
    ];
    assert_eq!(named, expected);
}

#[test]
fn wrong_input_is_refused_by_line_and_name() {
    for (fields, expected) in [
        ("maxpods: 3", "line 3: unknown field \"maxpods\""),
        (
            "authentication: {x509: {clientCaFile: x}}",
            "line 3: unknown field \"authentication.x509.clientCaFile\"",
        ),
        ("maxPods: -1", "line 3: maxPods: -1: expected a whole number that is not negative"),
        ("maxPods: 1\nport: 70000", "line 4: port: 70000: expected a port"),
        ("clusterDNS: [x]", "line 3: clusterDNS: [\"x\"]: expected a list of IP addresses"),
        ("nodeStatusUpdateFrequency: 10", "line 3: nodeStatusUpdateFrequency: 10: expected a duration"),
        ("systemReserved: {cpus: 1}", "line 3: systemReserved"),
        ("registerWithTaints: [{key: a, effect: Never}]", "line 3: registerWithTaints"),
        ("crashLoopBackOff: 3", "line 3: crashLoopBackOff: 3: expected an object"),
    ] {
        let message = with(fields).unwrap_err();
        assert!(message.starts_with(expected), "{message}");
    }
}
