//! Owns what Greenroom reads of a request body, in one pass over its top level with no tree built.

mod edit;
pub mod form;
mod head;
mod room;

use std::ops::Range;

pub use self::edit::Change;
use self::room::{Room, options};
use super::scan::{self, Cursor, Malformed};

/// The top level of a request, as far as the gateway cares.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Envelope {
    /// `model`, if it is a string.
    pub model: Option<String>,
    /// `backend`.
    pub pin: Pin,
    /// `stream`.
    pub stream: Stream,
    /// The values of `PROMPTS`, whichever are there: where they stand, and their first bytes.
    prompts: [Option<(Range<usize>, u8)>; PROMPTS.len()],
    /// `n`, if it is a number.
    n: Option<u32>,
    /// Most tokens that the answer may have, whichever of its names says so.
    pub max_tokens: Option<u64>,
    /// The client asks for token usage in the stream.
    pub include_usage: bool,
    usage: Room,
    model_at: Option<Member>,
    backend_at: Option<Member>,
    stream_at: Option<Member>,
    options_at: Option<Member>,
    /// Position of the closing brace.
    close: usize,
    /// It is a form's: what stands in it is not in quotes.
    pub is_form: bool,
    /// The files of a form that each count as a medium.
    pub media: usize,
}

/// The `backend` member.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Pin {
    /// Not there.
    #[default]
    None,
    /// A non-empty string.
    To(String),
    /// Something else.
    Bad,
}

/// The `stream` member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stream {
    /// False, null or not there.
    #[default]
    Off,
    /// True.
    On,
    /// Something else; never guessed.
    Bad,
}

/// Why a body was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// Not a JSON object; why.
    NotJson(String),
    /// Said to be no form, or one without a boundary of use.
    NoBoundary,
    /// Not a form; why.
    NotForm(&'static str),
    /// A key that decides something stands there twice, so that two readers could decide differently.
    Twice(&'static str),
}

/// Where a member stands.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    /// End of the value before, or just behind the opening brace.
    from: usize,
    first: bool,
    value: Range<usize>,
}

/// The members that make up a prompt, in the order in which a model reads them, and those that tell where the provider has it.
const PROMPTS: [&str; 8] =
    ["system", "instructions", "messages", "input", "prompt", "query", "conversation", "previous_response_id"];

/// Reads a body's top level.
pub fn read(body: &[u8]) -> Result<Envelope, Unreadable> {
    let text = scan::text(body).map_err(Unreadable::NotJson)?;
    let mut reader = Reader { text, found: Envelope::default(), twice: None };
    reader.members().map_err(|Malformed| Unreadable::NotJson(scan::why(text)))?;
    match reader.twice {
        Some(key) => Err(Unreadable::Twice(key)),
        None => Ok(reader.found),
    }
}

impl Envelope {
    /// Whether `ask_usage` would change anything: a stream without token usage.
    pub fn usage_can_be_asked(&self) -> bool {
        self.stream == Stream::On && self.usage != Room::Nowhere
    }

    /// The first byte of the value of a member that makes up the prompt, one of `PROMPTS`.
    pub fn prompt(&self, member: &str) -> Option<u8> {
        self.place(member).map(|(_, first)| *first)
    }

    fn place(&self, member: &str) -> Option<&(Range<usize>, u8)> {
        self.prompts[PROMPTS.iter().position(|p| *p == member)?].as_ref()
    }

    /// How many choices an answer has: as many as `n` asks for, and of text completions as many for each prompt.
    pub fn choices(&self, body: &[u8]) -> u32 {
        let prompts = self.place("prompt").filter(|(_, first)| *first == b'[');
        let prompts = prompts.and_then(|(at, _)| scan::text(body.get(at.clone())?).ok()).map_or(1, count);
        self.n.unwrap_or(1).max(1).saturating_mul(prompts.max(1))
    }

    /// Whether there is a `model` member, of whatever kind.
    pub fn has_model(&self) -> bool {
        self.model_at.is_some()
    }
}

struct Reader<'t> {
    text: &'t str,
    found: Envelope,
    twice: Option<&'static str>,
}

