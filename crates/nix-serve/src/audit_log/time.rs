//! Points in time as text, in UTC.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Instant(pub(super) u64);

impl Instant {
    /// The clock of this machine; 1970 if it stands before that.
    pub(super) fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let millis = since.map_or(0, |since| since.as_millis());
        Self(u64::try_from(millis).unwrap_or(u64::MAX))
    }

    /// Reads what is printed, with or without the fraction, `T`, `Z` and the time of day.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix('Z').unwrap_or(text);
        let (date, clock) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00"));
        let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
        let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
        let [hours, minutes, seconds] = match clock.len() {
            5 => {
                let [hours, minutes] = numbers(clock, ':', [2, 2])?;
                [hours, minutes, 0]
            }
            _ => numbers(clock, ':', [2, 2, 2])?,
        };
        let is_fraction = (1..=9).contains(&fraction.len());
        if !is_fraction || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let millis: u64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
        if hours > 23 || minutes > 59 || seconds > 60 {
            return None;
        }
        let days = days_since_1970(year, month, day)?;
        let seconds = ((days * 24 + hours) * 60 + minutes) * 60 + seconds;
        Some(Self(seconds * 1000 + millis))
    }

    /// The form in file names: `20260531T120000.123Z`.
    pub(super) fn compact(self) -> String {
        self.to_string().replace(['-', ':'], "")
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.0 / 1000, self.0 % 1000);
        let (days, clock) = (seconds / DAY, seconds % DAY);
        let (year, month, day) = date(days);
        let (hours, minutes, seconds) = (clock / 3600, clock / 60 % 60, clock % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z"
        )
    }
}

/// Milliseconds since 1970 of `2026-05-31`, `2026-05-31T12:00:00Z`, or an age such as `2h`.
///
/// # Errors
/// What is expected.
pub(crate) fn parse_since(text: &str) -> Result<u64, String> {
    let units = [('s', 1), ('m', 60), ('h', 3600), ('d', DAY)];
    let age = units.iter().find_map(|(unit, seconds)| {
        let number: u64 = text.strip_suffix(*unit)?.parse().ok()?;
        number.checked_mul(seconds * 1000)
    });
    let instant = match age {
        Some(age) => Some(Instant::now().0.saturating_sub(age)),
        None => Instant::parse(text).map(|instant| instant.0),
    };
    instant.ok_or_else(|| {
        "expected 2026-05-31, 2026-05-31T12:00:00Z, or an age such as 90m, 2h or 7d".to_owned()
    })
}

fn numbers<const N: usize>(text: &str, separator: char, widths: [usize; N]) -> Option<[u64; N]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; N];
    for (number, width) in numbers.iter_mut().zip(widths) {
        let part = parts.next().filter(|part| part.len() == width)?;
        let is_number = part.bytes().all(|byte| byte.is_ascii_digit());
        *number = part.parse().ok().filter(|_| is_number)?;
    }
    parts.next().is_none().then_some(numbers)
}

/// Years are counted from March here, so that the day of a leap year is the last one.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let last = match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if year < 1970 || !(1..=last).contains(&day) {
        return None;
    }
    let (year, month) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let leaps = year / 4 - year / 100 + year / 400;
    Some(year * 365 + leaps + (month * 153 + 2) / 5 + day - 1 - DAYS_TO_1970)
}

/// Year, month and day.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + DAYS_TO_1970;
    let (era, day) = (days / ERA, days % ERA);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (year * 365 + year / 4 - year / 100);
    let month = (day * 5 + 2) / 153;
    let day_of_month = day - (month * 153 + 2) / 5 + 1;
    let year = era * 400 + year;
    match month {
        10.. => (year + 1, month - 9, day_of_month),
        _ => (year, month + 3, day_of_month),
    }
}

const DAY: u64 = 24 * 60 * 60;
/// Days of 400 years.
const ERA: u64 = 146_097;
/// Days from 1 March of year 0 to 1970 began.
const DAYS_TO_1970: u64 = 719_468;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_the_calendars() {
        let printed = |seconds: u64| Instant(seconds * 1000).to_string();
        assert_eq!(printed(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(printed(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(printed(4_107_542_399), "2100-02-28T23:59:59.000Z");
        assert_eq!(printed(4_107_542_400), "2100-03-01T00:00:00.000Z");
        assert_eq!(Instant(1_780_228_800_123).compact(), "20260531T120000.123Z");
    }

    #[test]
    fn every_day_of_five_hundred_years_comes_back() {
        for day in 0..500 * 365 {
            let instant = Instant(day * DAY * 1000 + 86_399_999);
            assert_eq!(Instant::parse(&instant.to_string()), Some(instant));
        }
    }

    #[test]
    fn times_have_short_forms() {
        let whole = Instant::parse("2026-05-31T12:00:00.500Z").unwrap();
        assert_eq!(Instant::parse("2026-05-31 12:00:00.5"), Some(whole));
        assert_eq!(Instant::parse("2026-05-31T12:00").unwrap().0 + 500, whole.0);
        for text in [
            "2026-02-29",
            "2026-13-01",
            "26-01-01",
            "2026-01-01T25:00",
            "+026-01-01",
            "",
        ] {
            assert_eq!(Instant::parse(text), None, "{text}");
        }
        assert!(parse_since("soon").is_err());
        let hour = parse_since("1h").unwrap();
        assert!(Instant::now().0 - hour >= 3_600_000);
    }
}
