//! What a simulated model answers: always the same to the same prompt, cut into tokens.

use serde_json::{Value, json};

use super::{
    directive::{self, Directives},
    schema,
};

/// The longest run of characters that counts as one token.
const TOKEN_CHARS: usize = 8;

/// A tool that the request offers.
#[derive(Clone, Debug)]
pub(super) struct Tool {
    /// The function's name.
    pub(super) name: String,
    /// The JSON schema of its arguments.
    pub(super) parameters: Value,
    /// Its input is plain text instead.
    pub(super) free_text: bool,
}

/// A chat request, as far as an answer depends on it.
#[derive(Clone, Debug, Default)]
pub(super) struct Ask {
    /// The model asked for.
    pub(super) model: String,
    /// The last text of the user, without directives.
    pub(super) prompt: String,
    /// What the directives in it order.
    pub(super) directives: Directives,
    /// The size of the prompt in tokens.
    pub(super) input_tokens: usize,
    /// The most tokens to answer with.
    pub(super) max_tokens: Option<usize>,
    /// The schema of the JSON asked for.
    pub(super) schema: Option<Value>,
    /// The tool to call, if one is to be called.
    pub(super) tool: Option<Tool>,
    /// The result of a tool, when the last message is one.
    pub(super) tool_result: Option<String>,
    /// Whether to show thinking.
    pub(super) thinking: bool,
}

impl Ask {
    /// Reads the user's text: its directives apart from the prompt.
    pub(super) fn set_prompt(&mut self, text: &str) {
        (self.directives, self.prompt) = directive::split(text);
    }
}

/// Why an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    /// It is complete.
    Stop,
    /// It reached the most tokens.
    Length,
    /// It calls a tool.
    Call,
}

/// What an answer consists of, in tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Text.
    Text(Vec<String>),
    /// A call of a tool, its arguments as JSON text.
    Call {
        /// The tool's name.
        name: String,
        /// The arguments' text.
        arguments: Vec<String>,
    },
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Shown before the content; empty without thinking.
    pub(super) thinking: Vec<String>,
    /// The content.
    pub(super) content: Content,
    /// Why it ends.
    pub(super) finish: Finish,
}

impl Answer {
    /// The content's tokens.
    pub(super) fn pieces(&self) -> &[String] {
        match &self.content {
            Content::Text(pieces) | Content::Call { arguments: pieces, .. } => pieces,
        }
    }

    /// The arguments of a call as JSON; null for text.
    pub(super) fn arguments(&self) -> Value {
        match &self.content {
            Content::Call { arguments, .. } => serde_json::from_str(&arguments.concat()).unwrap_or_default(),
            Content::Text(_) => Value::Null,
        }
    }

    /// How many tokens the content has.
    pub(super) fn tokens(&self) -> usize {
        self.pieces().len()
    }
}

/// Answers a request. A call is never cut to `max_tokens`: half a JSON object is no use to a test.
pub(super) fn answer(provider: &str, ask: &Ask) -> Answer {
    let thinking = if ask.thinking {
        pieces(&format!("The user wrote {} words, so a short answer will do.", ask.prompt.split_whitespace().count()))
    } else {
        Vec::new()
    };
    if let (Some(tool), None) = (&ask.tool, &ask.tool_result) {
        let arguments = if tool.free_text {
            pieces("An example of an input.")
        } else {
            pieces(&schema::sample(&tool.parameters).to_string())
        };
        return Answer {
            thinking,
            content: Content::Call { name: tool.name.clone(), arguments },
            finish: Finish::Call,
        };
    }
    let mut text = match ask.directives.tokens {
        Some(tokens) => (1..=tokens).map(|number| format!("w{number} ")).collect(),
        None => pieces(&words(provider, ask)),
    };
    let most = ask.max_tokens.unwrap_or(usize::MAX);
    let finish = if text.len() > most { Finish::Length } else { Finish::Stop };
    text.truncate(most);
    Answer { thinking, content: Content::Text(text), finish }
}

fn words(provider: &str, ask: &Ask) -> String {
    let plain = if let Some(result) = &ask.tool_result {
        format!("The tool answered: {result}")
    } else if let Some(sum) = sum(&ask.prompt) {
        sum
    } else {
        sentence(provider, ask)
    };
    match &ask.schema {
        Some(schema) if schema.get("properties").is_none() => json!({"answer": plain}).to_string(),
        Some(schema) => schema::sample(schema).to_string(),
        None => plain,
    }
}

