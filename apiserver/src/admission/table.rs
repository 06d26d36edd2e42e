//! Which plugins there are, in their order, and which of them are on by default.

use serde_json::Value;

use super::{
    Plugin, always, always_pull_images, anti_affinity, certificate_approval, certificate_signing,
    certificate_subject, default_class, default_tolerations, event_rate_limit, extended_resource_toleration,
    external_ips, limit_ranger, namespace_exists, namespace_lifecycle, node_restriction, owner_references,
    pod_node_selector, pod_resize, pod_security, pod_toleration_restriction, pod_topology_labels, policy,
    priority, resource_quota, runtime_class, service_account, storage, taint_nodes, trust_bundle_attest,
    webhook,
};

/// A plugin, or what it does not understand.
type Made = Result<Box<dyn Plugin>, String>;

/// How a plugin comes to be.
pub(super) enum Make {
    /// It needs to know nothing.
    Plain(fn() -> Box<dyn Plugin>),
    /// From its part of the configuration file, if that has one.
    Told(fn(Option<&Value>) -> Made),
    /// It is upstream's and not built here.
    Missing,
}

use self::Make::{Missing, Plain, Told};

/// Every plugin that upstream has, in the order in which they run, and whether it is on by default.
pub(super) const ALL: &[(&str, bool, Make)] = &[
    ("AlwaysAdmit", false, Plain(|| Box::new(always::AlwaysAdmit))),
    ("NamespaceAutoProvision", false, Plain(|| Box::new(namespace_exists::NamespaceAutoProvision))),
    ("NamespaceLifecycle", true, Plain(|| Box::new(namespace_lifecycle::NamespaceLifecycle::default()))),
    ("NamespaceExists", false, Plain(|| Box::new(namespace_exists::NamespaceExists))),
    (
        "LimitPodHardAntiAffinityTopology",
        false,
        Plain(|| Box::new(anti_affinity::LimitPodHardAntiAffinityTopology)),
    ),
    ("LimitRanger", true, Plain(|| Box::new(limit_ranger::LimitRanger))),
    ("ServiceAccount", true, Plain(|| Box::new(service_account::ServiceAccount))),
    ("NodeRestriction", true, Plain(|| Box::new(node_restriction::NodeRestriction))),
    ("TaintNodesByCondition", true, Plain(|| Box::new(taint_nodes::TaintNodesByCondition))),
    ("AlwaysPullImages", false, Plain(|| Box::new(always_pull_images::AlwaysPullImages))),
    ("ImagePolicyWebhook", false, Missing),
    ("PodSecurity", true, Told(pod_security::PodSecurity::make)),
    ("PodNodeSelector", false, Told(pod_node_selector::PodNodeSelector::make)),
    ("Priority", true, Plain(|| Box::new(priority::Priority))),
    ("DefaultTolerationSeconds", true, Plain(|| Box::new(default_tolerations::DefaultTolerationSeconds))),
    ("PodTolerationRestriction", false, Told(pod_toleration_restriction::PodTolerationRestriction::make)),
    ("EventRateLimit", false, Told(event_rate_limit::EventRateLimit::make)),
    (
        "ExtendedResourceToleration",
        false,
        Plain(|| Box::new(extended_resource_toleration::ExtendedResourceToleration)),
    ),
    ("DefaultStorageClass", true, Plain(|| Box::new(default_class::DefaultStorageClass))),
    ("StorageObjectInUseProtection", true, Plain(|| Box::new(storage::StorageObjectInUseProtection))),
    // On by default upstream, behind gates that are off.
    ("PodGroupProtection", false, Missing),
    (
        "OwnerReferencesPermissionEnforcement",
        false,
        Plain(|| Box::new(owner_references::OwnerReferencesPermissionEnforcement)),
    ),
    ("PersistentVolumeClaimResize", true, Plain(|| Box::new(storage::PersistentVolumeClaimResize))),
    ("RuntimeClass", true, Plain(|| Box::new(runtime_class::RuntimeClass))),
    ("CertificateApproval", true, Plain(|| Box::new(certificate_approval::CertificateApproval))),
    ("CertificateSigning", true, Plain(|| Box::new(certificate_signing::CertificateSigning))),
    ("ClusterTrustBundleAttest", true, Plain(|| Box::new(trust_bundle_attest::ClusterTrustBundleAttest))),
    (
        "CertificateSubjectRestriction",
        true,
        Plain(|| Box::new(certificate_subject::CertificateSubjectRestriction)),
    ),
    ("DefaultIngressClass", true, Plain(|| Box::new(default_class::DefaultIngressClass))),
    ("DenyServiceExternalIPs", false, Plain(|| Box::new(external_ips::DenyServiceExternalIPs))),
    ("PodTopologyLabels", true, Plain(|| Box::new(pod_topology_labels::PodTopologyLabels))),
    ("PodGroupWorkloadExists", false, Missing),
    ("NodeDeclaredFeatureValidator", false, Missing),
    ("JobValidation", false, Missing),
    ("PodResizeValidator", true, Plain(|| Box::new(pod_resize::PodResizeValidator))),
    // Those that ask others, that count, and that refuse all come last.
    ("MutatingAdmissionPolicy", true, Plain(|| Box::new(policy::MutatingAdmissionPolicy::default()))),
    ("MutatingAdmissionWebhook", true, Plain(|| Box::new(webhook::MutatingAdmissionWebhook::default()))),
    ("ValidatingAdmissionPolicy", true, Plain(|| Box::new(policy::ValidatingAdmissionPolicy::default()))),
    ("ValidatingAdmissionWebhook", true, Plain(|| Box::new(webhook::ValidatingAdmissionWebhook::default()))),
    ("ResourceQuota", true, Told(resource_quota::ResourceQuota::make)),
    ("AlwaysDeny", false, Plain(|| Box::new(always::AlwaysDeny))),
];
