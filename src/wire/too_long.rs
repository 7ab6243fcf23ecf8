//! Owns telling that a request is too long in Anthropic's words. Its clients act upon them: Claude Code shortens the conversation
//! at "prompt is too long", and asks for a shorter answer where it is told by how much the two together exceed the limit.

/// What stands in front of the limit, in lower case: OpenAI and vLLM, `SGLang`, LM Studio, Gemini, llama.cpp, xAI, Moonshot,
/// Mistral, Alibaba, text-generation-inference.
const LIMIT: [&str; 16] = [
    "configured limit of ",
    "maximum context length is ",
    "maximum context length of ",
    "maximum model length of ",
    "max_model_len=",
    "context length is only ",
    "context length of only ",
    "context length (",
    "context size (",
    "tokens allowed (",
    "maximum prompt length is ",
    "token limit: ",
    "too large for model with ",
    "input length should be [1, ",
    "`max_new_tokens` must be <= ",
    "`inputs` must have less than ",
];
/// What stands in front of the prompt's tokens, in lower case.
const INPUT: [&str; 10] = [
    "messages resulted in ",
    "input token count (",
    "prompt contains at least ",
    "prompt contains ",
    "request contains ",
    "(requested: ",
    "the input (",
    "request (",
    "(length ",
    "given: ",
];
/// What stands behind them.
const OF_INPUT: [&str; 5] =
    [" in the messages", " in your prompt", " of text input", " input tokens", " tokens from the input"];
/// What stands in front of the tokens that the answer may have, in lower case.
const OUTPUT: [&str; 2] = ["max_tokens=", "is too large: "];
/// What stands behind them.
const OF_OUTPUT: [&str; 6] = [
    " in the completion",
    " tokens for the completion",
    " for the completion",
    " in the output",
    " output tokens",
    " `max_new_tokens`",
];
/// What stands in front of both together, in lower case.
const TOTAL: [&str; 3] = ["you requested about ", "you requested ", "a total of "];

/// A shorter answer is not asked for where less than this is left of the limit: Claude Code leaves a thousand tokens free and
/// gives up where three thousand are too many. A shorter prompt helps there.
const ROOM: u64 = 4_000;

/// A provider's words, behind Anthropic's for the same.
pub fn restated(message: &str) -> String {
    let said = ungrouped(&message.to_ascii_lowercase());
    if said.contains("prompt is too long") || said.contains("exceed context limit") {
        return message.to_owned();
    }
    let (limit, total) = (behind(&said, &LIMIT), behind(&said, &TOTAL));
    let input = behind(&said, &INPUT).or_else(|| before(&said, &OF_INPUT));
    let output = before(&said, &OF_OUTPUT).or_else(|| behind(&said, &OUTPUT));
    let (Some(limit), Some(more)) = (limit, input.or(output).or(total)) else {
        return format!("prompt is too long. {message}");
    };
    // Of an answer that would be too long alone, some do not say what the prompt has: no more than is left, as far as is known.
    let rest = limit.saturating_sub(input.unwrap_or(0));
    if let Some(output) = output.filter(|output| rest >= ROOM && *output > rest) {
        let input = input.unwrap_or(0);
        return format!(
            "input length and `max_tokens` exceed context limit: {input} + {output} > {limit}, decrease input length or \
             `max_tokens` and try again. {message}"
        );
    }
    let tokens = input.filter(|input| *input > limit).unwrap_or_else(|| {
        let both = input.unwrap_or(0).saturating_add(output.unwrap_or(0));
        total.unwrap_or(both).max(more)
    });
    if tokens > limit {
        format!("prompt is too long: {tokens} tokens > {limit} maximum. {message}")
    } else {
        format!("prompt is too long. {message}")
    }
}

/// The text with the commas taken out of its numbers.
fn ungrouped(text: &str) -> String {
    let bytes = text.as_bytes();
    let groups = |at: usize| {
        at.checked_sub(1).is_some_and(|before| bytes[before].is_ascii_digit())
            && bytes.get(at + 1..at + 4).is_some_and(|three| three.iter().all(u8::is_ascii_digit))
    };
    text.char_indices().filter(|(at, letter)| *letter != ',' || !groups(*at)).map(|(_, letter)| letter).collect()
}

/// The number behind the first of these words that has one.
fn behind(said: &str, words: &[&str]) -> Option<u64> {
    words.iter().find_map(|words| {
        said.match_indices(words).find_map(|(at, words)| {
            let rest = &said[at + words.len()..];
            let end = rest.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
            rest[..end].parse().ok()
        })
    })
}