fn sentence(provider: &str, ask: &Ask) -> String {
    const OPENINGS: [&str; 4] = ["Gladly.", "Good question.", "Here is an answer.", "Let me see."];
    let opening = OPENINGS[fingerprint(&ask.prompt) as usize % OPENINGS.len()];
    let count = ask.prompt.split_whitespace().count();
    format!("{opening} This is {provider}, a simulated provider, as {} on your {count} words.", ask.model)
}

/// The first `a+b` of two whole numbers in a text, worked out.
fn sum(text: &str) -> Option<String> {
    text.match_indices('+').find_map(|(at, _)| {
        let left = text[..at].trim_end();
        let right = text[at + 1..].trim_start();
        let left = &left[left.trim_end_matches(|c: char| c.is_ascii_digit()).len()..];
        let right = &right[..right.len() - right.trim_start_matches(|c: char| c.is_ascii_digit()).len()];
        let total = left.parse::<u64>().ok()?.checked_add(right.parse().ok()?)?;
        Some(format!("{left} + {right} = {total}."))
    })
}

/// Cuts a text into tokens: words with the space after them, long ones in parts.
pub(super) fn pieces(text: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    for word in text.split_inclusive(' ') {
        let mut piece = String::new();
        for (at, character) in word.chars().enumerate() {
            if at > 0 && at % TOKEN_CHARS == 0 {
                pieces.push(std::mem::take(&mut piece));
            }
            piece.push(character);
        }
        pieces.push(piece);
    }
    pieces
}

/// About how many tokens a text has: four bytes each, at least one.
pub(super) fn estimate(text: &str) -> usize {
    text.len().div_ceil(4).max(1)
}

/// A number that is the same for the same text (FNV-1a, 64 bits).
pub(super) fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// The signature of a thinking text, by which the provider knows its own words again.
pub(super) fn signature(thinking: &str) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.encode(format!("simulated:{:016x}", fingerprint(thinking)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(prompt: &str) -> Ask {
        let mut ask = Ask { model: "m".to_owned(), ..Ask::default() };
        ask.set_prompt(prompt);
        ask
    }

    #[test]
    fn sums_are_worked_out() {
        assert_eq!(answer("p", &ask("What is 2+2?")).pieces().concat(), "2 + 2 = 4.");
        assert_eq!(sum("18446744073709551615+1"), None);
        assert_eq!(sum("é+ü, c++"), None);
    }

    #[test]
    fn the_same_prompt_gets_the_same_answer_with_the_providers_name() {
        let first = answer("p7", &ask("Hello there"));
        assert_eq!(first, answer("p7", &ask("Hello there")));
        assert!(first.pieces().concat().contains("p7"));
        assert_eq!(first.finish, Finish::Stop);
    }

    #[test]
    fn a_directive_sets_the_length_and_max_tokens_cuts_it() {
        let mut ask = ask("go [[tokens=200]]");
        assert_eq!(answer("p", &ask).tokens(), 200);
        ask.max_tokens = Some(5);
        assert_eq!((answer("p", &ask).tokens(), answer("p", &ask).finish), (5, Finish::Length));
    }

    #[test]
    fn an_offered_tool_is_called_and_its_result_is_quoted() {
        let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}});
        let mut ask =
            Ask { tool: Some(Tool { name: "weather".to_owned(), parameters, free_text: false }), ..ask("Weather?") };
        let call = answer("p", &ask);
        assert_eq!((call.pieces().concat().as_str(), call.finish), (r#"{"city":"example"}"#, Finish::Call));
        ask.tool_result = Some("12 degrees".to_owned());
        assert_eq!(answer("p", &ask).pieces().concat(), "The tool answered: 12 degrees");
    }

    #[test]
    fn pieces_put_together_are_the_text() {
        let text = "a very_long_identifier été {\"x\":1}";
        assert_eq!(pieces(text).concat(), text);
        assert!(pieces(text).iter().all(|piece| piece.chars().count() <= TOKEN_CHARS));
    }
}
