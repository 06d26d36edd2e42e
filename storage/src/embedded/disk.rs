//! What the log needs of a disk, so that tests can put one below it that fails and forgets.

use std::fs::File;
use std::io::{Read, Result};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A folder of files. What was not synced may be lost, wholly or in part and in any order.
pub trait Disk: Send + Sync + 'static {
    /// Opens a file; `None` if there is none of that name.
    ///
    /// # Errors
    /// Those of the system, here and below.
    fn open(&self, name: &str) -> Result<Option<Box<dyn DiskFile>>>;
    /// Makes an empty file, in place of one that may be there.
    fn create(&self, name: &str) -> Result<Box<dyn DiskFile>>;
    /// Gives a file another name, in place of one that may have it.
    fn rename(&self, from: &str, to: &str) -> Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> Result<()>;
    /// Makes names durable: files made, renamed and removed.
    fn sync_names(&self) -> Result<()>;
    /// How a person finds the file.
    fn path(&self, name: &str) -> PathBuf;
}

/// An open file; it stays the same file when its name changes.
pub trait DiskFile: Send {
    /// All of it.
    ///
    /// # Errors
    /// Those of the system, here and below.
    fn read(&self) -> Result<Vec<u8>>;
    /// Writes all of `bytes` at `at`; when it fails, some may be there.
    fn write_at(&self, bytes: &[u8], at: u64) -> Result<()>;
    /// Cuts the file to `length`.
    fn set_len(&self, length: u64) -> Result<()>;
    /// Makes content and length durable.
    fn sync(&self) -> Result<()>;
}

/// A folder of the system.
pub struct Folder(PathBuf);

impl Folder {
    /// The folder `dir`, which is there, and whose own name is made durable.
    ///
    /// # Errors
    /// Those of the system.
    pub fn new(dir: &Path) -> Result<Self> {
        let dir = dir.canonicalize()?;
        if let Some(parent) = dir.parent() {
            File::open(parent)?.sync_all()?;
        }
        Ok(Self(dir))
    }
}

impl Disk for Folder {
    fn open(&self, name: &str) -> Result<Option<Box<dyn DiskFile>>> {
        match File::options().read(true).write(true).open(self.path(name)) {
            Ok(file) => Ok(Some(Box::new(file))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn create(&self, name: &str) -> Result<Box<dyn DiskFile>> {
        let file =
            File::options().create(true).truncate(true).read(true).write(true).open(self.path(name))?;
        Ok(Box::new(file))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        std::fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> Result<()> {
        std::fs::remove_file(self.path(name))
    }

    fn sync_names(&self) -> Result<()> {
        File::open(&self.0)?.sync_all()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl DiskFile for File {
    fn read(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut file = self;
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> Result<()> {
        self.write_all_at(bytes, at)
    }

    fn set_len(&self, length: u64) -> Result<()> {
        Self::set_len(self, length)
    }

    fn sync(&self) -> Result<()> {
        self.sync_data()
    }
}
