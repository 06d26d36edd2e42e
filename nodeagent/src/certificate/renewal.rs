//! When a certificate is renewed: pure.

/// The second at which a certificate that is good from `begins` to `ends` is renewed: after seven to nine tenths of its
/// life, as `part` says, so that the nodes of a cluster do not all come at once.
///
/// Certificates begin a little before they are given, for the sake of clocks that differ; one that lives for minutes may
/// be due when it comes. Such a one is renewed after that part of what was left of it when it came.
pub fn renewal_s((begins, ends): (i64, i64), got: i64, part: f64) -> i64 {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "seconds of some years")]
    let after = |start: i64| start + ((ends - start) as f64 * part) as i64;
    let due = after(begins);
    if due > got { due } else { after(got.min(ends)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_is_due_after_seven_to_nine_tenths() {
        let table = [
            ((0, 1000), 0, 0.7, 700),
            ((0, 1000), 0, 0.9, 900),
            ((0, 1000), 500, 0.8, 800),
            // A life of 20 s, begun 300 s before.
            ((0, 320), 300, 0.7, 314),
            ((0, 320), 300, 0.9, 318),
            // It has ended: now.
            ((0, 1000), 2000, 0.8, 1000),
        ];
        for (validity, got, part, expected) in table {
            assert_eq!(renewal_s(validity, got, part), expected, "{validity:?} {got} {part}");
        }
    }
}
