//! Certificates on disk: each with its key in one file, readable by its owner alone, never half written.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::Write,
    net::IpAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::Context;
use skiff_api::certificate;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// As the kubelet calls them.
const CLIENT: &str = "kubelet-client-current.pem";
const SERVING: &str = "kubelet-server-current.pem";
const CA: &str = "ca.crt";
const SERVER: &str = "server";

/// A certificate and its key, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pair(…)")
    }
}

impl Pair {
    /// When it begins and ends, in seconds of the epoch; one that cannot be read has ended.
    pub fn validity_s(&self) -> (i64, i64) {
        certificate::validity_s(self.certificate.as_bytes()).unwrap_or((0, 0))
    }

    /// When it ends, for people.
    pub fn ends(&self) -> String {
        jiff::Timestamp::from_second(self.validity_s().1).map_or_else(|_| "?".into(), |end| end.to_string())
    }

    /// The user that it names.
    pub fn user(&self) -> Option<String> {
        self.read(|read| {
            let name = read.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
            name.map(str::to_owned)
        })
    }

    /// Whether it carries all these names and addresses.
    pub fn is_for(&self, hosts: &[String]) -> bool {
        let carried = self.read(|read| {
            let names = read.subject_alternative_name().ok().flatten()?;
            let names = names.value.general_names.iter().filter_map(|name| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                GeneralName::IPAddress(octets) => {
                    let v4 = <[u8; 4]>::try_from(*octets).map(IpAddr::from);
                    v4.or_else(|_| <[u8; 16]>::try_from(*octets).map(IpAddr::from))
                        .ok()
                        .map(|ip| ip.to_string())
                }
                _ => None,
            });
            Some(names.collect::<Vec<_>>())
        });
        carried.is_some_and(|carried| hosts.iter().all(|host| carried.contains(host)))
    }

    fn read<T>(&self, look: impl FnOnce(&X509Certificate<'_>) -> Option<T>) -> Option<T> {
        let block = certificate::blocks(self.certificate.as_bytes()).next()?.ok()?;
        let (_, read) = X509Certificate::from_der(&block.contents).ok()?;
        look(&read)
    }

    fn parse(text: &str) -> Option<Self> {
        let at = text.find("-----BEGIN").and_then(|first| {
            let end = "-----END CERTIFICATE-----\n";
            text[first..].rfind(end).map(|found| first + found + end.len())
        })?;
        let (certificate, key) = text.split_at(at);
        (!key.trim().is_empty()).then(|| Self { certificate: certificate.to_owned(), key: key.to_owned() })
    }
}

/// The folder of a node's certificates.
#[derive(Clone, Debug)]
pub struct Store(PathBuf);

impl Store {
    /// The folder `pki` of a node's data directory.
    pub fn of(data_dir: &Path) -> Self {
        Self(data_dir.join("pki"))
    }

    /// What is shown to the API server, if it can be read.
    pub fn client(&self) -> Option<Pair> {
        self.pair(CLIENT)
    }

    /// What is served with, if it can be read.
    pub fn serving(&self) -> Option<Pair> {
        self.pair(SERVING)
    }

    /// Keeps what is shown to the API server.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn keep_client(&self, pair: &Pair) -> anyhow::Result<()> {
        self.write(CLIENT, &format!("{}{}", pair.certificate, pair.key))
    }

    /// Keeps what is served with.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn keep_serving(&self, pair: &Pair) -> anyhow::Result<()> {
        self.write(SERVING, &format!("{}{}", pair.certificate, pair.key))
    }

    /// The cluster that this node has joined: its address, and its CA as PEM.
    pub fn cluster(&self) -> Option<(String, String)> {
        let read = |name| fs::read_to_string(self.0.join(name)).ok();
        Some((read(SERVER)?.trim().to_owned(), read(CA)?))
    }

    /// Keeps where the cluster is.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn keep_cluster(&self, server: &str, ca_pem: &str) -> anyhow::Result<()> {
        self.write(CA, ca_pem)?;
        self.write(SERVER, &format!("{server}\n"))
    }

    fn pair(&self, name: &str) -> Option<Pair> {
        Pair::parse(&fs::read_to_string(self.0.join(name)).ok()?)
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let attempt = || -> std::io::Result<()> {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
            let fresh = self.0.join(format!("{name}.new"));
            match fs::remove_file(&fresh) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&fresh, self.0.join(name))?;
            File::open(&self.0)?.sync_all()
        };
        attempt().with_context(|| format!("cannot write {}", self.0.join(name).display()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    #[test]
    fn a_pair_is_kept_in_one_file_for_its_owner_alone() {
        let dir = std::env::temp_dir().join(format!("skiff-pair-{}", std::process::id()));
        let store = Store::of(&dir);
        assert_eq!(store.client(), None);
        let mut params = CertificateParams::new(vec!["a".into(), "10.0.0.1".into()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "system:node:a");
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        let pair = Pair { certificate: certificate.replace("\r\n", "\n"), key: key.serialize_pem() };
        store.keep_client(&pair).unwrap();
        assert_eq!(store.client(), Some(pair.clone()));
        let mode = fs::metadata(dir.join("pki").join(CLIENT)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(pair.user().as_deref(), Some("system:node:a"));
        for (hosts, expected) in [(&["a", "10.0.0.1"][..], true), (&["b"], false), (&[], true)] {
            let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
            assert_eq!(pair.is_for(&hosts), expected, "{hosts:?}");
        }
        store.keep_cluster("https://a:1", "pem").unwrap();
        assert_eq!(store.cluster(), Some(("https://a:1".into(), "pem".into())));
        fs::remove_dir_all(dir).unwrap();
    }
}