impl Reader<'_> {
    fn members(&mut self) -> Result<(), Malformed> {
        let mut json = Cursor::new(self.text);
        // Behind the opening brace.
        let (mut from, mut first) = (json.at() + 1, true);
        json.object(|json, key| {
            let value = json.at()..json.at() + json.value()?.len();
            self.member(key, Member { from, first, value });
            (from, first) = (json.at(), false);
            Ok(())
        })?;
        self.found.close = json.at() - 1;
        json.end()
    }

    fn member(&mut self, key: &str, member: Member) {
        let value = &self.text[member.value.clone()];
        let found = &mut self.found;
        match key {
            "model" => {
                found.model = serde_json::from_str(value).ok();
                Self::once(&mut found.model_at, member, "model", &mut self.twice);
            }
            "backend" => {
                found.pin = match serde_json::from_str::<String>(value) {
                    Ok(name) if !name.is_empty() => Pin::To(name),
                    _ => Pin::Bad,
                };
                Self::once(&mut found.backend_at, member, "backend", &mut self.twice);
            }
            "stream" => {
                found.stream = match value {
                    "true" => Stream::On,
                    "false" | "null" => Stream::Off,
                    _ => Stream::Bad,
                };
                Self::once(&mut found.stream_at, member, "stream", &mut self.twice);
            }
            "stream_options" => {
                (found.usage, found.include_usage) = options(value, member.value.start);
                Self::once(&mut found.options_at, member, "stream_options", &mut self.twice);
            }
            "n" => found.n = value.parse().ok(),
            "max_tokens" | "max_completion_tokens" | "max_output_tokens" => {
                found.max_tokens = value.parse().ok().or(found.max_tokens);
            }
            _ => {
                // Servers in Go take a key in any case, and the last one.
                if let Some(known) = ["model", "stream"].into_iter().find(|known| known.eq_ignore_ascii_case(key)) {
                    self.twice = Some(known);
                } else if let Some(prompt) = PROMPTS.iter().position(|p| *p == key) {
                    found.prompts[prompt] = value.bytes().next().map(|first| (member.value, first));
                }
            }
        }
    }

    fn once(slot: &mut Option<Member>, member: Member, key: &'static str, twice: &mut Option<&'static str>) {
        if slot.replace(member).is_some() {
            *twice = Some(key);
        }
    }
}

/// How many prompts a list holds; a list of numbers is one, in tokens.
fn count(prompts: &str) -> u32 {
    let mut count = 0;
    // What is no list was refused before.
    drop(Cursor::new(prompts).list(|json| {
        count += u32::from(json.begins(b'"') || json.begins(b'['));
        json.value().map(drop)
    }));
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_deciding_key_is_refused_even_when_it_is_escaped_or_in_capitals() {
        for body in [
            r#"{"model":"a","mod\u0065l":"b"}"#,
            r#"{"backend":"a","backend":"b"}"#,
            r#"{"stream":false,"stream":true}"#,
            r#"{"model":"a","Model":"b"}"#,
            r#"{"model":"a","STREAM":true}"#,
        ] {
            assert!(matches!(read(body.as_bytes()), Err(Unreadable::Twice(_))), "{body}");
        }
    }

    #[test]
    fn most_tokens_of_an_answer_are_read_under_each_of_their_names_and_what_is_no_number_says_nothing() {
        for (body, want) in [
            (r#"{"max_tokens":7}"#, Some(7)),
            (r#"{"max_completion_tokens" : 8 }"#, Some(8)),
            (r#"{"max_output_tokens":9,"max_tokens":null}"#, Some(9)),
            (r#"{"max_tokens":"7"}"#, None),
            (r#"{"max_tokens":-1,"max_completion_tokens":1e9}"#, None),
            (r#"{"max_tokens":99999999999999999999}"#, None),
            ("{}", None),
        ] {
            assert_eq!(read(body.as_bytes()).expect("readable").max_tokens, want, "{body}");
        }
    }

    #[test]
    fn as_many_choices_are_asked_for_as_prompts_and_answers_to_each() {
        for (body, want) in [
            (r#"{"messages":[1,2]}"#, 1),
            (r#"{"messages":[],"n":3}"#, 3),
            (r#"{"messages":[],"n":null}"#, 1),
            (r#"{"prompt":"a","n":2}"#, 2),
            (r#"{"prompt":["a" , "b"],"n":2}"#, 4),
            (r#"{"prompt":[1,2,3]}"#, 1),
            (r#"{"prompt":[[1,2],[3]]}"#, 2),
            (r#"{"prompt":[]}"#, 1),
        ] {
            assert_eq!(read(body.as_bytes()).expect("readable").choices(body.as_bytes()), want, "{body}");
        }
    }

    #[test]
    fn a_body_cut_anywhere_is_refused() {
        let body = r#"{"model":"m","messages":[{"role":"user","content":"h\u00e9é"}],"n":-1.5e3,"stream":true}"#;
        for end in 0..body.len() {
            assert!(matches!(read(&body.as_bytes()[..end]), Err(Unreadable::NotJson(_))), "cut at {end}");
        }
        for body in ["[]", "null", "1", "\"x\"", "{} {}", "{\"a\":1}x"] {
            assert!(read(body.as_bytes()).is_err(), "{body}");
        }
    }
}
