//! Owns what a collector's answer means, and when to try again after a temporary refusal; pure.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::Value;

use crate::{
    pause::{doubled, jittered},
    wire::http1::parse_retry_after,
};

/// Statuses after which the same spans are to be sent again (OTLP 1.x, "Retryable Response Codes"); after any other they are
/// not.
const PASSING: [u16; 4] = [429, 502, 503, 504];

/// The first pause; doubles with each failure in a row.
const FIRST: Duration = Duration::from_secs(1);

/// The longest pause, and the longest that a collector may name: by then nothing is left that could be sent again.
const LONGEST: Duration = Duration::from_secs(30);
const LONGEST_NAMED: Duration = KEPT;

/// Spans older than this are not sent again: a batch that no collector will ever take must not stand in the way of all others.
pub(super) const KEPT: Duration = Duration::from_mins(5);

/// What came of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was taken, except for this many spans.
    Taken { refused: usize },
    /// It was not, and would not be if it were sent again.
    Refused(String),
    /// It may be the next time, at the earliest after the time that the collector named.
    Later(String, Option<Duration>),
}

/// What an answer means; `retry_after` is the text of that header.
pub(super) fn verdict(status: u16, retry_after: Option<&str>, body: &[u8], wall: SystemTime) -> Verdict {
    match status {
        200..=299 => Verdict::Taken { refused: refused(body) },
        _ if PASSING.contains(&status) => {
            Verdict::Later(format!("it answered {status}"), retry_after.and_then(|text| parse_retry_after(text, wall)))
        }
        _ => Verdict::Refused(format!("it answered {status}")),
    }
}

/// How many spans the collector took note of and did not keep.
fn refused(body: &[u8]) -> usize {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Told {
        partial_success: Option<Partial>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Partial {
        rejected_spans: Value,
    }
    let told: Told = serde_json::from_slice(body).unwrap_or_default();
    // Written as a string, as JSON has it of all 64-bit numbers of protobuf; not by everybody.
    let count = |spans: Value| spans.as_u64().or_else(|| spans.as_str()?.parse().ok());
    told.partial_success.and_then(|partial| count(partial.rejected_spans)).map_or(0, |count| count as usize)
}

/// The pause after so many failures in a row; `jitter` from 0 to 1 takes up to half of it away, so that several proxies do not
/// come back in step. A named one is kept to, as far as reason goes.
pub(super) fn pause(failures: u32, named: Option<Duration>, jitter: f64) -> Duration {
    let own = jittered(doubled(FIRST, failures.saturating_sub(1), LONGEST), jitter);
    own.max(named.unwrap_or_default().min(LONGEST_NAMED))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;

    use super::*;

    fn of(status: u16, body: &str) -> Verdict {
        verdict(status, Some("7"), body.as_bytes(), UNIX_EPOCH)
    }

    #[test]
    fn only_what_passes_is_sent_again() {
        for status in 100..=599 {
            let verdict = of(status, "");
            let passes = matches!(status, 429 | 502 | 503 | 504);
            assert_eq!(matches!(verdict, Verdict::Later(_, Some(wait)) if wait.as_secs() == 7), passes, "{status}");
            assert_eq!(matches!(verdict, Verdict::Taken { .. }), status / 100 == 2, "{status}");
        }
    }

    #[test]
    fn spans_that_a_collector_did_not_keep_are_told_in_its_answer() {
        for (body, refused) in [
            (r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"x"}}"#, 3),
            (r#"{"partialSuccess":{"rejectedSpans":2}}"#, 2),
            (r#"{"partialSuccess":{}}"#, 0),
            (r#"{"partialSuccess":null}"#, 0),
            ("{}", 0),
            ("", 0),
            ("[]", 0),
            ("\u{0}", 0),
            (r#"{"partialSuccess":{"rejectedSpans":"many"}}"#, 0),
        ] {
            assert_eq!(of(200, body), Verdict::Taken { refused }, "{body}");
        }
    }

    proptest! {
        #[test]
        fn pauses_grow_and_are_bounded(failures in 1_u32.., named in 0_u64..1000, jitter in 0.0..=1.0_f64) {
            let named = Duration::from_secs(named);
            let (plain, told) = (pause(failures, None, jitter), pause(failures, Some(named), jitter));
            prop_assert!(plain >= FIRST / 2 && plain <= LONGEST && told == plain.max(named.min(LONGEST_NAMED)));
            prop_assert!(pause(failures.saturating_add(1), None, jitter) >= plain);
        }
    }
}
