//! What is made of logs that crashes and damage left behind.

use std::path::Path;

use super::format::RECORDS;
use super::*;
use crate::Revision;
use crate::embedded::disk::Folder;

fn open(dir: &Path) -> Result<(Log, Vec<Revision>)> {
    let (log, contents) = Log::open(Arc::new(Folder::new(dir).unwrap()))?;
    let revisions = contents.ops().map(|op| op.revision).collect();
    Ok((log, revisions))
}

/// Three records; `close` as when the process ended in order.
fn filled(dir: &Path, value: &[u8], close: bool) -> Vec<u8> {
    let (mut log, _) = open(dir).unwrap();
    for revision in 1..=3 {
        let mut batch = Batch::default();
        batch.push(LogOp { revision, key: "/a", value: Some(value), ends_s: None });
        log.append(&batch).unwrap();
    }
    if close {
        log.close().unwrap();
    }
    std::fs::read(dir.join(NAME)).unwrap()
}

fn refused(dir: &Path, bytes: &[u8], why: &str) {
    std::fs::write(dir.join(NAME), bytes).unwrap();
    match open(dir).map(|(_, revisions)| revisions) {
        Err(Error::Corrupt(text)) => assert!(text.contains(why), "{text}, not {why}"),
        other => panic!("{other:?} in place of {why}"),
    }
    assert_eq!(std::fs::read(dir.join(NAME)).unwrap(), bytes, "it must be left as it is");
}

#[test]
fn a_torn_tail_is_dropped_at_any_length() {
    let dir = tempfile::tempdir().unwrap();
    let whole = filled(dir.path(), b"value", false);
    let record = (whole.len() - RECORDS as usize) / 3;
    for cut in 1..record {
        std::fs::write(dir.path().join(NAME), &whole[..whole.len() - cut]).unwrap();
        assert_eq!(open(dir.path()).unwrap().1, [1, 2], "cut by {cut}");
    }
}

#[test]
fn a_tail_with_a_sector_that_was_never_written_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let whole = filled(dir.path(), &[b'v'; 3000], false);
    let start = whole.len() - (whole.len() - RECORDS as usize) / 3;
    for sector in start / 512..=whole.len() / 512 {
        let mut bytes = whole.clone();
        bytes[(sector * 512).max(start)..((sector + 1) * 512).min(whole.len())].fill(0);
        std::fs::write(dir.path().join(NAME), &bytes).unwrap();
        assert_eq!(open(dir.path()).unwrap().1, [1, 2], "without sector {sector}");
    }
}

#[test]
fn a_damaged_byte_anywhere_is_refused_the_last_record_included() {
    let dir = tempfile::tempdir().unwrap();
    let whole = filled(dir.path(), b"value", false);
    for at in (0..16).chain(RECORDS as usize..whole.len()) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        let why = if at < 8 {
            "not a log of skiff's"
        } else if at < 16 {
            "first page is damaged"
        } else {
            "is damaged"
        };
        refused(dir.path(), &bytes, why);
    }
}

#[test]
fn nothing_that_was_durable_at_a_clean_end_passes_for_torn() {
    let dir = tempfile::tempdir().unwrap();
    let whole = filled(dir.path(), &[b'v'; 3000], true);
    for cut in [1, 100, 3000, 4000] {
        refused(dir.path(), &whole[..whole.len() - cut], "is damaged");
    }
    let mut bytes = whole.clone();
    let end = bytes.len();
    bytes[end - 1024..end - 512].fill(0);
    refused(dir.path(), &bytes, "is damaged");
    refused(dir.path(), &whole[..RECORDS as usize], "once had");
}

#[test]
fn a_log_that_lost_all_of_itself_is_refused_and_not_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), b"value", true);
    refused(dir.path(), b"", "its beginning is lost");
    refused(dir.path(), b"SKIFF", "its beginning is lost");
    refused(dir.path(), b"something else entirely", "not a log of skiff's");
}

#[test]
fn a_log_that_was_never_finished_being_made_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let header = format::header();
    for length in [0, 5, 12, 4096, header.len()] {
        std::fs::write(dir.path().join(NEW), &header[..length]).unwrap();
        let _ = std::fs::remove_file(dir.path().join(NAME));
        assert_eq!(open(dir.path()).unwrap().1, [], "a beginning of {length} bytes");
    }
}

#[test]
fn another_version_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = filled(dir.path(), b"value", true);
    bytes[8..12].copy_from_slice(&1u32.to_le_bytes());
    refused(dir.path(), &bytes, "its format is version 1; this skiff reads version 2");
}
