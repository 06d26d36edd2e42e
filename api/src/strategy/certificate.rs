//! CertificateSigningRequests and ClusterTrustBundles: what must be read as a certificate.
//!
//! Behaviour as upstream's `pkg/apis/certificates/validation`. Which conditions a write may touch depends on the
//! subresource, and is the API server's to say.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{IMMUTABLE, Strategy, list, text};
use crate::status::{FieldError, Problem};
use crate::{Object, certificate, meta, name};

/// What a certificate may be used for, sorted as upstream prints them.
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// Conditions that are true or not there.
const DECISIONS: [&str; 3] = ["Approved", "Denied", "Failed"];
const MOST_BUNDLE: usize = 1024 * 1024;

/// The strategy of CertificateSigningRequests.
pub struct SigningRequest;

/// The strategy of ClusterTrustBundles.
pub struct TrustBundle;

impl Strategy for SigningRequest {
    fn prepare(&self, new: &mut Object, old: Option<&Object>) {
        // What was asked for stays as it was; only its answer changes.
        if let Some(old) = old {
            new["spec"] = old["spec"].clone();
        }
    }

    fn validate(&self, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let spec = &new["spec"];
        let mut errors = Vec::new();
        if old.is_none() {
            if let Err(why) = certificate::check_request(&decoded(spec, "request")) {
                errors.push(FieldError::invalid("spec.request", spec["request"].clone(), why));
            }
            for (index, usage) in list(spec, "usages").iter().enumerate() {
                if !usage.as_str().is_some_and(|usage| USAGES.contains(&usage)) {
                    let path = format!("spec.usages[{index}]");
                    errors.push(FieldError::not_supported(path, usage.clone(), &USAGES));
                }
            }
            match text(spec, "signerName") {
                certificate::LEGACY_UNKNOWN => errors.push(FieldError::invalid(
                    "spec.signerName",
                    certificate::LEGACY_UNKNOWN,
                    "the legacy signerName is not allowed via this API version",
                )),
                signer => errors.extend(signer_name(signer)),
            }
        }
        errors.extend(conditions(&new["status"], old.map(|old| &old["status"])));
        let issued = text(&new["status"], "certificate");
        if old.is_none_or(|old| text(&old["status"], "certificate") != issued)
            && let Err(why) = certificate::check_issued(&decoded(&new["status"], "certificate"))
        {
            errors.push(FieldError::invalid("status.certificate", "<certificate data>", why));
        }
        errors
    }
}

fn decoded(object: &Value, field: &str) -> Vec<u8> {
    STANDARD.decode(text(object, field)).unwrap_or_default()
}

fn conditions(status: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let path = "status.conditions";
    let mut errors = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for (index, condition) in list(status, "conditions").iter().enumerate() {
        let at = |field: &str| format!("{path}[{index}].{field}");
        let sort = text(condition, "type");
        if sort.is_empty() {
            errors.push(FieldError::required(at("type"), ""));
        }
        let allowed: &[&str] =
            if DECISIONS.contains(&sort) { &["True"] } else { &["False", "True", "Unknown"] };
        match text(condition, "status") {
            "" => errors.push(FieldError::required(at("status"), "")),
            value if allowed.contains(&value) => {}
            value => errors.push(FieldError::not_supported(at("status"), value, allowed)),
        }
        let opposite = match sort {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "",
        };
        if seen.contains(&opposite) && !old.is_some_and(is_both) {
            errors.push(FieldError::invalid(
                path,
                sort,
                "Approved and Denied conditions are mutually exclusive",
            ));
        }
        if seen.contains(&sort) {
            errors.push(FieldError::duplicate(at("type"), sort));
        }
        seen.push(sort);
    }
    errors
}

/// One that was stored with both decisions keeps them.
fn is_both(status: &Value) -> bool {
    let has = |sort| list(status, "conditions").iter().any(|condition| text(condition, "type") == sort);
    has("Approved") && has("Denied")
}

/// What is wrong with the name of a signer (`domain/path`).
fn signer_name(signer: &str) -> Vec<FieldError> {
    let path = "spec.signerName";
    let Some((domain, rest)) = signer.split_once('/').filter(|(_, rest)| !rest.contains('/')) else {
        if signer.is_empty() {
            // The table of rules says that it is required.
            return Vec::new();
        }
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return vec![FieldError::invalid(path, signer, why)];
    };
    let too_long = |most: usize| {
        FieldError::new(Problem::TooLong, path, Value::Null, format!("may not be more than {most} bytes"))
    };
    let mut errors = Vec::new();
    if domain.len() > 253 {
        errors.push(too_long(253));
    }
    let first_bad = |whole: &str, check: fn(&str) -> Vec<String>| {
        let bad = whole.split('.').map(|label| (label, check(label))).find(|(_, whys)| !whys.is_empty());
        let (label, whys) = bad.unwrap_or_default();
        let told = whys.into_iter().map(|why| format!("validating label {label:?}: {why}"));
        told.map(|why| FieldError::invalid(path, whole, why)).collect::<Vec<_>>()
    };
    errors.extend(first_bad(domain, name::dns1123_label));
    if !domain.contains('.') {
        let why = "should be a domain with at least two segments separated by dots";
        errors.push(FieldError::invalid(path, domain, why));
    }
    errors.extend(first_bad(rest, name::dns1123_subdomain));
    if signer.len() > 571 {
        errors.push(too_long(571));
    }
    errors
}

