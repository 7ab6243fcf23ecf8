//! Owns turning Gemini's partial arguments, values at JSON paths, into pieces of one JSON text.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::{Malformed, json::push};

/// One value, or a piece of a string, at a path such as `$.places[0].name`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PartialArg {
    json_path: String,
    #[serde(default)]
    string_value: Option<String>,
    /// In the provider's own digits.
    #[serde(default)]
    number_value: Option<Box<RawValue>>,
    #[serde(default)]
    bool_value: Option<bool>,
    #[serde(default)]
    will_continue: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Item(usize),
}

/// The text so far: which containers are open, and whether a string is.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    begun: bool,
    /// Path of the value written last.
    at: Vec<Step>,
    in_string: bool,
}

impl Arguments {
    /// Appends one piece. Pieces come in the order of the text.
    pub(crate) fn add(&mut self, arg: &PartialArg, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let path = steps(&arg.json_path).ok_or_else(|| Malformed("an argument's path cannot be read".into()))?;
        if self.in_string && path == self.at {
            let piece = arg.string_value.as_deref().unwrap_or_default();
            push_inner(piece, out);
            if !arg.will_continue {
                out.push(b'"');
                self.in_string = false;
            }
            return Ok(());
        }
        self.go(&path, out)?;
        match (&arg.string_value, &arg.number_value, arg.bool_value) {
            (Some(text), ..) => {
                out.push(b'"');
                push_inner(text, out);
                self.in_string = arg.will_continue;
                if !arg.will_continue {
                    out.push(b'"');
                }
            }
            (_, Some(number), _) if is_number(number) => out.extend_from_slice(number.get().as_bytes()),
            (.., Some(flag)) => out.extend_from_slice(if flag { b"true" } else { b"false" }),
            _ => out.extend_from_slice(b"null"),
        }
        Ok(())
    }

    /// Closes what is open.
    pub(crate) fn end(mut self, out: &mut Vec<u8>) {
        if !self.begun {
            out.extend_from_slice(b"{}");
            return;
        }
        self.close(0, out);
        out.push(b'}');
    }

    /// Closes down to `depth` steps, so that the container there is open.
    fn close(&mut self, depth: usize, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.in_string) {
            out.push(b'"');
        }
        while self.at.len() > depth + 1 {
            out.push(if matches!(self.at.pop(), Some(Step::Item(_))) { b']' } else { b'}' });
        }
    }

    /// Moves to a new value.
    fn go(&mut self, path: &[Step], out: &mut Vec<u8>) -> Result<(), Malformed> {
        let again = || Malformed("arguments out of order".into());
        let mut shared = self.at.iter().zip(path).take_while(|(a, b)| a == b).count();
        if !self.begun {
            self.begun = true;
            out.push(b'{');
        } else if shared == path.len() || shared == self.at.len() {
            return Err(again());
        } else {
            match (&self.at[shared], &path[shared]) {
                (Step::Key(_), Step::Key(_)) => {}
                (Step::Item(last), Step::Item(next)) if *next == last + 1 => {}
                _ => return Err(again()),
            }
            self.close(shared, out);
            self.at.pop();
            out.push(b',');
            step(&path[shared], out);
            self.at.push(path[shared].clone());
            shared += 1;
            return self.descend(path, shared, out);
        }
        step(&path[0], out);
        self.at.push(path[0].clone());
        self.descend(path, 1, out)
    }

    fn descend(&mut self, path: &[Step], from: usize, out: &mut Vec<u8>) -> Result<(), Malformed> {
        for next in &path[from..] {
            match next {
                Step::Key(_) => out.push(b'{'),
                Step::Item(0) => out.push(b'['),
                Step::Item(_) => return Err(Malformed("a list that does not begin at its first item".into())),
            }
            step(next, out);
            self.at.push(next.clone());
        }
        Ok(())
    }
}

fn is_number(value: &RawValue) -> bool {
    value.get().starts_with(|c: char| c == '-' || c.is_ascii_digit())
}

fn step(step: &Step, out: &mut Vec<u8>) {
    if let Step::Key(key) = step {
        push(out, key);
        out.push(b':');
    }
}

/// A string's JSON without its quotes.
fn push_inner(text: &str, out: &mut Vec<u8>) {
    let mut quoted = Vec::with_capacity(text.len() + 2);
    push(&mut quoted, text);
    out.extend_from_slice(quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default());
}

/// Reads a path; the first step is always a key, because arguments are an object.
fn steps(path: &str) -> Option<Vec<Step>> {
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            steps.push(Step::Key(after[..end].to_owned()));
            rest = &after[end..];
        } else if let Some(after) = rest.strip_prefix("['").or_else(|| rest.strip_prefix("[\"")) {
            let quote = if rest.starts_with("['") { "']" } else { "\"]" };
            let end = after.find(quote)?;
            steps.push(Step::Key(after[..end].to_owned()));
            rest = &after[end + 2..];
        } else {
            let (number, after) = rest.strip_prefix('[')?.split_once(']')?;
            steps.push(Step::Item(number.parse().ok()?));
            rest = after;
        }
    }
    matches!(steps.first(), Some(Step::Key(_))).then_some(steps)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn text(args: &Value) -> Result<Value, Malformed> {
        let args: Vec<PartialArg> = serde_json::from_str(&args.to_string()).expect("arguments");
        let (mut arguments, mut out) = (Arguments::default(), Vec::new());
        for arg in &args {
            arguments.add(arg, &mut out)?;
        }
        arguments.end(&mut out);
        Ok(serde_json::from_slice(&out).expect("JSON"))
    }

    #[test]
    fn pieces_become_one_object() {
        let got = text(&json!([
            {"jsonPath": "$.a", "stringValue": "x\"", "willContinue": true},
            {"jsonPath": "$.a", "stringValue": "é"},
            {"jsonPath": "$.list[0].n", "numberValue": 1.5},
            {"jsonPath": "$.list[0].m", "boolValue": true},
            {"jsonPath": "$.list[1].n", "nullValue": null},
            {"jsonPath": "$.deep.er.still", "stringValue": "open", "willContinue": true},
        ]));
        let want =
            json!({"a": "x\"é", "list": [{"n": 1.5, "m": true}, {"n": null}], "deep": {"er": {"still": "open"}}});
        assert_eq!(got, Ok(want));
        assert_eq!(text(&json!([])), Ok(json!({})));
    }

    #[test]
    fn pieces_out_of_order_are_refused() {
        let twice = json!([{"jsonPath": "$.a.b", "boolValue": true}, {"jsonPath": "$.a", "boolValue": true}]);
        assert!(text(&twice).is_err());
        let unreadable = text(&json!([{"jsonPath": "$[0].secret", "boolValue": true}])).expect_err("no key").0;
        assert!(!unreadable.contains("secret"), "clients are told this, and no words of an answer's: {unreadable}");
    }
}
