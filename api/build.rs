//! Writes the structure of every built-in type into `OUT_DIR`: `schemas.json` without
//! descriptions, which each start decodes, and `described.json.gz` with them, for OpenAPI.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use serde_json::Value;

macro_rules! add {
    ($generator:ident, $($group:ident :: $version:ident { $($kind:ident),* $(,)? })*) => {
        $($($generator.subschema_for::<k8s_openapi::api::$group::$version::$kind>();)*)*
    };
}

const KINDS: &str = "kinds/builtin.txt";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={KINDS}");
    let mut generator = schemars::SchemaGenerator::default();
    add!(generator,
        core::v1 {
            Namespace, Node, Pod, PodTemplate, ReplicationController, Service, Endpoints, ConfigMap, Secret,
            ServiceAccount, Event, LimitRange, ResourceQuota, PersistentVolume, PersistentVolumeClaim, Binding,
            ComponentStatus,
        }
        events::v1 { Event }
        discovery::v1 { EndpointSlice }
        coordination::v1 { Lease }
        apps::v1 { Deployment, ReplicaSet, StatefulSet, DaemonSet, ControllerRevision }
        batch::v1 { Job, CronJob }
        autoscaling::v1 { Scale, HorizontalPodAutoscaler }
        autoscaling::v2 { HorizontalPodAutoscaler }
        policy::v1 { PodDisruptionBudget, Eviction }
        networking::v1 { Ingress, IngressClass, NetworkPolicy, IPAddress, ServiceCIDR }
        rbac::v1 { Role, ClusterRole, RoleBinding, ClusterRoleBinding }
        scheduling::v1 { PriorityClass }
        node::v1 { RuntimeClass }
        storage::v1 {
            StorageClass, CSIDriver, CSINode, CSIStorageCapacity, VolumeAttachment, VolumeAttributesClass,
        }
        certificates::v1 { CertificateSigningRequest }
        admissionregistration::v1 {
            MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, MutatingWebhookConfiguration,
            ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration,
        }
        flowcontrol::v1 { FlowSchema, PriorityLevelConfiguration }
        resource::v1 { DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice }
        authentication::v1 { TokenRequest, TokenReview, SelfSubjectReview }
        authorization::v1 {
            SubjectAccessReview, SelfSubjectAccessReview, LocalSubjectAccessReview, SelfSubjectRulesReview,
        }
    );
    generator.subschema_for::<
        k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    >();
    generator.subschema_for::<k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService>();
    {
        use k8s_openapi::apimachinery::pkg::apis::meta::v1;
        generator.subschema_for::<v1::APIGroup>();
        generator.subschema_for::<v1::APIVersions>();
        generator.subschema_for::<v1::DeleteOptions>();
        generator.subschema_for::<v1::ListMeta>();
        generator.subschema_for::<v1::Status>();
        generator.subschema_for::<v1::WatchEvent<k8s_openapi::apimachinery::pkg::runtime::RawExtension>>();
    }
    let mut definitions = Value::Object(generator.take_definitions(true));

    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let file = std::fs::File::create(out.join("described.json.gz")).expect("OUT_DIR can be written");
    let mut packed = flate2::write::GzEncoder::new(file, flate2::Compression::best());
    packed.write_all(definitions.to_string().as_bytes()).expect("OUT_DIR can be written");
    packed.finish().expect("OUT_DIR can be written");

    let columns = serde_json::to_string(&column_docs(&definitions)).expect("text is valid JSON");
    std::fs::write(out.join("columns.json"), columns).expect("OUT_DIR can be written");

    strip(&mut definitions);
    std::fs::write(out.join("schemas.json"), definitions.to_string()).expect("OUT_DIR can be written");
}

/// What is said of the fields that columns of `kinds/builtin.txt` refer to (`@core.v1.PodSpec.nodeName`).
fn column_docs(definitions: &Value) -> BTreeMap<String, String> {
    let kinds = std::fs::read_to_string(KINDS).expect("the kinds are beside this script");
    let references = kinds.lines().filter_map(|line| line.rsplit_once("|@").map(|(_, reference)| reference));
    let doc = |reference: &str| {
        let (definition, field) = reference.rsplit_once('.')?;
        let name = match definition.strip_prefix("meta.") {
            Some(rest) => format!("io.k8s.apimachinery.pkg.apis.meta.{rest}"),
            None => format!("io.k8s.api.{definition}"),
        };
        Some(definitions.get(name)?["properties"][field]["description"].as_str()?.to_owned())
    };
    references
        .chain(["meta.v1.ObjectMeta.name", "meta.v1.ObjectMeta.creationTimestamp"])
        .map(|reference| {
            let doc = doc(reference).unwrap_or_else(|| panic!("{KINDS}: nothing is said of {reference}"));
            (reference.to_owned(), doc)
        })
        .collect()
}

/// Removes descriptions: those keys whose value is text (a field may be called `description`).
fn strip(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, value| !(key == "description" && value.is_string()));
            map.values_mut().for_each(strip);
        }
        Value::Array(list) => list.iter_mut().for_each(strip),
        _ => {}
    }
}
