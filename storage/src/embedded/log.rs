//! The log on disk: a header, then records. A record is one batch of operations under one
//! checksum, so that a crash can tear only the last one, which nobody was told of.
//!
//! Header: `SKIFFLOG` and the format's version (u32). Record: length of its body (u32), checksum
//! of its body (u32, CRC-32), body. Operation in a body: revision (u64), when the value ends in
//! seconds since 1970 (u64, 0 for never), key length (u32), value length (u32, all ones for a
//! delete), key, value. Numbers are little-endian.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::{Error, Result, Revision};

const MAGIC: &[u8; 8] = b"SKIFFLOG";
const VERSION: u32 = 1;
const HEADER: usize = 12;
const DELETED: u32 = u32::MAX;

/// One operation.
#[derive(Debug, Clone, Copy)]
pub struct LogOp<'a> {
    pub revision: Revision,
    pub key: &'a str,
    /// `None` for a delete.
    pub value: Option<&'a [u8]>,
    pub ends_s: Option<u64>,
}

/// A batch being put together.
#[derive(Default)]
pub struct Batch(Vec<u8>);

impl Batch {
    /// Adds an operation.
    pub fn push(&mut self, op: LogOp<'_>) {
        let size = |length: usize| u32::try_from(length).expect("keys and values are far below 4 GiB");
        self.0.extend_from_slice(&op.revision.to_le_bytes());
        self.0.extend_from_slice(&op.ends_s.unwrap_or(0).to_le_bytes());
        self.0.extend_from_slice(&size(op.key.len()).to_le_bytes());
        self.0.extend_from_slice(&op.value.map_or(DELETED, |value| size(value.len())).to_le_bytes());
        self.0.extend_from_slice(op.key.as_bytes());
        self.0.extend_from_slice(op.value.unwrap_or_default());
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    fn record(&self) -> Vec<u8> {
        let mut record = Vec::with_capacity(self.0.len() + 8);
        let length = u32::try_from(self.0.len()).expect("a batch is bounded");
        record.extend_from_slice(&length.to_le_bytes());
        record.extend_from_slice(&crc32fast::hash(&self.0).to_le_bytes());
        record.extend_from_slice(&self.0);
        record
    }
}

/// The open log.
pub struct Log {
    file: File,
    path: PathBuf,
    /// Where the next record goes.
    end: u64,
    /// After a failed sync nobody knows what is on disk: no write is taken until a reopening reads it.
    broken: bool,
}

impl Log {
    /// Opens or makes the log and replays what it holds.
    pub fn open(path: &Path, replay: impl FnMut(LogOp<'_>)) -> Result<Self> {
        let failed = |error| unavailable(path, &error);
        let mut file =
            File::options().create(true).truncate(false).read(true).write(true).open(path).map_err(failed)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        if bytes.is_empty() {
            file.write_all(&header()).map_err(failed)?;
            file.sync_all().map_err(failed)?;
            sync_folder(path)?;
            return Ok(Self { file, path: path.to_owned(), end: HEADER as u64, broken: false });
        }
        let end = read(path, &bytes, replay)?;
        if end < bytes.len() {
            tracing::warn!(
                path = %path.display(),
                bytes = bytes.len() - end,
                "the last record was not finished before a crash, and never acknowledged; it is dropped"
            );
            file.set_len(end as u64).map_err(failed)?;
            file.sync_all().map_err(failed)?;
        }
        Ok(Self { file, path: path.to_owned(), end: end as u64, broken: false })
    }

    /// Bytes in the log.
    pub fn len(&self) -> u64 {
        self.end
    }

    /// Appends a batch; it is on disk when this returns.
    ///
    /// # Errors
    /// What could not be written is cut off again, so that the log stays whole.
    pub fn append(&mut self, batch: &Batch) -> std::io::Result<()> {
        if self.broken {
            return Err(std::io::Error::other("an earlier sync failed; the store must be opened again"));
        }
        let record = batch.record();
        let written = self.file.seek(SeekFrom::Start(self.end)).and_then(|_| self.file.write_all(&record));
        if let Err(error) = written {
            // A full disk: what is half written goes, and a later write may succeed.
            self.broken = self.file.set_len(self.end).and_then(|()| self.file.sync_all()).is_err();
            return Err(error);
        }
        self.file.sync_data().inspect_err(|_| self.broken = true)?;
        self.end += record.len() as u64;
        Ok(())
    }

    /// Replaces the log by one that holds only `batches`; the old one stays until the new is whole.
    pub fn rewrite(&mut self, batches: impl Iterator<Item = Batch>) -> std::io::Result<()> {
        if self.broken {
            return Err(std::io::Error::other("an earlier sync failed; the store must be opened again"));
        }
        let new_path = self.path.with_extension("new");
        let (file, end) = match write_new(&new_path, batches)
            .and_then(|new| std::fs::rename(&new_path, &self.path).map(|()| new))
        {
            Ok(new) => new,
            Err(error) => {
                // Not to hold space on a disk that may be full.
                let _ = std::fs::remove_file(&new_path);
                return Err(error);
            }
        };
        // From here on the name means the new file: appending to the old one would lose data.
        self.file = file;
        self.end = end;
        sync_folder(&self.path).map_err(|error| {
            self.broken = true;
            std::io::Error::other(error.to_string())
        })
    }
}

fn write_new(path: &Path, batches: impl Iterator<Item = Batch>) -> std::io::Result<(File, u64)> {
    let mut file = File::options().create(true).truncate(true).read(true).write(true).open(path)?;
    file.write_all(&header())?;
    let mut end = HEADER as u64;
    for batch in batches {
        let record = batch.record();
        file.write_all(&record)?;
        end += record.len() as u64;
    }
    file.sync_all()?;
    Ok((file, end))
}

fn header() -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&VERSION.to_le_bytes());
    header
}

