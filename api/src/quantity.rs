//! Quantities such as `100m`, `1.5Gi` or `2e3`: read, compared, added, written canonically.

use std::cmp::Ordering;

/// The text that upstream gives when a quantity cannot be read.
pub const FORMAT_WRONG: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// How a quantity is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// `Ki`, `Mi`…
    Binary,
    /// `m`, `k`, `M`…
    Decimal,
    /// `1e3`.
    Exponent,
}

/// An amount, exact to a billionth.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

const NANO: i128 = 1_000_000_000;
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
/// Suffix and power of ten, greatest first.
const DECIMAL: [(&str, i32); 10] =
    [("E", 18), ("P", 15), ("T", 12), ("G", 9), ("M", 6), ("k", 3), ("", 0), ("m", -3), ("u", -6), ("n", -9)];

impl Quantity {
    /// Reads a quantity; `None` if its format is wrong.
    pub fn parse(text: &str) -> Option<Self> {
        let end = text.find(|c: char| !c.is_ascii_digit() && !"+-.".contains(c)).unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        let (negative, digits) = match number.as_bytes().first()? {
            b'-' => (true, &number[1..]),
            b'+' => (false, &number[1..]),
            _ => (false, number),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.len() + fraction.len() == 0
            || !(whole.bytes().chain(fraction.bytes())).all(|c| c.is_ascii_digit())
        {
            return None;
        }
        let (format, multiplier, power) = match suffix {
            _ if let Some(step) = BINARY.iter().skip(1).position(|known| *known == suffix) => {
                (Format::Binary, 1_i128 << (10 * (step + 1)), 0)
            }
            _ if let Some((_, power)) = DECIMAL.iter().find(|(known, _)| *known == suffix) => {
                (Format::Decimal, 1, *power)
            }
            _ => match suffix.strip_prefix(['e', 'E'])?.parse::<i32>() {
                Ok(power) if (-9..=18).contains(&power) => (Format::Exponent, 1, power),
                _ => return None,
            },
        };
        // The digits as one number with `scale` of them after the point.
        let kept = &fraction[..fraction.len().min(18)];
        let digits = whole.bytes().chain(kept.bytes()).map(|digit| i128::from(digit - b'0'));
        let mantissa = digits.fold(0_i128, |sum, digit| sum.saturating_mul(10).saturating_add(digit));
        let exponent = 9 + power - i32::try_from(kept.len()).ok()?;
        let scaled = mantissa.saturating_mul(multiplier);
        let nanos = if exponent >= 0 {
            scaled.saturating_mul(10_i128.checked_pow(exponent.unsigned_abs())?)
        } else {
            let divisor = 10_i128.checked_pow(exponent.unsigned_abs())?;
            // Upstream rounds up what is finer than it keeps.
            scaled.div_euclid(divisor) + i128::from(scaled.rem_euclid(divisor) != 0)
        };
        Some(Self { nanos: if negative { -nanos } else { nanos }, format })
    }

    /// In whole units, rounded up.
    pub fn value(&self) -> i128 {
        ceil(self.nanos, NANO)
    }

    /// In thousandths, rounded up.
    pub fn millis(&self) -> i128 {
        ceil(self.nanos, NANO / 1000)
    }

    /// Whether it is less than nothing.
    pub fn is_negative(&self) -> bool {
        self.nanos < 0
    }

    /// -1, 0 or 1.
    pub fn signum(&self) -> i64 {
        self.nanos.signum() as i64
    }

    /// As a whole number of 64 bits, if it is one.
    pub fn whole(&self) -> Option<i64> {
        (self.nanos % NANO == 0).then(|| i64::try_from(self.nanos / NANO).ok()).flatten()
    }

    /// As the nearest floating number.
    pub fn approximate(&self) -> f64 {
        if self.nanos % NANO == 0 { (self.nanos / NANO) as f64 } else { self.nanos as f64 / NANO as f64 }
    }

    /// That many whole units.
    pub fn of(units: i64) -> Self {
        Self { nanos: i128::from(units) * NANO, format: Format::Exponent }
    }

    /// So many things.
    pub fn count(number: usize) -> Self {
        Self { nanos: i128::try_from(number).unwrap_or(i128::MAX / NANO) * NANO, format: Format::Decimal }
    }

    /// In whole units, rounded up, written as before.
    #[must_use]
    pub fn rounded_up(self) -> Self {
        Self { nanos: self.value().saturating_mul(NANO), format: self.format }
    }

    /// The difference, written as the first is.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self { nanos: self.nanos.saturating_sub(other.nanos), format: self.format }
    }

