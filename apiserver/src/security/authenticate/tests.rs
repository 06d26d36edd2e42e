use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::security::token::tests::{NOW, Store, grant};

/// A CA, and a certificate of it for `name`.
pub(crate) fn ca_and_client(name: &str) -> (String, rustls::pki_types::CertificateDer<'static>) {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    let mut own = CertificateParams::default();
    own.distinguished_name.push(DnType::CommonName, name);
    let ca = Issuer::new(params, key);
    (pem, own.signed_by(&KeyPair::generate().unwrap(), &ca).unwrap().der().clone())
}

fn with(options: &Options, ca_pem: &str) -> Authenticator {
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    Authenticator::new(options, ca_pem, &key).unwrap()
}

fn plain() -> Authenticator {
    with(&Options::default(), &ca_and_client("x").0)
}

async fn ask(
    authenticator: &Authenticator,
    path: &str,
    headers: &[(&'static str, &str)],
    certificate: Option<&ShownCertificate>,
) -> Result<User, u16> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, value.parse().unwrap());
    }
    let shown = Credentials { certificate, headers: &map, path };
    let found = authenticator.authenticate(&shown, &Store::with_account(), NOW).await;
    found.map(|found| (*found.user).clone()).map_err(|status| status.code)
}

#[tokio::test]
async fn whoever_shows_nothing_is_let_in_on_open_paths_only() {
    let plain = plain();
    assert_eq!(ask(&plain, "/healthz", &[], None).await.unwrap().name, "system:anonymous");
    assert_eq!(ask(&plain, "/api", &[], None).await, Err(401));
    let bad = [("authorization", "Bearer nonsense")];
    assert_eq!(ask(&plain, "/healthz", &bad, None).await, Err(401), "bad credentials are worse than none");
    let open = Options { anonymous: Anonymous::Always, ..Options::default() };
    let open = with(&open, &ca_and_client("x").0);
    assert_eq!(ask(&open, "/api", &[], None).await.unwrap(), User::anonymous());
    assert_eq!(ask(&open, "/api", &bad, None).await, Err(401));
}

#[tokio::test]
async fn a_service_account_token_names_its_account() {
    let plain = plain();
    let header = format!("Bearer {}", plain.accounts.sign(&grant()).unwrap());
    for _ in 0..2 {
        let user = ask(&plain, "/api", &[("authorization", &header)], None).await.unwrap();
        assert_eq!(user.name, "system:serviceaccount:ns:sa");
        assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:ns", AUTHENTICATED]);
    }
    let none = Store::default();
    let mut headers = HeaderMap::new();
    headers.insert("authorization", header.parse().unwrap());
    let shown = Credentials { certificate: None, headers: &headers, path: "/api" };
    assert!(
        plain.authenticate(&shown, &none, NOW).await.is_err(),
        "remembered, and yet gone with its account"
    );
}

#[tokio::test]
async fn a_certificate_goes_before_a_token_and_a_bad_one_leaves_the_token() {
    let (ca, jane) = ca_and_client("jane");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens");
    std::fs::write(&file, "t,joe,u,\"dev\"\n").unwrap();
    let options = Options { token_auth_file: Some(file), ..Options::default() };
    let ours = with(&options, &ca);
    let joe = [("authorization", "Bearer t")];
    let shown = ours.certificate(std::slice::from_ref(&jane));
    assert_eq!(ask(&ours, "/api", &joe, Some(&shown)).await.unwrap().name, "jane");
    let foreign = ours.certificate(&[ca_and_client("mallory").1]);
    let user = ask(&ours, "/api", &joe, Some(&foreign)).await.unwrap();
    assert_eq!((user.name.as_str(), user.uid.as_str()), ("joe", "u"));
    assert_eq!(user.groups, ["dev", AUTHENTICATED]);
    assert_eq!(ask(&ours, "/healthz", &[], Some(&foreign)).await, Err(401));
}

#[tokio::test]
async fn a_proxys_headers_count_with_its_certificate_only() {
    let (ca, jane) = ca_and_client("jane");
    let (proxy_ca, front) = ca_and_client("front");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca");
    std::fs::write(&file, proxy_ca).unwrap();
    let front_proxy = front_proxy::Options {
        client_ca_file: Some(file),
        allowed_names: vec!["front".into()],
        username_headers: vec!["X-Remote-User".into()],
        group_headers: vec!["X-Remote-Group".into()],
        ..front_proxy::Options::default()
    };
    let mut options = Options { front_proxy, ..Options::default() };
    let ours = with(&options, &ca);
    let headers = [("x-remote-user", "root"), ("x-remote-group", "system:masters")];
    let (jane, front) = (ours.certificate(&[jane]), ours.certificate(&[front]));
    let user = ask(&ours, "/api", &headers, Some(&front)).await.unwrap();
    assert_eq!(
        (user.name.as_str(), user.groups),
        ("root", vec!["system:masters".into(), AUTHENTICATED.into()])
    );
    assert_eq!(ask(&ours, "/api", &headers, Some(&jane)).await.unwrap().name, "jane");
    assert_eq!(ask(&ours, "/api", &headers, None).await, Err(401));
    assert_eq!(ask(&ours, "/api", &[], Some(&front)).await, Err(401), "a proxy by itself is nobody");
    options.front_proxy.allowed_names = vec!["other".into()];
    let strict = with(&options, &ca);
    assert_eq!(ask(&strict, "/api", &headers, Some(&front)).await, Err(401));
}

#[tokio::test]
async fn tokens_without_an_audience_are_for_this_server() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens");
    std::fs::write(&file, "t,joe,u\n").unwrap();
    let options = Options { token_auth_file: Some(file), ..Options::default() };
    let ours = with(&options, &ca_and_client("x").0);
    let store = Store(BTreeMap::new());
    let found = ours.review("t", &[], &store, NOW).await.unwrap();
    assert_eq!(found.audiences, [ISSUER]);
    let why = ours.review("t", &["vault".into()], &store, NOW).await.unwrap_err();
    assert_eq!(why.0, "invalid bearer token");
}

#[test]
fn several_reasons_are_told_once_each() {
    let mut errors = Errors::default();
    assert_eq!(errors.text(), "");
    errors.add("a".into());
    errors.add("a".into());
    assert_eq!(errors.text(), "a");
    errors.add("b".into());
    assert_eq!(errors.text(), "[a, b]");
}

#[tokio::test]
async fn a_bootstrap_token_is_taken_only_where_it_is_switched_on() {
    use base64::Engine;
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let mut store = Store::default();
    store.put(
        "secrets",
        json!({"metadata": {"namespace": "kube-system", "name": "bootstrap-token-abcdef"},
            "type": "bootstrap.kubernetes.io/token",
            "data": {"token-id": encode("abcdef"), "token-secret": encode("0123456789abcdef"),
                "usage-bootstrap-authentication": encode("true")}}),
    );
    let token = "abcdef.0123456789abcdef";
    let off = plain();
    assert!(off.review(token, &[], &store, NOW).await.is_err());
    let on = Options { bootstrap_tokens: true, ..Options::default() };
    let on = with(&on, &ca_and_client("x").0);
    let user = on.review(token, &[], &store, NOW).await.unwrap().user;
    assert_eq!(user.name, "system:bootstrap:abcdef");
    assert_eq!(user.groups, ["system:bootstrappers", AUTHENTICATED]);
}
