//! Owns reading `Retry-After` (RFC 9110, 10.2.3).

use std::time::{Duration, SystemTime};

/// The wait that its value names: seconds, of which some servers send fractions, or a date; zero if that has passed.
pub fn parse_retry_after(value: &str, wall: SystemTime) -> Option<Duration> {
    let text = value.trim();
    if let Ok(seconds) = text.parse() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    Some(httpdate::parse_http_date(text).ok()?.duration_since(wall).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn a_wait_is_named_in_seconds_or_by_a_date() {
        let wall = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let [ahead, past] = [wall + Duration::from_secs(9), wall - Duration::from_secs(9)].map(httpdate::fmt_http_date);
        for (text, millis) in [
            ("5", Some(5000)),
            (" 1.5 ", Some(1500)),
            (&*ahead, Some(9000)),
            (&*past, Some(0)),
            ("soon", None),
            ("-5", None),
            ("NaN", None),
            ("inf", None),
            ("", None),
        ] {
            assert_eq!(parse_retry_after(text, wall), millis.map(Duration::from_millis), "{text}");
        }
    }
}
