//! Orders that a test writes into the user's text: `[[tokens=200 pace_ms=10 first_ms=50 fail=503]]`.

use std::time::Duration;

use super::Failure;

/// The longest answer that can be ordered, in tokens: enough for any test, and no way to fill the memory.
pub(super) const MOST_TOKENS: usize = 10_000;

/// The longest wait that can be ordered, in milliseconds: an hour, longer than any caller's patience.
const LONGEST_MS: u64 = 3_600_000;

/// What the user's text orders; anything unknown in it is ignored, as a model would.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Directives {
    /// The exact length of a text answer.
    pub(super) tokens: Option<usize>,
    /// Between two tokens.
    pub(super) pace: Option<Duration>,
    /// Before the first token.
    pub(super) first: Option<Duration>,
    /// How this one request goes wrong.
    pub(super) failure: Option<Failure>,
}

/// Takes the orders out of a text; what is left is the prompt.
pub(super) fn split(text: &str) -> (Directives, String) {
    let Some((before, rest)) = text.split_once("[[") else { return (Directives::default(), text.to_owned()) };
    let Some((orders, after)) = rest.split_once("]]") else { return (Directives::default(), text.to_owned()) };
    let number = |key: &str| {
        orders
            .split_whitespace()
            .filter_map(|order| order.split_once('='))
            .find(|(name, _)| *name == key)
            .and_then(|(_, value)| value.parse::<u64>().ok())
    };
    let millis = |key: &str| number(key).map(|millis| Duration::from_millis(millis.min(LONGEST_MS)));
    let first = millis("first_ms");
    let failure = if let Some(status) = number("fail") {
        Some(Failure::Status {
            status: u16::try_from(status).unwrap_or(500),
            retry_after: number("retry_after"),
            after: first.unwrap_or_default(),
        })
    } else if number("hang").is_some_and(|hang| hang > 0) {
        Some(Failure::Hang)
    } else {
        number("cut").map(|tokens| Failure::Cut { after_tokens: tokens as usize })
    };
    let directives = Directives {
        tokens: number("tokens").map(|tokens| (tokens as usize).min(MOST_TOKENS)),
        pace: millis("pace_ms"),
        first,
        failure,
    };
    (directives, format!("{}{}", before.trim_end(), after).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_and_leave_the_prompt() {
        let (orders, prompt) = split("Tell me [[tokens=7 pace_ms=10 first_ms=50 odd=x cut=3]]");
        assert_eq!(prompt, "Tell me");
        assert_eq!(orders.tokens, Some(7));
        assert_eq!(orders.pace, Some(Duration::from_millis(10)));
        assert_eq!(orders.first, Some(Duration::from_millis(50)));
        assert_eq!(orders.failure, Some(Failure::Cut { after_tokens: 3 }));
    }

    #[test]
    fn brackets_without_an_end_are_text() {
        assert_eq!(split("a [[ b"), (Directives::default(), "a [[ b".to_owned()));
    }
}
