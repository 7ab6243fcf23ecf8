//! Owns errors about requests that are too long, in the words that clients act on. Claude Code shortens the
//! conversation at "prompt is too long", and asks for a shorter answer if it reads by how much the two together exceed
//! the limit. `LangChain` sees only the message, and knows OpenAI's words.

pub(in crate::wire) mod numbers;

use numbers::{Numbers, plain};

use super::translate::Dialect;

/// A provider's words, behind those that clients of this dialect know for the same.
pub fn restated(message: &str, to: Dialect) -> String {
    match to {
        Dialect::Messages => as_anthropic(message),
        Dialect::Chat | Dialect::Responses => as_openai(message),
    }
}

/// What OpenAI's own words have in them, in lower case: those of chat, of newer models, of Responses.
const OPENAIS: [&str; 3] = ["maximum context length", "configured limit of ", "exceeds the context window"];

/// A provider's words, behind OpenAI's for the same.
fn as_openai(message: &str) -> String {
    let said = plain(message);
    if OPENAIS.iter().any(|words| said.contains(words)) {
        return message.to_owned();
    }
    let Numbers { limit, input, .. } = Numbers::of(&said);
    match limit.zip(input).filter(|(limit, input)| input > limit) {
        Some((limit, input)) => format!(
            "Input tokens exceed the configured limit of {limit} tokens. Your messages resulted in {input} tokens. {message}"
        ),
        None => format!("Your input exceeds the context window of this model. {message}"),
    }
}

/// A provider's words, behind Anthropic's for the same.
fn as_anthropic(message: &str) -> String {
    let said = plain(message);
    if said.contains("prompt is too long") || said.contains("exceed context limit") {
        return message.to_owned();
    }
    let numbers = Numbers::of(&said);
    let Numbers { limit, input, output, total } = numbers;
    let (Some(limit), Some(more)) = (limit, input.or(output).or(total)) else {
        return format!("prompt is too long. {message}");
    };
    if let Some((output, _)) = numbers.too_long_an_answer() {
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
            let told = as_anthropic(&message);
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
            assert_eq!(as_anthropic(message), format!("prompt is too long: {numbers}. {message}"));
        }
        for message in ["Please reduce the length of the messages.", "maximum context length is 10 tokens.", ""] {
            assert_eq!(as_anthropic(message), format!("prompt is too long. {message}"));
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
            let told = as_anthropic(message);
            let want = format!("input length and `max_tokens` exceed context limit: {sum}, ");
            assert!(told.starts_with(&want) && told.ends_with(message), "{told}");
        }
    }

    #[test]
    fn what_others_say_stands_behind_openais_words() {
        for (message, numbers) in [
            ("prompt is too long: 210000 tokens > 200000 maximum", "200000 tokens. Your messages resulted in 210000"),
            (
                "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
                "1048576 tokens. Your messages resulted in 1200000",
            ),
        ] {
            let want = format!("Input tokens exceed the configured limit of {numbers} tokens. {message}");
            assert_eq!(as_openai(message), want);
        }
        let unnumbered = "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000";
        let told = as_openai(unnumbered);
        assert_eq!(told, format!("Your input exceeds the context window of this model. {unnumbered}"));
        assert_eq!(as_openai(&told), told);
    }

    #[test]
    fn anthropics_own_words_are_left_as_they_are() {
        for message in [
            "prompt is too long: 210000 tokens > 200000 maximum",
            "Prompt is too long",
            "input length and `max_tokens` exceed context limit: 9 + 9 > 10",
        ] {
            assert_eq!(as_anthropic(message), message);
        }
    }
}
