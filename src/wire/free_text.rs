//! Owns tools whose input is free text. Other protocols get them as functions of one string, and calls are turned back.

use serde_json::{Value, json};

use super::{
    chat::Tool,
    json::{list, owned, text},
    tool_names::{Names, is_namespace},
};

/// The one parameter.
const INPUT: &str = "input";

/// The function that stands for a tool; a grammar is told in words. `None` if it has no name.
pub(crate) fn function(tool: &Value) -> Option<Tool> {
    let mut description = text(tool, "description").to_owned();
    let format = tool.get("format").unwrap_or(&Value::Null);
    let grammar = format.get("grammar").unwrap_or(format);
    if let Some(definition) = grammar.get("definition").and_then(Value::as_str) {
        let syntax = grammar.get("syntax").and_then(Value::as_str).unwrap_or_default();
        let which = format!("\n\nThe input must match this {syntax} grammar:\n").replace("  ", " ");
        description.extend([which.as_str(), definition]);
    }
    let input = json!({INPUT: {"type": "string", "description": "The whole input, as plain text."}});
    Some(Tool {
        name: owned(tool, "name")?,
        description: Some(description.trim_start().to_owned()),
        parameters: Some(json!({"type": "object", "properties": input, "required": [INPUT]})),
        strict: None,
        cache: None,
    })
}

/// The arguments of that function for an input.
pub(crate) fn arguments(input: &str) -> String {
    json!({INPUT: input}).to_string()
}

/// The names of free-text tools, as they are told to providers.
pub(super) fn names(tools: &[Value], names: &Names) -> Vec<String> {
    let is_custom = |tool: &&Value| text(tool, "type") == "custom";
    let own = tools.iter().filter(is_custom);
    let own = own.filter_map(|tool| owned(tool.get("custom").unwrap_or(tool), "name"));
    let grouped = tools.iter().filter(|tool| is_namespace(tool)).flat_map(|group| {
        let inner = list(group, "tools").iter().filter(is_custom);
        inner.map(|tool| names.flat(text(group, "name"), text(tool, "name")))
    });
    own.chain(grouped).collect()
}

/// Reads the input out of arguments that come in pieces cut anywhere.
#[derive(Debug, Default)]
pub(crate) struct Input {
    /// Not yet told.
    rest: String,
    state: State,
    /// Bytes of it that have been read, and tokens in them.
    read: usize,
    tokens: usize,
}

/// What stands before the string.
const OPENING: [&str; 4] = ["{", "\"input\"", ":", "\""];

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    /// Before the string.
    #[default]
    Before,
    Within,
    After,
    /// They are of another shape.
    Other,
}

impl Input {
    /// The text that a further piece adds.
    pub(crate) fn add(&mut self, piece: &str) -> String {
        if self.state == State::After {
            return String::new();
        }
        self.rest.push_str(piece);
        self.open();
        if self.state != State::Within {
            return String::new();
        }
        let (end, over) = closed(&self.rest);
        let raw: String = self.rest.drain(..end).collect();
        if over {
            self.state = State::After;
        }
        serde_json::from_str(&format!("\"{raw}\"")).unwrap_or(raw)
    }

    /// Reads on to the string. What has been read is not read again: blanks may come one by one.
    fn open(&mut self) {
        while self.state == State::Before {
            let rest = self.rest[self.read..].trim_start();
            self.read = self.rest.len() - rest.len();
            let token = OPENING[self.tokens];
            if rest.starts_with(token) {
                self.read += token.len();
                self.tokens += 1;
            } else if token.starts_with(rest) {
                return;
            } else {
                self.state = State::Other;
            }
            if self.tokens == OPENING.len() {
                self.rest.drain(..self.read);
                self.state = State::Within;
            }
        }
    }

    /// What is left at the end: the input of arguments in which others come first, or arguments of another shape, which are
    /// taken for the input as they are.
    pub(crate) fn end(&mut self) -> String {
        let rest = std::mem::take(&mut self.rest);
        match std::mem::replace(&mut self.state, State::After) {
            State::After => String::new(),
            State::Within => rest,
            State::Before | State::Other => match serde_json::from_str(&rest) {
                Ok(Value::String(text)) => text,
                Ok(Value::Object(map)) => match map.get(INPUT) {
                    Some(Value::String(text)) => text.clone(),
                    _ if map.is_empty() => String::new(),
                    _ => rest,
                },
                _ => rest,
            },
        }
    }
}