fn unavailable(path: &Path, error: &std::io::Error) -> Error {
    Error::Unavailable(format!("{}: {error}", path.display()))
}

fn sync_folder(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| unavailable(folder, &error))
}

/// Replays all whole records; answers with where they end.
fn read(path: &Path, bytes: &[u8], mut replay: impl FnMut(LogOp<'_>)) -> Result<usize> {
    let corrupt = |why: String| Error::Corrupt(format!("{}: {why}; nothing was changed", path.display()));
    if bytes.len() < HEADER || &bytes[..8] != MAGIC {
        return Err(corrupt("this is not a log of skiff's".into()));
    }
    let version = number(bytes, 8).expect("the header is there");
    if version != VERSION {
        return Err(corrupt(format!("its format is version {version}; this skiff reads version {VERSION}")));
    }
    let mut at = HEADER;
    while at < bytes.len() {
        let Some(body) = record(bytes, at) else {
            // A crash tears the last record only. A whole one behind it means damage.
            if (at + 1..bytes.len()).any(|later| record(bytes, later).is_some_and(|body| ops(body).is_some()))
            {
                return Err(corrupt(format!("the record at byte {at} is damaged")));
            }
            return Ok(at);
        };
        let list = ops(body).ok_or_else(|| corrupt(format!("the record at byte {at} makes no sense")))?;
        list.into_iter().for_each(&mut replay);
        at += 8 + body.len();
    }
    Ok(at)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// The body of the record at `at`, if it is whole.
fn record(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let length = number(bytes, at)? as usize;
    let sum = number(bytes, at + 4)?;
    let body = bytes.get(at + 8..(at + 8).checked_add(length)?)?;
    (length > 0 && crc32fast::hash(body) == sum).then_some(body)
}

fn ops(body: &[u8]) -> Option<Vec<LogOp<'_>>> {
    let mut list = Vec::new();
    let mut at = 0;
    while at < body.len() {
        let revision = long(body, at)?;
        let ends_s = Some(long(body, at + 8)?).filter(|ends_s| *ends_s > 0);
        let key_length = number(body, at + 16)? as usize;
        let value_length = number(body, at + 20)?;
        at += 24;
        let key = std::str::from_utf8(body.get(at..at.checked_add(key_length)?)?).ok()?;
        at += key_length;
        let value = if value_length == DELETED {
            None
        } else {
            let value = body.get(at..at.checked_add(value_length as usize)?)?;
            at += value.len();
            Some(value)
        };
        list.push(LogOp { revision, key, value, ends_s });
    }
    Some(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(path: &Path) {
        let mut log = Log::open(path, |_| {}).unwrap();
        for revision in 1..=3 {
            let mut batch = Batch::default();
            batch.push(LogOp { revision, key: "/a", value: Some(b"value"), ends_s: None });
            log.append(&batch).unwrap();
        }
    }

    fn revisions(path: &Path) -> Result<Vec<Revision>> {
        let mut seen = Vec::new();
        Log::open(path, |op| seen.push(op.revision))?;
        Ok(seen)
    }

    #[test]
    fn a_torn_tail_is_dropped_at_any_length() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        filled(&path);
        let whole = std::fs::read(&path).unwrap();
        let record = (whole.len() - HEADER) / 3;
        for cut in 1..record {
            std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            assert_eq!(revisions(&path).unwrap(), [1, 2], "cut by {cut}");
        }
    }

    #[test]
    fn damage_before_the_tail_is_refused_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        filled(&path);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[HEADER + 20] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let error = revisions(&path).unwrap_err().to_string();
        assert!(error.contains("log: the record at byte 12 is damaged"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }

    #[test]
    fn a_foreign_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "something else entirely").unwrap();
        assert!(matches!(revisions(&path), Err(Error::Corrupt(_))));
    }
}