    /// The sum, written as the first is; nothing has no form of its own.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let format = if self.nanos == 0 { other.format } else { self.format };
        Self { nanos: self.nanos.saturating_add(other.nanos), format }
    }
}

fn ceil(nanos: i128, unit: i128) -> i128 {
    nanos.div_euclid(unit) + i128::from(nanos.rem_euclid(unit) != 0)
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.nanos.partial_cmp(&other.nanos)
    }
}

impl std::fmt::Display for Quantity {
    /// No fraction, the greatest suffix that keeps the value exact.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let whole = self.nanos % NANO == 0;
        if self.format == Format::Binary && whole && self.nanos.abs() >= 1024 * NANO {
            let (mut value, mut step) = (self.nanos / NANO, 0);
            while value % 1024 == 0 && step + 1 < BINARY.len() {
                value /= 1024;
                step += 1;
            }
            return write!(f, "{value}{}", BINARY[step]);
        }
        for (suffix, power) in DECIMAL {
            let unit = 10_i128.pow((power + 9).unsigned_abs());
            if self.nanos % unit == 0 {
                let value = self.nanos / unit;
                return match (self.format, power) {
                    (Format::Exponent, 0) | (Format::Decimal | Format::Binary, _) => {
                        write!(f, "{value}{suffix}")
                    }
                    (Format::Exponent, power) => write!(f, "{value}e{power}"),
                };
            }
        }
        write!(f, "{}n", self.nanos)
    }
}

/// The canonical form, or `None` if it cannot be read.
pub fn canonical(text: &str) -> Option<String> {
    Quantity::parse(text).map(|quantity| quantity.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_written_canonically() {
        for (given, expected) in [
            ("0", "0"),
            ("100m", "100m"),
            ("0.1", "100m"),
            ("1000m", "1"),
            ("1.5", "1500m"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("1000k", "1M"),
            ("1e3", "1e3"),
            ("1000", "1k"),
            ("512", "512"),
            ("0.5Ki", "512"),
            ("-5", "-5"),
            ("+2", "2"),
            (".5", "500m"),
            ("100E", "100E"),
            ("1500Ki", "1500Ki"),
        ] {
            assert_eq!(canonical(given).as_deref(), Some(expected), "{given}");
        }
        for bad in ["", "x", "1x", "1.2.3", "1 ", "--1", "1mi"] {
            assert_eq!(canonical(bad), None, "{bad}");
        }
    }

    #[test]
    fn quantities_compare_and_add_exactly() {
        let q = |text| Quantity::parse(text).unwrap();
        assert!(q("1Gi") > q("1G"));
        assert_eq!(q("0.5"), q("500m"));
        assert_eq!(q("100m").plus(q("1")).to_string(), "1100m");
        assert_eq!((q("100m").value(), q("1500m").millis()), (1, 1500));
        assert_eq!(q("0").plus(q("1Gi")).to_string(), "1Gi");
        assert_eq!(q("1Gi").minus(q("1Mi")).to_string(), "1023Mi");
        assert_eq!(q("1500m").rounded_up().to_string(), "2");
        assert_eq!((q("0").signum(), Quantity::count(3).to_string()), (0, "3".to_owned()));
    }
}
