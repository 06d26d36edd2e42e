//! `--from-literal`, `--from-file` and `--from-env-file`.

use std::path::Path;

use crate::error::{Error, Result};

/// Where data is.
#[derive(Debug, Default, clap::Args)]
pub struct Data {
    /// KEY=VALUE
    #[arg(long)]
    pub from_literal: Vec<String>,
    /// FILE, KEY=FILE, or a folder
    #[arg(long)]
    pub from_file: Vec<String>,
    /// A file of KEY=VALUE lines
    #[arg(long)]
    pub from_env_file: Vec<String>,
}

impl Data {
    /// The keys and their bytes, in order of flags.
    pub(super) fn read(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let mut found = Vec::new();
        for literal in &self.from_literal {
            let (key, value) =
                literal.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(|| {
                    Error::usage(format!("invalid literal source {literal}, expected key=value"))
                })?;
            found.push((key.to_owned(), value.as_bytes().to_vec()));
        }
        for source in &self.from_file {
            let (key, path) = match source.split_once('=') {
                Some((key, path)) => (Some(key), Path::new(path)),
                None => (None, Path::new(source)),
            };
            if path.is_dir() {
                let mut entries: Vec<_> = std::fs::read_dir(path)
                    .and_then(|entries| {
                        entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<_>>()
                    })
                    .map_err(|source| Error::Io { path: path.to_owned(), source })?;
                entries.sort();
                for entry in entries.iter().filter(|entry| entry.is_file()) {
                    found.push((file_name(entry), read(entry)?));
                }
            } else {
                found.push((key.map_or_else(|| file_name(path), str::to_owned), read(path)?));
            }
        }
        for source in &self.from_env_file {
            let bytes = read(Path::new(source))?;
            for line in String::from_utf8_lossy(&bytes).lines().map(str::trim_start) {
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                let (key, value) = match line.split_once('=') {
                    Some((key, value)) => (key.to_owned(), value.to_owned()),
                    // A name alone takes its value from here, as kubectl does.
                    None => (line.to_owned(), std::env::var(line).unwrap_or_default()),
                };
                found.push((key, value.into_bytes()));
            }
        }
        let mut keys: Vec<&String> = found.iter().map(|(key, _)| key).collect();
        keys.sort();
        if let Some(twice) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::usage(format!(
                "cannot add key {}, another key by that name already exists",
                twice[0]
            )));
        }
        Ok(found)
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A file's bytes.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_become_data_and_twice_is_an_error() {
        let data = |literals: &[&str]| Data {
            from_literal: literals.iter().map(|text| (*text).to_owned()).collect(),
            ..Data::default()
        };
        assert_eq!(data(&["a=b=c"]).read().expect("valid"), vec![("a".to_owned(), b"b=c".to_vec())]);
        assert!(data(&["a"]).read().is_err());
        assert!(data(&["a=1", "a=2"]).read().is_err());
    }
}
