//! Owns reading the numbers out of a refusal: how much a model takes, and how much the prompt and the answer were.

/// What stands in front of the limit, in lower case: OpenAI and vLLM, `SGLang`, LM Studio, Gemini, llama.cpp, xAI, Moonshot,
/// Mistral, Alibaba, text-generation-inference, Anthropic.
const LIMIT: [&str; 17] = [
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
    " tokens > ",
];
/// What stands in front of the prompt's tokens, in lower case.
const INPUT: [&str; 11] = [
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
    "prompt is too long: ",
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

/// The numbers of a refusal.
#[derive(Debug, Clone, Copy)]
pub(in crate::wire) struct Numbers {
    /// The limit of prompt and answer together, or of the prompt, tokens.
    pub(in crate::wire) limit: Option<u64>,
    /// The prompt.
    pub(in crate::wire) input: Option<u64>,
    /// The answer, as it was asked for.
    pub(in crate::wire) output: Option<u64>,
    /// Both.
    pub(in crate::wire) total: Option<u64>,
}

impl Numbers {
    /// The numbers in a message that was made `plain`.
    pub(in crate::wire) fn of(said: &str) -> Self {
        if let Some([input, output, limit]) = sum(said) {
            return Self { limit: Some(limit), input: Some(input), output: Some(output), total: None };
        }
        Self {
            limit: behind(said, &LIMIT),
            input: behind(said, &INPUT).or_else(|| before(said, &OF_INPUT)),
            output: before(said, &OF_OUTPUT).or_else(|| behind(said, &OUTPUT)),
            total: behind(said, &TOTAL),
        }
    }

    /// The answer, and how much of the limit is left for it, where that is less and still of use. Of an answer that would be too
    /// long alone, some do not say what the prompt has: no more than is left, as far as is known.
    pub(in crate::wire) fn too_long_an_answer(&self) -> Option<(u64, u64)> {
        let rest = self.limit?.saturating_sub(self.input.unwrap_or(0));
        self.output.filter(|output| rest >= ROOM && *output > rest).map(|output| (output, rest))
    }

    /// Tokens left for an answer beside its prompt, where a longer one was refused and what the prompt has was said.
    pub(in crate::wire) fn left(&self) -> Option<u64> {
        let (_, rest) = self.too_long_an_answer()?;
        self.input.map(|_| rest)
    }
}

/// Prompt, answer and limit, as Anthropic tells that the two together are more than that.
fn sum(said: &str) -> Option<[u64; 3]> {
    let (_, sum) = said.split_once("exceed context limit: ")?;
    let mut numbers = sum.split(|letter: char| !letter.is_ascii_digit()).filter_map(|digits| digits.parse().ok());
    Some([numbers.next()?, numbers.next()?, numbers.next()?])
}

/// A message in lower case, with the commas taken out of its numbers.
pub(in crate::wire) fn plain(message: &str) -> String {
    let text = message.to_ascii_lowercase();
    let bytes = text.as_bytes();
    let groups = |at: usize| {
        at.checked_sub(1).is_some_and(|before| bytes[before].is_ascii_digit())
            && bytes.get(at + 1..at + 4).is_some_and(|three| three.iter().all(u8::is_ascii_digit))
    };
    text.char_indices().filter(|(at, letter)| *letter != ',' || !groups(*at)).map(|(_, letter)| letter).collect()
}

/// The number behind the first of these words that has one.
pub(in crate::wire) fn behind(said: &str, words: &[&str]) -> Option<u64> {
    words.iter().find_map(|words| {
        said.match_indices(words).find_map(|(at, words)| {
            let rest = &said[at + words.len()..];
            let end = rest.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
            rest[..end].parse().ok()
        })
    })
}

/// The number in front of the first of these words that has one.
pub(in crate::wire) fn before(said: &str, words: &[&str]) -> Option<u64> {
    words.iter().find_map(|words| {
        said.match_indices(words).find_map(|(at, _)| {
            let digits = said[..at].bytes().rev().take_while(u8::is_ascii_digit).count();
            said[at - digits..at].parse().ok()
        })
    })
}
