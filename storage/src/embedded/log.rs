//! The open log: appending to it, rewriting it, and what opening makes of a crash.
//!
//! A log is made under another name and gets its own when it is whole and durable, so that a file
//! that bears the name `log` always began as one. An append is durable when it returns. After a
//! failed sync nobody knows what is on disk, and no write is taken until a reopening has read it.

mod format;

use std::io;
use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use crate::{Error, Result};
use format::{RECORDS, Sealed};

pub use format::{Batch, Contents, LogOp};

const NAME: &str = "log";
const NEW: &str = "log.new";

/// The open log.
pub struct Log {
    disk: Arc<dyn Disk>,
    file: Box<dyn DiskFile>,
    /// Where the next record goes.
    end: u64,
    /// Up to where the mark says that all is durable.
    marked: u64,
    broken: bool,
}

impl Log {
    /// Opens or makes the log; answers with what it holds, all of which is durable.
    pub fn open(disk: Arc<dyn Disk>) -> Result<(Self, Contents)> {
        let path = disk.path(NAME);
        let failed = |error: io::Error| Error::Unavailable(format!("{}: {error}", path.display()));
        let Some(file) = disk.open(NAME).map_err(failed)? else {
            let (file, end) = make(&*disk, std::iter::empty()).map_err(failed)?;
            disk.sync_names().map_err(failed)?;
            return Ok((Self { disk, file, end, marked: end, broken: false }, Contents::default()));
        };
        let bytes = file.read().map_err(failed)?;
        let length = bytes.len();
        let contents =
            Contents::read(bytes).map_err(|why| Error::Corrupt(format!("{}: {why}", path.display())))?;
        let end = contents.end();
        if end < length as u64 {
            tracing::warn!(
                path = %path.display(),
                bytes = length as u64 - end,
                "the last record was not finished before a crash, and never acknowledged; it is dropped"
            );
            file.set_len(end).map_err(failed)?;
        }
        // The last record may have been written and never synced, or its sync may have failed: then
        // the system shows it and yet may lose it. Written again, it is durable before it is shown.
        if let Some((at, record)) = contents.last()
            && contents.marked() < end
        {
            file.write_at(record, at).map_err(failed)?;
        }
        file.sync().map_err(failed)?;
        disk.sync_names().map_err(failed)?;
        let marked = contents.marked();
        Ok((Self { disk, file, end, marked, broken: false }, contents))
    }

    /// Bytes in the log.
    pub fn len(&self) -> u64 {
        self.end
    }

    /// Appends a batch; it is on disk when this returns.
    ///
    /// # Errors
    /// What could not be written is cut off again, so that the log stays whole. After a failed sync
    /// it is not known whether the batch is on disk.
    pub fn append(&mut self, batch: &Batch) -> io::Result<()> {
        self.usable()?;
        let record = batch.record(self.end);
        if let Err(error) = self.file.write_at(&record, self.end) {
            // A full disk: what is half written goes, and a later write may succeed.
            self.broken = self.file.set_len(self.end).and_then(|()| self.file.sync()).is_err();
            return Err(error);
        }
        self.file.sync().inspect_err(|_| self.broken = true)?;
        self.end += record.len() as u64;
        Ok(())
    }

    /// Notes in the log that all of it is durable, so that a damaged last record cannot pass for one
    /// that a crash tore. Costs nothing under load, where the next record says the same.
    pub fn mark(&mut self) -> io::Result<()> {
        if self.broken || self.marked == self.end {
            return Ok(());
        }
        let mark = Sealed(self.end);
        self.file.write_at(&mark.bytes(), mark.at())?;
        self.marked = self.end;
        Ok(())
    }

    /// [`Self::mark`], durably: for the end of a process.
    pub fn close(&mut self) -> io::Result<()> {
        if self.broken || self.marked == self.end {
            return Ok(());
        }
        self.mark()?;
        self.file.sync()
    }

    /// Replaces the log by one that holds only `batches`; the old one stays until the new is whole.
    pub fn rewrite(&mut self, batches: impl Iterator<Item = Batch>) -> io::Result<()> {
        self.usable()?;
        let (file, end) = make(&*self.disk, batches).inspect_err(|_| {
            // Not to hold space on a disk that may be full.
            let _ = self.disk.remove(NEW);
        })?;
        // From here on the name means the new file: appending to the old one would lose data.
        self.file = file;
        self.end = end;
        self.marked = end;
        self.disk.sync_names().inspect_err(|_| self.broken = true)
    }

    fn usable(&self) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other("an earlier sync failed; the store must be opened again"));
        }
        Ok(())
    }
}

/// Makes a whole and durable log under its name; the name is not durable yet.
fn make(disk: &dyn Disk, batches: impl Iterator<Item = Batch>) -> io::Result<(Box<dyn DiskFile>, u64)> {
    let file = disk.create(NEW)?;
    file.write_at(&format::header(), 0)?;
    let mut end = RECORDS;
    for batch in batches {
        let record = batch.record(end);
        file.write_at(&record, end)?;
        end += record.len() as u64;
    }
    let mark = Sealed(end);
    file.write_at(&mark.bytes(), mark.at())?;
    file.sync()?;
    disk.rename(NEW, NAME)?;
    Ok((file, end))
}

#[cfg(test)]
mod tests;
