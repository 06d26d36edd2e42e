//! Approves what node agents serve with, for the names and addresses that their Node object has and no other node does.
//!
//! Upstream leaves this to a person, since a node says itself which addresses it has. Here a new node serves logs and
//! `exec` without one; whoever wants to decide alone takes the binding `skiff:node-autoapprove-serving` away.

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::Node;
use skiff_api::certificate::{CertificateRequest, KUBELET_SERVING};

use super::usages;

/// Whether a request is a node's own, for its own names. `nodes` are all there are.
pub(super) fn is_own<'a>(
    request: &CertificateSigningRequest,
    asked: &CertificateRequest,
    nodes: impl Iterator<Item = &'a Node>,
) -> bool {
    if request.spec.signer_name != KUBELET_SERVING
        || request.spec.username.as_deref() != Some(&asked.common_name)
        || asked.check_kubelet_serving(&usages(request)).is_err()
    {
        return false;
    }
    let Some(own) = asked.common_name.strip_prefix("system:node:") else { return false };
    let wanted: Vec<String> =
        asked.names.dns.iter().cloned().chain(asked.names.ip.iter().map(ToString::to_string)).collect();
    let mut found = false;
    for node in nodes {
        let has = |name: &String| names(node).any(|known| known == name);
        if node.metadata.name.as_deref() == Some(own) {
            found = wanted.iter().all(has);
        } else if asked.names.dns.iter().any(has) {
            // Addresses may be shared by nodes of one machine, names may not.
            return false;
        }
    }
    found
}

/// The node's name, its host names and addresses.
fn names(node: &Node) -> impl Iterator<Item = &str> {
    let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    node.metadata.name.as_deref().into_iter().chain(addresses.map(|address| address.address.as_str()))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{NodeAddress, NodeStatus};
    use rcgen::{CertificateParams, DistinguishedName, DnType};

    use super::super::tests::of;
    use super::*;

    fn node(name: &str, addresses: &[&str]) -> Node {
        let mut node = Node::default();
        node.metadata.name = Some(name.into());
        let addresses = addresses
            .iter()
            .map(|address| NodeAddress { address: (*address).into(), type_: "InternalIP".into() });
        node.status = Some(NodeStatus { addresses: Some(addresses.collect()), ..Default::default() });
        node
    }

    #[test]
    fn a_node_is_given_its_own_names_only() {
        let nodes = [node("a", &["10.0.0.1", "a.example"]), node("b", &["10.0.0.2", "b.example"])];
        let table: [(&str, &str, &[&str], bool); 7] = [
            ("system:node:a", "system:node:a", &["a", "10.0.0.1"], true),
            ("system:node:a", "system:node:a", &["a.example"], true),
            ("system:node:a", "system:node:a", &["10.0.0.2"], false),
            ("system:node:a", "system:node:a", &["a", "b"], false),
            ("system:node:a", "system:node:a", &["kubernetes.default"], false),
            ("system:node:b", "system:node:a", &["a"], false),
            ("system:node:c", "system:node:c", &["c"], false),
        ];
        for (user, subject, hosts, expected) in table {
            let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
            let mut params = CertificateParams::new(hosts.clone()).unwrap();
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, subject);
            params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
            let mut request = of(KUBELET_SERVING, &params, &["digital signature", "server auth"]);
            request.spec.username = Some(user.into());
            let asked = CertificateRequest::from_pem(&request.spec.request.0).unwrap();
            assert_eq!(is_own(&request, &asked, nodes.iter()), expected, "{user} {subject} {hosts:?}");
        }
    }
}
