//! Writing a set of files so that a reader sees either all old or all new ones.
//!
//! Visible names are links through `..data`, itself a link to a folder of one generation; renaming a new link over
//! `..data` changes all files at once. As upstream's `AtomicWriter`, so that programs that watch `..data` work.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use super::File;
use crate::error::{Context, Result};

const DATA: &str = "..data";

/// Makes `files` the content of `dir`.
pub fn write(dir: &Path, files: &BTreeMap<String, File>, group: Option<i64>) -> Result<()> {
    let data = dir.join(DATA);
    let old = std::fs::read_link(&data).ok();
    if old.is_some() && same(&data, files) {
        return Ok(());
    }
    let generation = format!("..{}", jiff::Timestamp::now().strftime("%Y_%m_%d_%H_%M_%S.%N"));
    let fresh = dir.join(&generation);
    std::fs::create_dir(&fresh).context(|| format!("create {}", fresh.display()))?;
    for (path, file) in files {
        let at = fresh.join(path);
        if let Some(parent) = at.parent() {
            std::fs::create_dir_all(parent).context(|| format!("create {}", parent.display()))?;
        }
        std::fs::write(&at, &file.content).context(|| format!("write {}", at.display()))?;
        let mode = if group.is_some() { file.mode | 0o040 } else { file.mode };
        std::fs::set_permissions(&at, std::fs::Permissions::from_mode(mode))
            .context(|| format!("chmod {}", at.display()))?;
        if let Some(group) = group.and_then(|g| u32::try_from(g).ok()) {
            std::os::unix::fs::chown(&at, file.owner, Some(group))
                .context(|| format!("chown {}", at.display()))?;
        } else if file.owner.is_some() {
            std::os::unix::fs::chown(&at, file.owner, None).context(|| format!("chown {}", at.display()))?;
        }
    }
    let next = dir.join("..data_tmp");
    let _ = std::fs::remove_file(&next);
    symlink(&generation, &next).context(|| format!("link {}", next.display()))?;
    std::fs::rename(&next, &data).context(|| format!("replace {}", data.display()))?;
    let tops: BTreeSet<&str> = files.keys().filter_map(|p| p.split('/').next()).collect();
    for top in &tops {
        let link = dir.join(top);
        if std::fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(top), &link).context(|| format!("link {}", link.display()))?;
        }
    }
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !tops.contains(name.as_str()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
    if let Some(old) = old {
        let _ = std::fs::remove_dir_all(dir.join(old));
    }
    Ok(())
}

fn same(data: &Path, files: &BTreeMap<String, File>) -> bool {
    let mut count = 0;
    let mut folders = vec![data.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                count += 1;
            }
        }
    }
    count == files.len()
        && files
            .iter()
            .all(|(path, file)| std::fs::read(data.join(path)).is_ok_and(|content| content == file.content))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(of: &[(&str, &str)]) -> BTreeMap<String, File> {
        let file = |content: &str| File { content: content.into(), mode: 0o644, owner: None };
        of.iter().map(|(path, content)| ((*path).to_owned(), file(content))).collect()
    }

    #[test]
    fn content_changes_by_one_rename() {
        let dir = std::env::temp_dir().join(format!("skiff-atomic-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        write(&dir, &files(&[("a", "1"), ("d/b", "2")]), None).unwrap();
        let first = std::fs::read_link(dir.join(DATA)).unwrap();
        assert_eq!(std::fs::read_to_string(dir.join("d/b")).unwrap(), "2");
        write(&dir, &files(&[("a", "1"), ("d/b", "2")]), None).unwrap();
        assert_eq!(std::fs::read_link(dir.join(DATA)).unwrap(), first);
        write(&dir, &files(&[("a", "3")]), None).unwrap();
        assert_eq!(std::fs::read_to_string(dir.join("a")).unwrap(), "3");
        assert!(!dir.join("d").exists() && !dir.join(first).exists());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
