//! The few readings of quantities that the agent needs.

/// In thousandths: `1` is 1000, `100m` is 100, `1Ki` is 1024000. `None` when it is no quantity.
pub fn milli(text: &str) -> Option<i64> {
    let text = text.trim();
    let split =
        text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let number: f64 = number.parse().ok()?;
    let scale: f64 = match suffix {
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        "Ti" => 1024_f64.powi(4),
        "Pi" => 1024_f64.powi(5),
        "Ei" => 1024_f64.powi(6),
        exponent => 10_f64.powi(exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    // Beyond 2^63 thousandths nothing on one machine is measured.
    #[allow(clippy::cast_possible_truncation)]
    Some((number * scale * 1000.0).ceil() as i64)
}

/// In whole units, rounded up.
pub fn units(text: &str) -> Option<i64> {
    milli(text).map(|m| m.div_euclid(1000) + i64::from(m.rem_euclid(1000) > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read() {
        let cases = [
            ("1", 1000),
            ("100m", 100),
            ("1.5", 1500),
            ("128Mi", 134_217_728_000),
            ("1e3", 1_000_000),
            ("2k", 2_000_000),
            ("1u", 1),
        ];
        for (text, want) in cases {
            assert_eq!(milli(text), Some(want), "{text}");
        }
        assert_eq!(milli("x"), None);
        assert_eq!(units("100m"), Some(1));
    }
}
