//! Owns reading from a refusal how long an answer may be. A Messages request must name a limit, so its clients name the
//! most that Claude gives, 32,000 to 128,000 tokens. They mean "as much as there is", but other models refuse such a
//! number. Our own default, where a client names no limit and the protocol wants one, may be too high as well.

use super::too_long::numbers::{Numbers, before, behind, plain};

/// How many tokens an answer may have, by its provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerLimit {
    /// Any answer of the model.
    Model(u64),
    /// This one, beside its prompt.
    Prompt(u64),
}

impl AnswerLimit {
    /// In tokens.
    pub fn tokens(self) -> u64 {
        let (Self::Model(tokens) | Self::Prompt(tokens)) = self;
        tokens
    }
}

/// What the limit is called.
const NAMES: [&str; 4] = ["max_tokens", "max_completion_tokens", "max_output_tokens", "maxoutputtokens"];

/// What stands in front of the most that a model gives, in lower case: OpenAI, Groq, `DeepSeek`, Alibaba.
const MOST: [&str; 5] = [
    "supports at most ",
    "less than or equal to `",
    "less than or equal to ",
    "max_tokens is [1, ",
    "max_tokens should be [1, ",
];

/// What stands in front of the first number that is too large, in lower case: Gemini.
const BELOW: [&str; 1] = ["from 1 (inclusive) to "];

/// What stands behind the most that a model gives, in lower case: Anthropic.
const ABOVE: [&str; 1] = [", which is the maximum allowed number of output tokens"];

/// The lower limit that a refusal of `asked` tokens names, if it names one.
pub fn said(message: &str, asked: u64) -> Option<AnswerLimit> {
    let said = plain(message);
    if !NAMES.iter().any(|name| said.contains(name)) {
        return Numbers::of(&said).left().filter(|left| *left < asked).map(AnswerLimit::Prompt);
    }
    let most = behind(&said, &MOST).or_else(|| before(&said, &ABOVE)).or_else(|| behind(&said, &BELOW)?.checked_sub(1));
    let limit = most.map(AnswerLimit::Model).or_else(|| Numbers::of(&said).left().map(AnswerLimit::Prompt))?;
    (1..asked).contains(&limit.tokens()).then_some(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_model_gives_at_most_is_read_in_each_providers_words() {
        for (message, most) in [
            (
                "max_tokens is too large: 64000. This model supports at most 16384 completion tokens, whereas you provided 64000.",
                16_384,
            ),
            (
                "`max_tokens` must be less than or equal to `16384`, the maximum value for `max_tokens` is less than the `context_window` for this model",
                16_384,
            ),
            ("max_tokens for `llama-3.1-8b-instant` must be less than or equal to 8000", 8_000),
            (
                "max_tokens: 64000 > 32000, which is the maximum allowed number of output tokens for claude-opus-4-1",
                32_000,
            ),
            ("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]", 8_192),
            ("<400> InternalError.Algo.InvalidParameter: Range of max_tokens should be [1, 8192]", 8_192),
            (
                "Unable to submit request because it has a maxOutputTokens value of 64000 but the supported range is from 1 (inclusive) to 8193 (exclusive). Update the value and try again.",
                8_192,
            ),
        ] {
            assert_eq!(said(message, 64_000), Some(AnswerLimit::Model(most)), "{message}");
            assert_eq!(said(message, 1_000), None, "{message}");
        }
    }

    #[test]
    fn what_is_left_beside_the_prompt_is_of_this_prompt_only() {
        for (message, rest) in [
            (
                "'max_tokens' or 'max_completion_tokens' is too large: 64000. This model's maximum context length is 64001 tokens and your request has 24235 input tokens (64000 > 64001 - 24235).",
                39_766,
            ),
            (
                "This model's maximum context length is 8192 tokens. However, you requested 64064 tokens (64 in the messages, 64000 in the completion). Please reduce the length of the messages or completion.",
                8_128,
            ),
            (
                "input length and `max_tokens` exceed context limit: 140000 + 64000 > 200000, decrease input length or `max_tokens` and try again",
                60_000,
            ),
        ] {
            assert_eq!(said(message, 64_000), Some(AnswerLimit::Prompt(rest)), "{message}");
        }
    }

    #[test]
    fn other_refusals_say_nothing_of_it() {
        for message in [
            "temperature must be less than or equal to 2",
            "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            "max_tokens is too large",
            "`max_tokens` must be less than or equal to `0`",
            "",
        ] {
            assert_eq!(said(message, 64_000), None, "{message}");
        }
    }
}
