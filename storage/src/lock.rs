//! A directory that serves one process at a time, and says which.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use crate::{Error, Result};

/// A directory that is ours until this is dropped, or the process ends in whatever way.
#[derive(Debug)]
pub struct DirLock(#[expect(dead_code, reason = "it is held, not read")] File);

impl DirLock {
    /// Takes `dir`, which is made if it is not there.
    ///
    /// # Errors
    /// [`Error::InUse`] with the process that has it, [`Error::Unavailable`] if it cannot be used.
    pub fn take(dir: &Path) -> Result<Self> {
        let failed = |error: std::io::Error| Error::Unavailable(format!("{}: {error}", dir.display()));
        std::fs::create_dir_all(dir).map_err(failed)?;
        let path = dir.join("lock");
        let mut file =
            File::options().create(true).truncate(false).read(true).write(true).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // Who has just taken it may not have said so yet.
                let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse::<u32>().ok());
                return Err(Error::InUse { dir: dir.to_owned(), pid });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_is_told_who_has_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let first = DirLock::take(dir).unwrap();
        let told = DirLock::take(dir).unwrap_err().to_string();
        assert_eq!(told, format!("another skiff (pid {}) uses {}", std::process::id(), dir.display()));
        drop(first);
        DirLock::take(dir).unwrap();
    }
}
