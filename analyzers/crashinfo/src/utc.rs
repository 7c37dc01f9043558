//! Times of day as text.

/// Seconds since 1970 as `2026-11-28 08:00:00`, in UTC, by the Gregorian calendar.
pub fn text(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// Year, month and day of a number of days since 1970: years begin in March here, so that the day that is there only sometimes is
/// the last one.
fn date(days: i64) -> (i64, i64, i64) {
    // 1970-01-01 is so many days behind 0000-03-01; 400 years have so many.
    const TO_1970: i64 = 719_468;
    const ERA: i64 = 146_097;
    let days = days + TO_1970;
    let (era, day) = (days.div_euclid(ERA), days.rem_euclid(ERA));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn days_have_dates() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00"),
            (-1, "1969-12-31 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (951_868_800, "2000-03-01 00:00:00"),
            (1_132_303_600, "2005-11-18 08:46:40"),
            (4_107_542_399, "2100-02-28 23:59:59"),
            (4_107_542_400, "2100-03-01 00:00:00"),
        ] {
            assert_eq!(text(seconds), expected);
        }
        // Whatever is in a dump.
        text(i64::MAX / 1_000_000_000);
        text(i64::MIN / 1_000_000_000);
    }
}
