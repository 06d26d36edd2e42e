//! Between etcd's words and ours.

use etcd_client::{EventType, KeyValue, ResponseHeader};

use crate::{Entry, Error, Event, Revision};

pub fn failed(error: &etcd_client::Error) -> Error {
    let text = error.to_string();
    if text.contains("request is too large") || text.contains("message larger than max") {
        return Error::TooLarge(text);
    }
    if text.contains("database space exceeded") { Error::Full(text) } else { Error::Unavailable(text) }
}

/// As [`failed`], for what is asked of a revision.
pub fn failed_at(error: Error, asked: Revision, newest: Revision) -> Error {
    match error {
        Error::Unavailable(text) if text.contains("has been compacted") => {
            Error::Compacted { asked, oldest: newest }
        }
        Error::Unavailable(text) if text.contains("future revision") => Error::Future { asked, newest },
        other => other,
    }
}

pub fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

pub fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub fn entry(kv: &KeyValue) -> Entry {
    Entry {
        key: String::from_utf8_lossy(kv.key()).into_owned(),
        value: kv.value().to_vec().into(),
        revision: unsigned(kv.mod_revision()),
    }
}

pub fn event(event: &etcd_client::Event) -> Option<Event> {
    let kv = event.kv()?;
    let previous = event.prev_kv().map(entry).map(|entry| (entry.value, entry.revision));
    Some(Event {
        key: String::from_utf8_lossy(kv.key()).into_owned(),
        revision: unsigned(kv.mod_revision()),
        value: (event.event_type() == EventType::Put).then(|| kv.value().to_vec().into()),
        previous,
    })
}

pub fn revision_of(header: Option<&ResponseHeader>) -> Revision {
    header.map_or(0, |header| unsigned(header.revision()))
}

/// The first key with a prefix; etcd has no empty key.
pub fn start_of(prefix: &str) -> Vec<u8> {
    if prefix.is_empty() { vec![0] } else { prefix.into() }
}

/// The key behind all keys with a prefix; a zero byte is behind all keys.
pub fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_its_successor() {
        assert_eq!(end_of("/registry/"), b"/registry0");
        assert_eq!(end_of(""), b"\0");
    }
}
