use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use skiff_apiserver::security::certificate;

use super::*;

/// A directory that goes with the test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("skiff-pki-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn open(&self, hosts: &[&str]) -> anyhow::Result<Pki> {
        Pki::open_for(
            &self.0.join("pki"),
            hosts.iter().map(|host| (*host).to_owned()).collect(),
            &["n1".into()],
        )
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn facts(pem: &str) -> certificate::Facts {
    certificate::facts(&CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap()
}

#[test]
fn everyone_has_a_name_a_group_and_a_file_that_only_the_owner_reads() {
    let dir = Dir::new("names");
    let pki = dir.open(&["192.0.2.7", "0.0.0.0", "me"]).unwrap();
    pki.write_kubeconfigs(&dir.0, "https://127.0.0.1:6443", &["n1".into()]).unwrap();
    let table = [
        ("admin", "kubernetes-admin", &["system:masters"][..]),
        ("scheduler", "system:kube-scheduler", &[]),
        ("controller", "system:kube-controller-manager", &[]),
        ("proxy", "system:kube-proxy", &[]),
        ("node-n1", "system:node:n1", &["system:nodes"]),
        ("apiserver-kubelet-client", "kube-apiserver-kubelet-client", &["system:masters"]),
    ];
    for (file, name, groups) in table {
        let facts = facts(&dir.text(&format!("pki/{file}.crt")));
        assert_eq!(
            (facts.name.as_str(), facts.groups),
            (name, groups.iter().map(|g| (*g).to_owned()).collect())
        );
        assert_eq!(facts.issuer_key_id, self::facts(pki.ca_pem()).key_id);
    }
    let hosts = facts(&dir.text("pki/apiserver.crt")).hosts;
    for host in ["kubernetes.default.svc", "localhost", "127.0.0.1", "10.96.0.1", "192.0.2.7", "me"] {
        assert!(hosts.contains(host), "{host}");
    }
    assert!(!hosts.contains("0.0.0.0"));
    for entry in fs::read_dir(dir.0.join("pki")).unwrap().map(Result::unwrap) {
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
    }
    assert_eq!(fs::metadata(dir.0.join("kubeconfig")).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(dir.text("pki/node-n1.kubeconfig").contains("user: system:node:n1"));
    let clients = skiff_apiserver::security::tls::AnyClient::new(Vec::new());
    pki.server_config(pki.shown().unwrap(), clients).unwrap();
}

#[test]
fn what_still_serves_is_kept_and_what_does_not_is_remade() {
    let dir = Dir::new("renew");
    let first = dir.open(&["192.0.2.7"]).unwrap();
    let (serving, admin) = (dir.text("pki/apiserver.crt"), dir.text("pki/admin.crt"));
    dir.open(&["192.0.2.7"]).unwrap();
    assert_eq!((dir.text("pki/apiserver.crt"), dir.text("pki/admin.crt")), (serving.clone(), admin.clone()));
    fs::write(dir.0.join("pki/proxy.key"), "torn").unwrap();
    let second = dir.open(&["192.0.2.8"]).unwrap();
    assert_ne!(dir.text("pki/apiserver.crt"), serving, "its hosts changed");
    assert_eq!(dir.text("pki/admin.crt"), admin);
    assert!(dir.text("pki/proxy.key").contains("PRIVATE KEY"));
    assert_eq!(first.ca_pem(), second.ca_pem());
    assert_eq!(first.service_account_key_pem(), second.service_account_key_pem());
}

#[test]
fn what_is_precious_is_never_overwritten() {
    for file in ["ca.crt", "ca.key", "sa.key"] {
        let dir = Dir::new(&format!("precious-{file}"));
        dir.open(&[]).unwrap();
        let path = dir.0.join("pki").join(file);
        fs::write(&path, "rubbish").unwrap();
        let error = format!("{:#}", dir.open(&[]).err().unwrap());
        assert!(error.contains(&path.display().to_string()), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "rubbish");
    }
    let dir = Dir::new("precious-gone");
    dir.open(&[]).unwrap();
    fs::remove_file(dir.0.join("pki/ca.key")).unwrap();
    assert!(format!("{:#}", dir.open(&[]).err().unwrap()).contains("ca.key is missing"));
}

#[test]
fn the_key_signs_tokens() {
    let dir = Dir::new("tokens");
    let pki = dir.open(&[]).unwrap();
    skiff_apiserver::security::ServiceAccountTokens::new(pki.service_account_key_pem()).unwrap();
}

#[test]
fn a_certificate_is_renewed_for_whom_and_what_it_was_for() {
    let dir = Dir::new("anew");
    let pki = dir.open(&["192.0.2.7"]).unwrap();
    let folder = dir.0.join("pki");
    let all = pairs(&folder).unwrap();
    assert!(all.contains(&"apiserver".to_owned()) && all.contains(&"node-n1-serving".to_owned()), "{all:?}");
    assert!(!all.contains(&"ca".to_owned()));
    for name in all {
        let before = facts(&dir.text(&format!("pki/{name}.crt")));
        let [old, new] = renew(&folder, &name).unwrap();
        assert_eq!(new.0, dir.text(&format!("pki/{name}.crt")), "{name}");
        assert!(old.0 != new.0 && old.1 != new.1, "{name}: another certificate for another key");
        let after = facts(&new.0);
        assert_eq!(
            (&after.name, &after.groups, &after.hosts, &after.issuer_key_id),
            (&before.name, &before.groups, &before.hosts, &before.issuer_key_id),
            "{name}"
        );
    }
    let kept = dir.text("pki/apiserver.crt");
    drop(pki);
    dir.open(&["192.0.2.7"]).unwrap();
    assert_eq!(dir.text("pki/apiserver.crt"), kept, "a start finds nothing to remake");
}
