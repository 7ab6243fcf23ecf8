//! Owns a request's place in a trace: it reads and writes `traceparent` of the W3C's Trace Context, level 1.

use std::{
    fmt,
    num::{NonZeroU64, NonZeroU128},
};

use serde::{Serialize, Serializer};

/// Length of `traceparent` in version 00, bytes. Later versions begin alike and may go on behind another '-'.
const LENGTH: usize = 55;

/// The version that no sender may use.
const INVALID_VERSION: u128 = 0xff;

/// The flag of what its sender may have recorded; no other is known, and those must be passed over.
const SAMPLED: u128 = 1;

/// A trace, in any number of processes. Shown as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(pub NonZeroU128);

/// One span of a trace. Shown as 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanId(pub NonZeroU64);

/// What `traceparent` tells: the trace, the span of whoever asks, and whether that is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace: TraceId,
    /// The parent of what the receiver does.
    pub span: SpanId,
    /// The sender may have recorded its own part.
    pub sampled: bool,
}

impl TraceParent {
    /// Reads the header; `None` where it breaks the rules, and then counts for nothing (W3C Trace Context, 3.2.2).
    pub fn parse(header: &str) -> Option<Self> {
        let bytes = header.as_bytes();
        let version = hex(bytes.get(..2)?)?;
        let ends = match bytes.get(LENGTH) {
            None => true,
            Some(next) => version > 0 && *next == b'-',
        };
        let dashes = [2, 35, 52].iter().all(|at| bytes.get(*at) == Some(&b'-'));
        if version == INVALID_VERSION || !ends || !dashes {
            return None;
        }
        Some(Self {
            trace: TraceId(NonZeroU128::new(hex(bytes.get(3..35)?)?)?),
            span: SpanId(NonZeroU64::new(hex(bytes.get(36..52)?)? as u64)?),
            sampled: hex(bytes.get(53..LENGTH)?)? & SAMPLED != 0,
        })
    }
}

/// The number that these digits are, small letters only; 32 at most.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The header, in version 00.
impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

impl Serialize for TraceId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl Serialize for SpanId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_header_that_breaks_a_rule_counts_for_nothing() {
        assert!(TraceParent::parse(GOOD).is_some_and(|parent| parent.sampled && parent.to_string() == GOOD));
        let bad = [
            String::new(),
            GOOD.to_uppercase(),
            GOOD.replace("0af7", "0Af7"),
            GOOD.replace("0af7651916cd43dd8448eb211c80319c", "00000000000000000000000000000000"),
            GOOD.replace("b7ad6b7169203331", "0000000000000000"),
            GOOD.replace("00-0", "ff-0"),
            GOOD.replace("00-0", "0-00"),
            GOOD.replace('-', "_"),
            GOOD.replace("0af7", "0xf7"),
            GOOD.replace("-01", "-1g"),
            GOOD[..54].to_owned(),
            format!("{GOOD}-more"),
            format!("{GOOD}1"),
            format!("{GOOD} "),
        ];
        for text in bad {
            assert_eq!(TraceParent::parse(&text), None, "{text:?}");
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_this_one_goes() {
        let later = GOOD.replace("00-0", "cc-0");
        let known = TraceParent::parse(GOOD);
        assert_eq!(TraceParent::parse(&later), known);
        assert_eq!(TraceParent::parse(&format!("{later}-what-will-be")), known);
        assert_eq!(TraceParent::parse(&format!("{later}.what-will-be")), None);
    }

    #[test]
    fn of_the_flags_only_the_one_that_is_known_counts() {
        let sampled = |flags: &str| TraceParent::parse(&GOOD.replace("-01", flags)).map(|parent| parent.sampled);
        assert_eq!(["-00", "-01", "-02", "-03", "-ff", "-fe"].map(sampled), [0, 1, 0, 1, 1, 0].map(|is| Some(is == 1)));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(trace in 1_u128.., span in 1_u64.., sampled in any::<bool>()) {
            let (trace, span) = (NonZeroU128::new(trace).map(TraceId), NonZeroU64::new(span).map(SpanId));
            let parent = TraceParent { trace: trace.expect("not 0"), span: span.expect("not 0"), sampled };
            prop_assert_eq!(TraceParent::parse(&parent.to_string()), Some(parent));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,70}", cut in 0_usize..70) {
            let _ = TraceParent::parse(&text);
            let mixed: String = GOOD.chars().take(cut).chain(text.chars()).collect();
            let _ = TraceParent::parse(&mixed);
        }
    }
}
