//! `skiff certs`: shows the certificates of a data directory, and renews those that the cluster's CA signs.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use jiff::Timestamp;
use skiff_api::certificate::{blocks, validity_s};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::cli::certs::{Action, Certs};
use crate::pki::{self, files};

/// Runs `skiff certs`.
pub fn run(words: Certs) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    match words.action {
        None | Some(Action::Show) => {
            let found = find(&words.data_dir)?;
            if found.is_empty() {
                bail!("there are no certificates in {}", words.data_dir.display());
            }
            write!(out, "{}", table(&found, Timestamp::now().as_second()))?;
        }
        Some(Action::Renew { names }) => {
            let dir = words.data_dir.join("pki");
            let all = pki::pairs(&dir)?;
            let wanted: Vec<&String> =
                if names.is_empty() { all.iter().collect() } else { names.iter().collect() };
            for name in &wanted {
                if !all.contains(name) {
                    bail!("no certificate is called {name:?}; there are {}", all.join(", "));
                }
            }
            for name in wanted {
                let [old, new] = pki::renew(&dir, name)?;
                // Those who read them from a kubeconfig find them there.
                for kubeconfig in kubeconfigs(&words.data_dir)? {
                    replace(&kubeconfig, &old, &new)?;
                }
                writeln!(
                    out,
                    "{name}: good until {}",
                    ends(validity_s(new.0.as_bytes()).map_or(0, |(_, end)| end))
                )?;
            }
        }
    }
    Ok(())
}

/// A certificate on disk.
struct Found {
    name: String,
    who: String,
    issuer: String,
    ends_s: i64,
}

/// All certificates below a directory, by the names of their files.
fn find(dir: &Path) -> anyhow::Result<Vec<Found>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![dir.join("pki")];
    // Those of nodes that keep their own.
    for group in ["nodes", "simulated"] {
        let nodes = std::fs::read_dir(dir.join(group)).into_iter().flatten().flatten();
        folders.extend(nodes.map(|node| node.path().join("pki")));
    }
    for folder in folders {
        for path in std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let Some(short) = name.strip_suffix(".crt").or_else(|| name.strip_suffix(".pem")) else {
                continue;
            };
            let text = files::read(&path)?.unwrap_or_default();
            if let Some(one) = read(short, &text) {
                found.insert(path, one);
            }
        }
    }
    Ok(found.into_values().collect())
}

fn read(name: &str, text: &str) -> Option<Found> {
    let block = blocks(text.as_bytes()).filter_map(Result::ok).find(|block| block.label == "CERTIFICATE")?;
    let (_, certificate) = X509Certificate::from_der(&block.contents).ok()?;
    Some(Found {
        name: name.to_owned(),
        who: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        ends_s: certificate.validity().not_after.timestamp(),
    })
}

fn ends(second: i64) -> String {
    Timestamp::from_second(second).map_or_else(|_| "?".into(), |end| end.to_string())
}

/// What is printed: pure.
fn table(found: &[Found], now_s: i64) -> String {
    let mut rows = vec![["CERTIFICATE", "WHO", "ISSUER", "ENDS", "LEFT"].map(str::to_owned)];
    for one in found {
        let left = match one.ends_s - now_s {
            gone if gone <= 0 => "ended".to_owned(),
            left if left >= 2 * 86_400 => format!("{}d", left / 86_400),
            left if left >= 2 * 3600 => format!("{}h", left / 3600),
            left => format!("{left}s"),
        };
        rows.push([one.name.clone(), one.who.clone(), one.issuer.clone(), ends(one.ends_s), left]);
    }
    let width = |at: usize| rows.iter().map(|row| row[at].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..5).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("   ").trim_end());
        text.push('\n');
    }
    text
}

fn kubeconfigs(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let pki = dir.join("pki");
    let entries = std::fs::read_dir(&pki).with_context(|| format!("cannot read {}", pki.display()))?;
    let of_components = entries.flatten().map(|entry| entry.path());
    let of_components = of_components.filter(|path| path.extension().is_some_and(|end| end == "kubeconfig"));
    Ok(std::iter::once(dir.join("kubeconfig")).chain(of_components).collect())
}

/// Puts the new certificate and key where the old ones stand.
fn replace(kubeconfig: &Path, old: &pki::Pair, new: &pki::Pair) -> anyhow::Result<()> {
    use base64::Engine;
    let encode = |pem: &String| base64::engine::general_purpose::STANDARD.encode(pem);
    let Some(text) = files::read(kubeconfig)? else { return Ok(()) };
    let changed = text.replace(&encode(&old.0), &encode(&new.0)).replace(&encode(&old.1), &encode(&new.1));
    if changed == text { Ok(()) } else { files::write(kubeconfig, &changed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_certificate_is_a_line() {
        let one = |name: &str, ends_s| Found {
            name: name.into(),
            who: "CN=a".into(),
            issuer: "CN=kubernetes".into(),
            ends_s,
        };
        let text = table(&[one("admin", 86_400 * 30), one("old", 5)], 10);
        assert_eq!(
            text,
            "CERTIFICATE   WHO    ISSUER          ENDS                   LEFT\n\
             admin         CN=a   CN=kubernetes   1970-01-31T00:00:00Z   29d\n\
             old           CN=a   CN=kubernetes   1970-01-01T00:00:05Z   ended\n"
        );
    }
}