impl Strategy for TrustBundle {
    fn validate(&self, new: &Object, old: Option<&Object>) -> Vec<FieldError> {
        let signer = text(&new["spec"], "signerName");
        let mut errors: Vec<FieldError> = bundle_name(signer, meta::name(new))
            .into_iter()
            .map(|why| FieldError::invalid("metadata.name", meta::name(new), why))
            .collect();
        errors.extend(signer_name(signer));
        let bundle = text(&new["spec"], "trustBundle");
        if old.is_none_or(|old| text(&old["spec"], "trustBundle") != bundle) {
            errors.extend(trust_bundle(bundle));
        }
        if old.is_some_and(|old| text(&old["spec"], "signerName") != signer) {
            errors.push(FieldError::invalid("spec.signerName", signer, IMMUTABLE));
        }
        errors
    }
}

fn bundle_name(signer: &str, given: &str) -> Vec<String> {
    if signer.is_empty() {
        if given.contains(':') {
            return vec![r#"ClusterTrustBundle without signer name must not have ":" in its name"#.into()];
        }
        return name::dns1123_subdomain(given);
    }
    let prefix = format!("{}:", signer.replace('/', ":"));
    match given.strip_prefix(&prefix) {
        Some(rest) => name::dns1123_subdomain(rest),
        None => {
            vec![format!("ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}")]
        }
    }
}

fn trust_bundle(bundle: &str) -> Vec<FieldError> {
    let path = "spec.trustBundle";
    if bundle.len() > MOST_BUNDLE {
        let why = format!("may not be more than {MOST_BUNDLE} bytes");
        return vec![FieldError::new(Problem::TooLong, path, Value::Null, why)];
    }
    let refuse = |why: String| FieldError::invalid(path, "<value omitted>", why);
    let mut errors = Vec::new();
    let mut anchors: Vec<(Vec<u8>, Vec<usize>)> = Vec::new();
    for (index, block) in certificate::blocks(bundle.as_bytes()).map_while(Result::ok).enumerate() {
        if block.label != "CERTIFICATE" {
            errors.push(refuse(format!("entry {index} has bad block type: {}", block.label)));
            continue;
        }
        match X509Certificate::from_der(&block.contents) {
            Err(_) => errors.push(refuse(format!("entry {index} does not parse as X.509"))),
            Ok((_, certificate)) if !certificate.is_ca() => {
                errors.push(refuse(format!("entry {index} does not have the CA bit set")));
            }
            Ok(_) => match anchors.iter_mut().find(|(der, _)| *der == block.contents) {
                Some((_, indices)) => indices.push(index),
                None => anchors.push((block.contents, vec![index])),
            },
        }
    }
    if !errors.is_empty() {
        return errors;
    }
    if anchors.is_empty() {
        return vec![refuse("at least one trust anchor must be provided".into())];
    }
    let twins = anchors.iter().filter(|(_, indices)| indices.len() > 1);
    twins
        .map(|(_, indices)| {
            let indices: Vec<String> = indices.iter().map(ToString::to_string).collect();
            refuse(format!("duplicate trust anchor (indices [{}])", indices.join(" ")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
    use serde_json::json;

    use super::*;
    use crate::{builtin, validate, walk};

    fn request() -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "jane");
        let key = KeyPair::generate().unwrap();
        STANDARD.encode(params.serialize_request(&key).unwrap().pem().unwrap())
    }

    fn object() -> Value {
        json!({"metadata": {"name": "r"}, "spec": {"signerName": "example.com/own", "request": request(),
            "usages": ["client auth"]}})
    }

    fn check(new: &Value, old: Option<&Value>) -> Vec<String> {
        let registry = builtin::registry();
        let kind = registry.kind("certificates.k8s.io", "CertificateSigningRequest").unwrap();
        let mut new = new.clone();
        walk::normalise(&kind.stored().schema, &mut new);
        validate::validate(kind, kind.stored(), &new, old).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn requests_are_checked_in_upstreams_words() {
        let table = [
            (json!({}), ""),
            (
                json!({"request": "LQ=="}),
                r#"spec.request: Invalid value: "LQ==": PEM block type must be CERTIFICATE REQUEST"#,
            ),
            (json!({"usages": []}), "spec.usages: Required value"),
            (
                json!({"usages": ["client auth", "client auth"]}),
                r#"spec.usages[1]: Duplicate value: "client auth""#,
            ),
            (
                json!({"usages": ["x"]}),
                r#"spec.usages[0]: Unsupported value: "x": supported values: "any", "cert sign""#,
            ),
            (
                json!({"signerName": "kubernetes.io/legacy-unknown"}),
                "the legacy signerName is not allowed via this API version",
            ),
            (
                json!({"signerName": "own"}),
                "must be a fully qualified domain and path of the form 'example.com/signer-name'",
            ),
            (
                json!({"signerName": "own/x"}),
                r#"spec.signerName: Invalid value: "own": should be a domain with at least two"#,
            ),
            (
                json!({"signerName": "a.b/X"}),
                r#"spec.signerName: Invalid value: "X": validating label "X": a lowercase"#,
            ),
            (json!({"signerName": ""}), "spec.signerName: Required value"),
            (
                json!({"expirationSeconds": 599}),
                "may not specify a duration less than 600 seconds (10 minutes)",
            ),
        ];
        for (change, expected) in table {
            let mut new = object();
            for (key, value) in change.as_object().unwrap() {
                new["spec"][key] = value.clone();
            }
            let errors = check(&new, None);
            if expected.is_empty() {
                assert!(errors.is_empty(), "{errors:?}");
            } else {
                assert!(errors.len() == 1 && errors[0].contains(expected), "{change}: {errors:?}");
            }
        }
    }

    #[test]
    fn decisions_are_true_and_exclude_each_other() {
        let condition = |sort: &str, status: &str| json!({"type": sort, "status": status});
        let table = [
            (json!([condition("Approved", "True")]), ""),
            (json!([condition("Own", "Unknown")]), ""),
            (
                json!([condition("Approved", "False")]),
                r#"status.conditions[0].status: Unsupported value: "False": supported values: "True""#,
            ),
            (json!([condition("", "True")]), "status.conditions[0].type: Required value"),
            (json!([condition("Own", "")]), "status.conditions[0].status: Required value"),
            (
                json!([condition("Approved", "True"), condition("Denied", "True")]),
                "Approved and Denied conditions are mutually exclusive",
            ),
            (
                json!([condition("Own", "True"), condition("Own", "True")]),
                "status.conditions[1].type: Duplicate value",
            ),
        ];
        let old = object();
        for (conditions, expected) in table {
            let mut new = old.clone();
            new["status"] = json!({"conditions": conditions});
            let errors = super::conditions(&new["status"], Some(&old["status"]));
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            if expected.is_empty() {
                assert!(errors.is_empty(), "{errors:?}");
            } else {
                assert!(errors.len() == 1 && errors[0].contains(expected), "{conditions}: {errors:?}");
            }
        }
    }

    #[test]
    fn what_was_asked_for_cannot_be_changed() {
        let old = object();
        let mut new = old.clone();
        new["spec"]["signerName"] = "example.com/other".into();
        SigningRequest.prepare(&mut new, Some(&old));
        assert_eq!(new, old);
    }

    #[test]
    fn trust_bundles_hold_authorities_each_once() {
        let pem = |is_ca| {
            let mut params = CertificateParams::default();
            if is_ca {
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            }
            params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
        };
        let (ca, other) = (pem(true), pem(false));
        let table = [
            (ca.clone(), ""),
            (String::new(), "at least one trust anchor must be provided"),
            (format!("{ca}{ca}"), "duplicate trust anchor (indices [0 1])"),
            (format!("{ca}{other}"), "entry 1 does not have the CA bit set"),
            (ca.replace("CERTIFICATE", "THING"), "entry 0 has bad block type: THING"),
            (
                "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n".into(),
                "entry 0 does not parse as X.509",
            ),
        ];
        for (bundle, expected) in table {
            let errors: Vec<String> =
                trust_bundle(&bundle).iter().map(|error| error.detail.clone()).collect();
            let expected: Vec<&str> = if expected.is_empty() { vec![] } else { vec![expected] };
            assert_eq!(errors, expected);
        }
        for (signer, name, count) in [
            ("", "a.b", 0),
            ("", "a:b", 1),
            ("example.com/x", "example.com:x:v1", 0),
            ("example.com/x", "v1", 1),
            ("example.com/x", "example.com:x:V", 1),
        ] {
            assert_eq!(bundle_name(signer, name).len(), count, "{signer} {name}");
        }
    }
}
