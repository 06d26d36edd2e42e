//! Durations as people read them (`5m`, `3d4h`), after upstream's `util/duration`.

use jiff::Timestamp;

/// The span from `since` to `now`, as the AGE column shows it; `<unknown>` when there is none.
pub fn since(since: Option<&str>, now: Timestamp) -> String {
    match since.and_then(|text| text.parse::<Timestamp>().ok()) {
        Some(then) => human(now.as_second() - then.as_second()),
        None => "<unknown>".into(),
    }
}

/// Whole seconds in at most two units; the units grow coarser with the span.
pub fn human(seconds: i64) -> String {
    if seconds < -1 {
        return "<invalid>".into();
    }
    let s = seconds.max(0);
    let (minutes, hours, days) = (s / 60, s / 3600, s / 86400);
    let pair = |big: i64, unit: &str, small: i64, fine: &str| {
        if small == 0 { format!("{big}{unit}") } else { format!("{big}{unit}{small}{fine}") }
    };
    match s {
        s if s < 120 => format!("{s}s"),
        _ if minutes < 10 => pair(minutes, "m", s % 60, "s"),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => pair(hours, "h", minutes % 60, "m"),
        _ if hours < 48 => format!("{hours}h"),
        _ if days < 8 => pair(days, "d", hours % 24, "h"),
        _ if days < 365 * 2 => format!("{days}d"),
        _ if days < 365 * 8 => pair(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn spans_read_as_upstream_prints_them() {
        for (seconds, expected) in [
            (-5, "<invalid>"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (150, "2m30s"),
            (600, "10m"),
            (3 * 3600, "3h"),
            (3 * 3600 + 60, "3h1m"),
            (9 * 3600 + 60, "9h"),
            (2 * 86400, "2d"),
            (2 * 86400 + 3600, "2d1h"),
            (9 * 86400 + 3600, "9d"),
            (800 * 86400, "2y70d"),
        ] {
            assert_eq!(super::human(seconds), expected, "{seconds}");
        }
    }
}