/// The number in front of the first of these words that has one.
fn before(said: &str, words: &[&str]) -> Option<u64> {
    words.iter().find_map(|words| {
        said.match_indices(words).find_map(|(at, _)| {
            let digits = said[..at].bytes().rev().take_while(u8::is_ascii_digit).count();
            said[at - digits..at].parse().ok()
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_was_said_stands_behind_words_that_clients_know(
            parts in proptest::collection::vec("[0-9]{0,24}|é|max_tokens=| output tokens| input tokens|maximum context length is ", 0..9),
        ) {
            let (message, known) = (parts.concat(), ["prompt is too long", "input length and `max_tokens` exceed context limit: "]);
            let told = restated(&message);
            prop_assert!(told.ends_with(&message));
            prop_assert!(known.iter().any(|words| told.starts_with(words)), "{}", told);
        }
    }

    #[test]
    fn a_prompt_too_long_is_told_with_the_numbers_of_each_provider() {
        for (message, numbers) in [
            (
                "This model's maximum context length is 128000 tokens. However, your messages resulted in 140000 tokens.",
                "140000 tokens > 128000 maximum",
            ),
            (
                "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
                "1200000 tokens > 1048576 maximum",
            ),
            (
                "This model's maximum context length is 8192 tokens. However, you requested 100 output tokens and your prompt contains at least 9001 input tokens, for a total of at least 9101 tokens.",
                "9001 tokens > 8192 maximum",
            ),
            (
                "You passed 9001 input tokens and requested 100 output tokens. However, the model's context length is only 8192 tokens",
                "9001 tokens > 8192 maximum",
            ),
            ("request (9000 tokens) exceeds the available context size (4096 tokens)", "9000 tokens > 4096 maximum"),
            (
                "This model's maximum prompt length is 131072 but the request contains 138000 tokens.",
                "138000 tokens > 131072 maximum",
            ),
            (
                "Invalid request: Your request exceeded model token limit: 131072 (requested: 140000)",
                "140000 tokens > 131072 maximum",
            ),
            (
                "Prompt contains 42000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
                "42000 tokens > 32768 maximum",
            ),
            (
                "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens.",
                "300000 tokens > 272000 maximum",
            ),
            (
                "This model's maximum context length is 128,000 tokens. However, your messages resulted in 1,130,000 tokens.",
                "1130000 tokens > 128000 maximum",
            ),
            (
                "Input validation error: `inputs` must have less than 4095 tokens. Given: 5000",
                "5000 tokens > 4095 maximum",
            ),
            (
                "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens and 20 `max_new_tokens`",
                "5000 tokens > 4096 maximum",
            ),
            // With so little left, a shorter answer is of no use to anybody.
            (
                "This model's maximum context length is 40960 tokens. However, you requested 71000 tokens (39000 in the messages, 32000 in the completion).",
                "71000 tokens > 40960 maximum",
            ),
        ] {
            assert_eq!(restated(message), format!("prompt is too long: {numbers}. {message}"));
        }
        for message in ["Please reduce the length of the messages.", "maximum context length is 10 tokens.", ""] {
            assert_eq!(restated(message), format!("prompt is too long. {message}"));
        }
    }

    #[test]
    fn an_answer_too_long_beside_its_prompt_is_told_so() {
        for (message, sum) in [
            (
                "This model's maximum context length is 40960 tokens. However, you requested 62768 tokens (30768 in the messages, 32000 in the completion).",
                "30768 + 32000 > 40960",
            ),
            (
                "This endpoint's maximum context length is 200000 tokens. However, you requested about 216945 tokens (116945 of text input, 100000 in the output).",
                "116945 + 100000 > 200000",
            ),
            (
                "'max_tokens' or 'max_completion_tokens' is too large: 32000. This model's maximum context length is 8192 tokens and your request has 1000 input tokens (32000 > 8192 - 1000).",
                "1000 + 32000 > 8192",
            ),
            (
                "Requested token count exceeds the model's maximum context length of 131072 tokens. You requested a total of 142096 tokens: 110096 tokens from the input messages and 32000 tokens for the completion.",
                "110096 + 32000 > 131072",
            ),
            (
                "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 32768. Given: 9000 `inputs` tokens and 30000 `max_new_tokens`",
                "9000 + 30000 > 32768",
            ),
            ("max_tokens=32000 cannot be greater than max_model_len=8192", "0 + 32000 > 8192"),
        ] {
            let told = restated(message);
            let want = format!("input length and `max_tokens` exceed context limit: {sum}, ");
            assert!(told.starts_with(&want) && told.ends_with(message), "{told}");
        }
    }

    #[test]
    fn anthropics_own_words_are_left_as_they_are() {
        for message in [
            "prompt is too long: 210000 tokens > 200000 maximum",
            "Prompt is too long",
            "input length and `max_tokens` exceed context limit: 9 + 9 > 10",
        ] {
            assert_eq!(restated(message), message);
        }
    }
}
