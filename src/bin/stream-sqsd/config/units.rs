//! Times and sizes as people write them: `20s`, `64MiB`.
//!
//! A number without a unit is refused, since anyone who writes `20` for one program means seconds and for the next
//! milliseconds. Each refusal says what to write instead.

use std::time::Duration;

const TIMES: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZES: [(&str, u64); 7] = [
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// What people write for the units, beside the units themselves, in lower case.
const MEANT: [(&str, &str); 29] = [
    ("sec", "s"),
    ("secs", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("min", "m"),
    ("mins", "m"),
    ("minute", "m"),
    ("minutes", "m"),
    ("hr", "h"),
    ("hrs", "h"),
    ("hour", "h"),
    ("hours", "h"),
    ("day", "d"),
    ("days", "d"),
    ("msec", "ms"),
    ("millis", "ms"),
    ("milliseconds", "ms"),
    ("byte", "B"),
    ("bytes", "B"),
    ("k", "KiB"),
    ("kb", "kB"),
    ("kib", "KiB"),
    ("m", "MiB"),
    ("mb", "MB"),
    ("mib", "MiB"),
    ("g", "GiB"),
    ("gb", "GB"),
    ("gib", "GiB"),
    ("s", "s"),
];

/// A time: whole numbers with units, such as `500ms`, `20s`, `5m`, `12h`, `1m30s`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let mut rest = text.trim();
    let mut millis: u64 = 0;
    if rest.is_empty() {
        return Err("it is empty: write a time such as 20s".to_owned());
    }
    while !rest.is_empty() {
        let (part, after) = first_part(rest, text, &TIMES, &["s"])?;
        millis = millis.checked_add(part).ok_or_else(|| format!("{text:?} is too long a time"))?;
        rest = after;
    }
    Ok(Duration::from_millis(millis))
}

/// A size in bytes, such as `512B`, `64KiB`, `256MiB`.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    if text.trim().is_empty() {
        return Err("it is empty: write a size such as 64MiB".to_owned());
    }
    let (bytes, rest) = first_part(text.trim(), text, &SIZES, &["MiB", "B"])?;
    if !rest.is_empty() {
        return Err(format!("{text:?} is not one size: write one such as 64MiB"));
    }
    usize::try_from(bytes).map_err(|_| format!("{text:?} is more than this machine can address"))
}

/// A whole number.
pub(crate) fn count(text: &str) -> Result<usize, String> {
    let digits = text.trim();
    digits.parse().map_err(|_| match digits.bytes().all(|b| b.is_ascii_digit()) && !digits.is_empty() {
        true => format!("{text:?} is too large a number"),
        false => format!("{text:?} is not a whole number: write one such as 64"),
    })
}

/// Yes or no.
pub(crate) fn truth(text: &str) -> Result<bool, String> {
    match text.trim() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

/// The number and unit at the beginning of `rest`, in the smallest unit, and what comes after them. `usual` are the units
/// that somebody may have had in mind who wrote none.
fn first_part<'a>(
    rest: &'a str,
    whole: &str,
    units: &[(&'static str, u64)],
    usual: &[&str],
) -> Result<(u64, &'a str), String> {
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (number, after) = rest.split_at(digits);
    let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
    let (unit, after) = after.split_at(letters);
    if number.is_empty() || unit.starts_with(['.', ',']) {
        return Err(format!("{whole:?} is not a whole number and a unit: write one such as 20{}", usual[0]));
    }
    let unit = unit.trim();
    if unit.is_empty() {
        let meant: Vec<String> = usual.iter().map(|unit| format!("{number}{unit}")).collect();
        return Err(format!("{whole:?} has no unit: write {}", meant.join(" or ")));
    }
    let Some((_, factor)) = units.iter().find(|(known, _)| *known == unit) else {
        let names: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
        let names = names.join(", ");
        let lower = unit.to_ascii_lowercase();
        let meant = MEANT.iter().filter(|(word, _)| *word == lower).map(|(_, unit)| *unit);
        let meant = meant.chain(units.iter().map(|(name, _)| *name).filter(|name| name.eq_ignore_ascii_case(unit)));
        let meant = meant.into_iter().find(|meant| units.iter().any(|(name, _)| name == meant));
        return Err(match meant {
            Some(meant) => format!("{whole:?}: the units are {names}; did you mean {number}{meant}?"),
            None => format!("{whole:?}: {unit:?} is not a unit; the units are {names}"),
        });
    };
    let number: Option<u64> = number.parse().ok();
    let number = number.and_then(|number| number.checked_mul(*factor));
    Ok((number.ok_or_else(|| format!("{whole:?} is too large"))?, after))
}

/// A time as it would be written in a configuration: exact to the millisecond, in as few units as it takes.
pub(crate) fn show_duration(time: Duration) -> String {
    let mut millis = time.as_millis();
    if millis == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    // Not days: "12h" and "36h" read better than half of a day.
    for (unit, factor) in TIMES[..4].iter().rev() {
        let factor = u128::from(*factor);
        if millis >= factor {
            text.push_str(&format!("{}{unit}", millis / factor));
            millis %= factor;
        }
    }
    text
}

/// A size as it would be written in a configuration.
pub(crate) fn show_size(bytes: usize) -> String {
    let fits = |(_, factor): &&(&str, u64)| (bytes as u64).is_multiple_of(*factor) && bytes > 0;
    match SIZES[4..].iter().rev().find(fits) {
        Some((unit, factor)) => format!("{}{unit}", bytes as u64 / factor),
        None => format!("{bytes}B"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_and_a_unit() {
        let good = [("500ms", 500), ("20s", 20_000), ("5m", 300_000), ("12h", 43_200_000), ("1m30s", 90_000)];
        for (text, millis) in good.into_iter().chain([("0s", 0), (" 2 s ", 2_000), ("7d", 604_800_000)]) {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn a_size_is_a_number_and_a_unit() {
        for (text, bytes) in [("512B", 512), ("1kB", 1_000), ("64KiB", 65_536), ("256MiB", 268_435_456)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_shown_is_what_could_have_been_written() {
        for text in ["0s", "250ms", "20s", "1m30s", "12h", "1h5m"] {
            assert_eq!(show_duration(duration(text).unwrap()), text);
        }
        for text in ["0B", "999B", "64KiB", "256MiB", "1GiB"] {
            assert_eq!(show_size(size(text).unwrap()), text);
        }
    }

    #[test]
    fn a_refusal_says_what_to_write() {
        let refused = |text: &str, says: &str| {
            let error = duration(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        };
        refused("20", "write 20s");
        refused("20sec", "did you mean 20s?");
        refused("20S", "did you mean 20s?");
        refused("5 Minutes", "did you mean 5m?");
        refused("20x", r#""x" is not a unit; the units are ms, s, m, h, d"#);
        refused("1.5s", "not a whole number");
        refused("-1s", "not a whole number");
        refused("s", "not a whole number");
        refused("", "it is empty");
        refused("99999999999999999999s", "too large");

        let refused = |text: &str, says: &str| {
            let error = size(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        };
        refused("64", "write 64MiB or 64B");
        refused("64mb", "did you mean 64MB?");
        refused("64M", "did you mean 64MiB?");
        refused("64Mib", "did you mean 64MiB?");
        refused("64s", r#""s" is not a unit"#);
        refused("1MiB2KiB", "not one size");
        assert!(count("1.5").unwrap_err().contains("not a whole number"));
        assert!(count("99999999999999999999999").unwrap_err().contains("too large"));
    }
}
