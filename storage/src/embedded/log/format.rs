//! The log's bytes, and what of them may be believed.
//!
//! First page: `SKIFFLOG`, the format's version (u32), checksum of both (u32). Second page: the mark,
//! a position (u64) up to which all is known to be durable, and its checksum (u32). From [`RECORDS`]
//! on: records. A record is one batch of operations: length of its body (u32), checksum of its body
//! (u32), checksum of these two and of the record's position (u32), body. Operation in a body:
//! revision (u64), when the value ends in seconds since 1970 (u64, 0 for never), key length (u32),
//! value length (u32, all ones for a delete), key, value. A delete of the empty key says that the
//! operations up to its revision, which follow, are a state and not how it came to be. Checksums are
//! CRC-32, numbers little-endian. The two pages are apart so that writing the mark cannot tear the
//! header.
//!
//! # A torn tail, or damage?
//!
//! A record is appended only when all before it is durable. So a crash can tear only the last one,
//! which nobody was told of: it is dropped. A device writes sectors whole or not at all, in any order:
//! a torn record is one that the file ends within, or in which some sector was never written and reads
//! as zeros. Everything else is damage to what was acknowledged, and is refused: a bad record before
//! the mark, or with a whole record behind it, or that has all its sectors and a wrong sum. The mark is
//! written when the store is idle and when it is closed. What remains is an acknowledged last record
//! that loses a sector to zeros in a crash before the mark: nothing on the disk could tell it from a
//! torn one.

use std::ops::Range;

use crate::Revision;

const MAGIC: &[u8; 8] = b"SKIFFLOG";
const VERSION: u32 = 2;
const PAGE: u64 = 4096;
/// Where the records begin.
pub const RECORDS: u64 = 2 * PAGE;
/// What a device writes whole or not at all.
const SECTOR: usize = 512;
const RECORD_HEAD: usize = 12;
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

    /// The record that holds this batch at a position of the file.
    pub fn record(&self, at: u64) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).expect("a batch is bounded");
        let sum = crc32fast::hash(&self.0);
        let mut record = Vec::with_capacity(self.0.len() + RECORD_HEAD);
        record.extend_from_slice(&length.to_le_bytes());
        record.extend_from_slice(&sum.to_le_bytes());
        record.extend_from_slice(&head_sum(length, sum, at).to_le_bytes());
        record.extend_from_slice(&self.0);
        record
    }
}

/// The position makes bytes of a record that stand elsewhere, such as in a value, no record.
fn head_sum(length: u32, sum: u32, at: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length.to_le_bytes());
    hasher.update(&sum.to_le_bytes());
    hasher.update(&at.to_le_bytes());
    hasher.finalize()
}

/// The mark: all before this position is durable.
pub struct Sealed(pub u64);

impl Sealed {
    /// Where it stands.
    pub fn at(&self) -> u64 {
        PAGE
    }

    /// What is written there.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.0.to_le_bytes().to_vec();
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let at = PAGE as usize;
        let found = Self(long(bytes, at)?);
        (bytes.get(at..at + 12)? == found.bytes()).then_some(found)
    }
}

/// What a log without records begins with, up to [`RECORDS`]; the mark is written into it.
pub fn header() -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&crc32fast::hash(&header).to_le_bytes());
    header.resize(RECORDS as usize, 0);
    header
}

/// What a log holds.
#[derive(Default)]
pub struct Contents {
    bytes: Vec<u8>,
    /// Where each whole record stands.
    records: Vec<Range<usize>>,
    marked: u64,
}

impl Contents {
    /// Takes a log apart, without its torn tail.
    ///
    /// # Errors
    /// What was found instead of a log, or where it is damaged.
    pub fn read(bytes: Vec<u8>) -> Result<Self, String> {
        let refused = |why: String| Err(format!("{why}; nothing was changed"));
        if bytes.len() < 12 || &bytes[..8] != MAGIC {
            return refused("this is not a log of skiff's, or its beginning is lost".into());
        }
        let version = number(&bytes, 8).expect("the first page is there");
        let summed = number(&bytes, 12) == Some(crc32fast::hash(&bytes[..12]));
        // The first version had no sum.
        if version != 1 && (!summed || bytes.len() < RECORDS as usize) {
            return refused("its first page is damaged".into());
        }
        if version != VERSION {
            return refused(format!("its format is version {version}; this skiff reads version {VERSION}"));
        }
        let marked = Sealed::read(&bytes).map_or(RECORDS, |mark| mark.0);
        if bytes.len() as u64 > marked && Sealed::read(&bytes).is_none() {
            tracing::warn!("the log's mark cannot be read; its last record is believed if it is whole");
        }
        let mut records = Vec::new();
        let mut at = RECORDS as usize;
        while at < bytes.len() {
            let Some(end) = record(&bytes, at) else {
                if (at as u64) < marked || !torn(&bytes, at) || whole_later(&bytes, at) {
                    return refused(format!("the record at byte {at} is damaged"));
                }
                break;
            };
            if ops(&bytes[at + RECORD_HEAD..end]).is_none() {
                return refused(format!("the record at byte {at} makes no sense"));
            }
            records.push(at..end);
            at = end;
        }
        if (at as u64) < marked {
            return refused(format!("it ends at byte {at}, and once had {marked}"));
        }
        Ok(Self { bytes, records, marked })
    }

    /// Where the whole records end.
    pub fn end(&self) -> u64 {
        self.records.last().map_or(RECORDS, |last| last.end as u64)
    }

    /// The last whole record, and where it stands.
    pub fn last(&self) -> Option<(u64, &[u8])> {
        let last = self.records.last()?;
        Some((last.start as u64, &self.bytes[last.clone()]))
    }

    /// Up to where all was known to be durable.
    pub fn marked(&self) -> u64 {
        self.marked
    }

    /// The operations, in order.
    pub fn ops(&self) -> impl Iterator<Item = LogOp<'_>> {
        self.records.iter().flat_map(|record| {
            ops(&self.bytes[record.start + RECORD_HEAD..record.end]).expect("they were read before")
        })
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// Where the record at `at` ends by its head, if that is whole; the file may end before.
fn end_of(bytes: &[u8], at: usize) -> Option<usize> {
    let (length, sum) = (number(bytes, at)?, number(bytes, at + 4)?);
    let whole = length > 0 && number(bytes, at + 8)? == head_sum(length, sum, at as u64);
    whole.then_some(at + RECORD_HEAD + length as usize)
}

/// Where the record at `at` ends, if all of it is whole.
fn record(bytes: &[u8], at: usize) -> Option<usize> {
    let end = end_of(bytes, at)?;
    let body = bytes.get(at + RECORD_HEAD..end)?;
    (crc32fast::hash(body) == number(bytes, at + 4)?).then_some(end)
}

/// Whether the bad record at `at` is one that a crash left unfinished.
fn torn(bytes: &[u8], at: usize) -> bool {
    if bytes.len() < at + RECORD_HEAD || end_of(bytes, at).is_some_and(|end| end > bytes.len()) {
        return true;
    }
    let mut start = at;
    while start < bytes.len() {
        let end = ((start / SECTOR + 1) * SECTOR).min(bytes.len());
        if bytes[start..end].iter().all(|byte| *byte == 0) {
            return true;
        }
        start = end;
    }
    false
}

/// Whether a whole record stands anywhere behind `at`.
fn whole_later(bytes: &[u8], at: usize) -> bool {
    (at + 1..bytes.len()).any(|later| record(bytes, later).is_some())
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
