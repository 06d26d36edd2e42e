//! Durations as people type them. How they are shown is `skiff_api::duration`'s.

use std::time::Duration;

/// Reads Go's durations: `90s`, `1h30m`, `250ms`, and a bare number as seconds. A negative one is `None` inside: no limit.
pub fn parse(text: &str) -> Result<Option<Duration>, String> {
    let bad = || format!("invalid duration {text:?}: write it as 30s, 5m or 1h30m");
    if text.starts_with('-') {
        return Ok(None);
    }
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Some(Duration::from_secs(seconds)));
    }
    skiff_api::duration::parse(text).map(Some).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        assert_eq!(parse("1h30m"), Ok(Some(Duration::from_secs(5400))));
        assert_eq!(parse("250ms"), Ok(Some(Duration::from_millis(250))));
        assert_eq!(parse("7"), Ok(Some(Duration::from_secs(7))));
        assert_eq!(parse("-1s"), Ok(None));
        assert!(parse("5x").is_err() && parse("s").is_err());
    }
}
