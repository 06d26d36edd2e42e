//! Durations: as people read them (`5m`, `3d4h`), after upstream's `util/duration`, and as Go writes them.

use std::time::Duration;

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

/// Reads what Go's `time.ParseDuration` does, but for a sign: `90s`, `1h30m`, `250ms`, `0`.
pub fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut total) = (text, 0f64);
    while !rest.is_empty() || text.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let (unit, after) =
            after.split_at(after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len()));
        let scale = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * scale;
        rest = after;
    }
    Duration::try_from_secs_f64(total).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    #[test]
    fn gos_durations_are_read() {
        for (text, millis) in
            [("0", 0), ("90s", 90_000), ("1h30m", 5_400_000), ("1m0.5s", 60_500), ("250ms", 250)]
        {
            assert_eq!(super::parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "s", "5x", "-5s", "1h 2m", "1.2.3s"] {
            assert_eq!(super::parse(text), None, "{text}");
        }
    }

    #[test]
    fn spans_read_as_upstream_prints_them() {
        for (seconds, expected) in [
            (-5, "<invalid>"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (150, "2m30s"),
            (600, "10m"),
            (3 * 3600, "3h"),
            (3 * 3600 + 60, "3h1m"),
            (9 * 3600 + 60, "9h"),
            (47 * 3600, "47h"),
            (2 * 86400, "2d"),
            (2 * 86400 + 3600, "2d1h"),
            (9 * 86400 + 3600, "9d"),
            (30 * 86400, "30d"),
            (800 * 86400, "2y70d"),
            (3 * 365 * 86400, "3y"),
        ] {
            assert_eq!(super::human(seconds), expected, "{seconds}");
        }
        let now = "2026-01-01T00:01:00Z".parse().unwrap();
        assert_eq!(super::since(Some("2026-01-01T00:00:00Z"), now), "60s");
        assert_eq!(super::since(None, now), "<unknown>");
    }
}
