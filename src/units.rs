//! Quantities as people read them: three significant figures and a unit, always the same way.

/// Bytes in binary units: `512 B`, `1.5 KiB`, `24.0 GiB`.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{n} B")
    } else {
        format!("{} {}", significant(value), UNITS[unit])
    }
}

/// A number of bytes as it is typed: `8188MiB`, `8 GB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize(pub u64);

impl std::str::FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const UNITS: [(&str, u64); 9] = [
            ("b", 1),
            ("kib", 1 << 10),
            ("mib", 1 << 20),
            ("gib", 1 << 30),
            ("tib", 1 << 40),
            ("kb", 1_000),
            ("mb", 1_000_000),
            ("gb", 1_000_000_000),
            ("tb", 1_000_000_000_000),
        ];
        const EXAMPLES: &str = "say 8188MiB (as nvidia-smi prints it), 8GiB or 8GB";
        let text = text.trim();
        let is_of_number = |c: char| c.is_ascii_digit() || c == '.';
        let end = text.find(|c| !is_of_number(c)).unwrap_or(text.len());
        let (number, unit) = (&text[..end], text[end..].trim().to_ascii_lowercase());
        let number: f64 = number
            .parse()
            .map_err(|_| format!("'{text}' does not begin with a number: {EXAMPLES}"))?;
        let Some((_, times)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(match unit.as_str() {
                "" => format!("'{text}' has no unit: {EXAMPLES}"),
                _ => format!("'{unit}' is no unit of memory: {EXAMPLES}"),
            });
        };
        let bytes = number * *times as f64;
        // 2^63 and more is a typing mistake.
        if !(1.0..9.2e18).contains(&bytes) {
            return Err(format!("'{text}' is no size of a memory: {EXAMPLES}"));
        }
        Ok(Self(bytes.round() as u64))
    }
}

/// Nanoseconds in the unit that suits them: `850 ns`, `12.3 µs`, `4.56 ms`, `1.20 s`, `3 min 05 s`.
pub fn duration(ns: u64) -> String {
    let v = ns as f64;
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..999_500 => format!("{} µs", significant(v / 1e3)),
        999_500..999_500_000 => format!("{} ms", significant(v / 1e6)),
        999_500_000..99_500_000_000 => format!("{} s", significant(v / 1e9)),
        _ => {
            let s = (v / 1e9).round() as u64;
            if s < 3600 {
                format!("{} min {:02} s", s / 60, s % 60)
            } else {
                format!("{} h {:02} min", s / 3600, s % 3600 / 60)
            }
        }
    }
}

/// A duration in nanoseconds, of which 64 bits hold 584 years.
pub fn nanoseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Below this a number is next to nothing, and is shown as zero.
const LEAST: f64 = 1e-9;

/// A number to three significant figures, without an exponent: `41.2`, `0.00514`. What is not zero is never shown as `0.000`.
pub fn significant(v: f64) -> String {
    let magnitude = v.abs();
    let decimals = if magnitude >= 99.95 {
        0
    } else if magnitude >= 9.995 {
        1
    } else if !(LEAST..0.9995).contains(&magnitude) {
        2
    } else if magnitude >= 0.0995 {
        3
    } else {
        // Of 0.0623 the logarithm is -1.2, and four decimals are three figures.
        (2.0 - magnitude.log10().floor()) as usize
    };
    format!("{v:.decimals$}")
}

/// A divergence: as [`significant`], but with an exponent where it is next to nothing: `0.00346`, `1.0e-5`.
pub fn nats(v: f64) -> String {
    match v.abs() {
        tiny if tiny > 0.0 && tiny < 1e-4 => format!("{v:.1e}"),
        _ => significant(v),
    }
}

/// A share as percent: `0.0312` is `3.1%`.
pub fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

/// A relative change in percent: `+10.0%`.
pub fn signed_percent(share: f64) -> String {
    let percent = share * 100.0;
    // A rounded zero has no sign.
    let percent = if percent.abs() < 0.05 { 0.0 } else { percent };
    match percent.abs() {
        0.0 => "0.0%".to_owned(),
        p if p >= 999.5 => format!("{}999%", if percent > 0.0 { ">" } else { "<-" }),
        p if p >= 99.5 => format!("{percent:+.0}%"),
        _ => format!("{percent:+.1}%"),
    }
}

/// A p-value: three decimals, and never a zero.
pub fn p_value(p: f64) -> String {
    if p < 0.0005 {
        "<0.001".to_owned()
    } else {
        format!("{p:.3}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_and_p_values_as_people_read_them() {
        for (share, shown) in [
            (0.1, "+10.0%"),
            (-0.0311, "-3.1%"),
            (0.0004, "0.0%"),
            (-1e-9, "0.0%"),
            (2.5, "+250%"),
            (1e9, ">999%"),
        ] {
            assert_eq!(signed_percent(share), shown);
        }
        assert_eq!(
            (p_value(0.0), p_value(0.04567)),
            ("<0.001".into(), "0.046".into())
        );
    }

    #[test]
    fn small_values_keep_three_figures() {
        let shown = [0.0623, 0.00514, 0.000_412, 0.0996, 3.337, 0.0, 1e-12].map(significant);
        assert_eq!(
            shown,
            [
                "0.0623", "0.00514", "0.000412", "0.100", "3.34", "0.00", "0.00"
            ]
        );
    }

    #[test]
    fn a_size_is_a_number_and_a_unit() {
        for (text, bytes) in [
            ("8188MiB", 8188 << 20),
            ("8 GiB", 8 << 30),
            ("8gb", 8_000_000_000),
            ("1.5KiB", 1536),
            ("512 B", 512),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for (text, needle) in [
            ("8188", "has no unit"),
            ("8G", "'g' is no unit"),
            ("MiB", "does not begin with a number"),
            ("0GiB", "is no size"),
            ("9999999TiB", "is no size"),
            ("-1GiB", "does not begin"),
            ("1.2.3GiB", "does not begin"),
        ] {
            let error = text.parse::<ByteSize>().expect_err(text);
            assert!(error.contains(needle), "{text}: {error}");
        }
    }

    #[test]
    fn bytes_change_unit_where_three_figures_end() {
        for (n, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1_048_575, "1.00 MiB"),
            (24 << 30, "24.0 GiB"),
            (u64::MAX, "16384 PiB"),
        ] {
            assert_eq!(bytes(n), shown);
        }
    }

    #[test]
    fn durations_change_unit_where_three_figures_end() {
        for (ns, shown) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_234, "1.23 µs"),
            (999_499, "999 µs"),
            (999_500, "1.00 ms"),
            (12_345_678, "12.3 ms"),
            (999_499_999, "999 ms"),
            (1_204_000_000, "1.20 s"),
            (99_499_999_999, "99.5 s"),
            (185_000_000_000, "3 min 05 s"),
            (7_260_000_000_000, "2 h 01 min"),
        ] {
            assert_eq!(duration(ns), shown);
        }
    }

    #[test]
    fn significant_figures() {
        for (v, shown) in [
            (0.0, "0.00"),
            (0.0123, "0.0123"),
            (9.994, "9.99"),
            (9.996, "10.0"),
            (99.96, "100"),
            (-1234.5, "-1234"),
        ] {
            assert_eq!(significant(v), shown);
        }
    }
}