/// How far a string's text goes without cutting an escape, and whether its closing quote follows.
fn closed(text: &str) -> (usize, bool) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return (at, true),
            b'\\' => {
                let length = match bytes.get(at + 1) {
                    None => return (at, false),
                    // The first half of a pair needs its second, unless something else follows.
                    Some(b'u') if is_first_half(bytes.get(at + 2..at + 4)) && may_be_escape(&bytes[at..]) => 12,
                    Some(b'u') => 6,
                    Some(_) => 2,
                };
                if at + length > bytes.len() {
                    return (at, false);
                }
                // What is no escape after all may end within a character.
                at += [length, 2, 1].into_iter().find(|n| text.is_char_boundary(at + n)).unwrap_or(1);
            }
            _ => at += 1,
        }
    }
    (bytes.len(), false)
}

/// Whether the digits of an escape may be those of the first half of a pair.
fn is_first_half(digits: Option<&[u8]>) -> bool {
    matches!(digits, Some([b'd' | b'D', b'8'..=b'9' | b'a' | b'b' | b'A' | b'B']))
}

/// Whether another escape of this kind may follow the first, as far as has come.
fn may_be_escape(text: &[u8]) -> bool {
    text.get(6..).is_none_or(|rest| rest.starts_with(b"\\u") || b"\\u".starts_with(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The input in that function's arguments.
    fn input(arguments: &str) -> String {
        let mut reader = Input::default();
        let mut text = reader.add(arguments);
        text.push_str(&reader.end());
        text
    }

    #[test]
    fn an_input_is_read_whole_however_its_arguments_are_cut() {
        let said = "*** Begin\n\"é\" \\ \u{1F600}\tend";
        for json in [arguments(said), r#" { "input" : "*** Begin\n\"\u00e9\" \\ \ud83d\ude00\tend" } "#.to_owned()] {
            for at in (0..=json.len()).filter(|at| json.is_char_boundary(*at)) {
                let mut reader = Input::default();
                let mut text = reader.add(&json[..at]) + &reader.add(&json[at..]);
                text += &reader.end();
                assert_eq!(text, said, "cut at {at}");
            }
            let mut reader = Input::default();
            let mut text = String::new();
            for c in json.chars() {
                text += &reader.add(c.encode_utf8(&mut [0; 4]));
                // No more of the string waits than an escape that is cut.
                assert!(reader.state != State::Within || reader.rest.len() < 12, "{reader:?}");
            }
            assert_eq!(text + &reader.end(), said);
        }
    }

    #[test]
    fn arguments_of_another_shape_are_the_input_themselves() {
        assert_eq!(input("ls -l"), "ls -l");
        assert_eq!(input("\"ls\\n\""), "ls\n");
        assert_eq!(input("{}"), "");
        assert_eq!(input("{\"patch\":1}"), "{\"patch\":1}");
        assert_eq!(input("{\"input\":7}"), "{\"input\":7}");
        assert_eq!(input("{\"input\":\"\\ud83\u{1F600}\\é"), "\\ud83\u{1F600}\\é");
    }

    #[test]
    fn an_input_is_found_behind_other_members_and_ends_at_its_own_quote() {
        let (blanks, behind) = ([" "; 9], r#"{"reason":"list","input":"ls\n"}"#);
        assert_eq!(input(behind), "ls\n");
        let mut reader = Input::default();
        for (number, blank) in blanks.into_iter().enumerate() {
            assert_eq!((reader.read, reader.add(blank)), (number, String::new()), "what was read is kept in mind");
        }
        let text: String = blanks.into_iter().chain([behind]).chain(blanks).map(|piece| reader.add(piece)).collect();
        assert_eq!(text + &reader.end(), "ls\n");
        for half in [r"\ud83d", r"\ud83dx", r"\ud83d\n"] {
            let json = format!(r#"{{"input":"a{half}","x":"yyyyyyyyyyyy"}}"#);
            let said = input(&json);
            assert!(said.starts_with('a') && !said.contains("yyyy"), "{json}: {said}");
        }
    }

    #[test]
    fn the_tools_are_found_by_name_in_every_shape() {
        let tools = [
            json!({"type": "custom", "custom": {"name": "a"}}),
            json!({"type": "function", "function": {"name": "b"}}),
            json!({"type": "custom", "name": "c"}),
            json!({"type": "namespace", "name": "n", "tools": [{"type": "custom", "name": "d"}, {"name": "e"}]}),
        ];
        assert_eq!(names(&tools, &Names::of(&tools)), ["a", "c", "n__d"]);
    }
}
