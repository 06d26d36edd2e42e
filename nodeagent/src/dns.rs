//! `/etc/resolv.conf` and `/etc/hosts` of a pod: pure.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Pod, PodSpec};

/// The resolver's limits, as upstream keeps them.
const MAX_NAMESERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;

/// A resolver file, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolver {
    /// Servers.
    pub servers: Vec<String>,
    /// Domains that are tried.
    pub searches: Vec<String>,
    /// Options.
    pub options: Vec<String>,
}

impl Resolver {
    /// Reads a file.
    pub fn parse(text: &str) -> Self {
        let mut read = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => read.servers.extend(words.next().map(str::to_owned)),
                // The last of several wins.
                Some("search") => read.searches = words.filter(|w| *w != ".").map(str::to_owned).collect(),
                Some("options") => read.options = words.map(str::to_owned).collect(),
                _ => {}
            }
        }
        read
    }

    /// Writes a file.
    pub fn render(&self) -> String {
        let mut out = String::new();
        if !self.searches.is_empty() {
            out += &format!("search {}\n", self.searches.join(" "));
        }
        for server in &self.servers {
            out += &format!("nameserver {server}\n");
        }
        if !self.options.is_empty() {
            out += &format!("options {}\n", self.options.join(" "));
        }
        out
    }
}

/// The resolver of a pod, by its `dnsPolicy` and `dnsConfig`.
pub fn resolver(
    spec: &PodSpec,
    namespace: &str,
    host: &Resolver,
    cluster_dns: &[IpAddr],
    domain: &str,
) -> Resolver {
    let host_network = spec.host_network == Some(true);
    let mut made = match spec.dns_policy.as_deref().unwrap_or("ClusterFirst") {
        "None" => Resolver::default(),
        "ClusterFirst" if !host_network && !cluster_dns.is_empty() => {
            cluster(namespace, host, cluster_dns, domain)
        }
        "ClusterFirstWithHostNet" if !cluster_dns.is_empty() => cluster(namespace, host, cluster_dns, domain),
        _ => host.clone(),
    };
    if let Some(config) = &spec.dns_config {
        add(&mut made.servers, config.nameservers.iter().flatten());
        add(&mut made.searches, config.searches.iter().flatten());
        for option in config.options.iter().flatten() {
            let Some(name) = &option.name else { continue };
            made.options.retain(|o| o.split(':').next() != Some(name));
            made.options.push(option.value.as_ref().map_or_else(|| name.clone(), |v| format!("{name}:{v}")));
        }
    }
    made.servers.truncate(MAX_NAMESERVERS);
    made.searches.truncate(MAX_SEARCHES);
    made
}

fn cluster(namespace: &str, host: &Resolver, cluster_dns: &[IpAddr], domain: &str) -> Resolver {
    let mut searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.to_owned()];
    add(&mut searches, host.searches.iter());
    Resolver {
        servers: cluster_dns.iter().map(IpAddr::to_string).collect(),
        searches,
        options: vec!["ndots:5".into()],
    }
}

fn add<'a>(list: &mut Vec<String>, more: impl Iterator<Item = &'a String>) {
    for one in more {
        if !list.contains(one) {
            list.push(one.clone());
        }
    }
}

/// The pod's host name, and its domain when it has a subdomain.
pub fn hostname(pod: &Pod, domain: &str) -> (String, Option<String>) {
    let spec = pod.spec.clone().unwrap_or_default();
    let name =
        spec.hostname.filter(|h| !h.is_empty()).or_else(|| pod.metadata.name.clone()).unwrap_or_default();
    // The kernel's limit, counted in characters of a DNS name; a cut must not end in a separator.
    let name = name.chars().take(63).collect::<String>().trim_end_matches(['-', '.']).to_owned();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let full = spec.subdomain.filter(|s| !s.is_empty()).map(|s| format!("{s}.{namespace}.svc.{domain}"));
    (name, full)
}

/// `/etc/hosts` of a pod; one with the host's network gets the host's file and its aliases.
pub fn hosts(pod: &Pod, ip: IpAddr, domain: &str, host_file: &str) -> String {
    let spec = pod.spec.clone().unwrap_or_default();
    let mut out = if spec.host_network == Some(true) {
        format!("# Kubernetes-managed hosts file (host network).\n{host_file}")
    } else {
        let (name, full) = hostname(pod, domain);
        let line =
            full.map_or_else(|| format!("{ip}\t{name}\n"), |full| format!("{ip}\t{name}.{full}\t{name}\n"));
        format!(
            "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
             fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n{line}"
        )
    };
    let aliases = spec.host_aliases.unwrap_or_default();
    if !aliases.is_empty() {
        out += "\n# Entries added by HostAliases.\n";
        for alias in aliases {
            out += &format!("{}\t{}\n", alias.ip, alias.hostnames.unwrap_or_default().join("\t"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(spec: serde_json::Value) -> String {
        let mut spec = spec;
        spec["containers"] = serde_json::json!([]);
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        let host = Resolver::parse("nameserver 9.9.9.9\nsearch corp.example\noptions timeout:1\n");
        resolver(&spec, "ns", &host, &["10.96.0.10".parse().unwrap()], "cluster.local").render()
    }

    #[test]
    fn the_policy_decides_who_is_asked() {
        let cluster = "search ns.svc.cluster.local svc.cluster.local cluster.local corp.example\nnameserver 10.96.0.10\noptions ndots:5\n";
        let host = "search corp.example\nnameserver 9.9.9.9\noptions timeout:1\n";
        assert_eq!(made(serde_json::json!({})), cluster);
        assert_eq!(made(serde_json::json!({"hostNetwork": true})), host);
        assert_eq!(
            made(serde_json::json!({"hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"})),
            cluster
        );
        assert_eq!(made(serde_json::json!({"dnsPolicy": "Default"})), host);
        let own = serde_json::json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"], "options": [{"name": "ndots", "value": "2"}]}});
        assert_eq!(made(own), "nameserver 1.1.1.1\noptions ndots:2\n");
    }

    #[test]
    fn a_pod_finds_its_own_name() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "web-0", "namespace": "ns"},
            "spec": {"containers": [], "hostname": "web-0", "subdomain": "web",
                "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]}
        }))
        .unwrap();
        let file = hosts(&pod, "10.244.0.7".parse().unwrap(), "cluster.local", "");
        assert!(file.contains("10.244.0.7\tweb-0.web.ns.svc.cluster.local\tweb-0\n"), "{file}");
        assert!(file.contains("1.2.3.4\ta\tb\n"), "{file}");
    }
}
