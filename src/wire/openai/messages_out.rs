//! Owns writing the messages of a chat completions request.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::{
    super::{
        Host, Protocol,
        chat::{Loss, Message, Part, Role, Source, Weight},
        json::{MARK, note},
        members::Members,
        translate::Target,
        turns::{CONTINUE, DREW},
        words::told,
    },
    echo,
    models::is_googles,
    reply_out::proven,
};

/// Writes a turn.
pub(super) fn message(message: Message, target: &Target<'_>, losses: &mut Vec<Loss>, out: &mut Vec<Value>) {
    match message.role {
        Role::Assistant => out.push(assistant(message.parts, target, losses)),
        Role::System => out.push(json!({"role": "system", "content": join(&message.parts)})),
        Role::User => user(message.parts, losses, out),
    }
}

fn user(parts: Vec<Part>, losses: &mut Vec<Loss>, out: &mut Vec<Value>) {
    let mut rest = Vec::new();
    for part in parts {
        match part {
            Part::ToolResult { id, parts, error } => rest.extend(result(&id, parts, error, out)),
            // It stands behind a result, or what that shows.
            Part::CacheMark(mark) if rest.iter().all(|part| told(part).is_none()) => keep(out, &mark),
            part => rest.push(part),
        }
    }
    if !rest.is_empty() {
        out.push(json!({"role": "user", "content": content(rest, losses)}));
    }
}

/// Writes a tool's result, of which only words fit there: what else it has follows as the user's.
fn result(id: &str, parts: Vec<Part>, error: bool, out: &mut Vec<Value>) -> Vec<Part> {
    let (texts, mut media): (Vec<Part>, Vec<Part>) = parts.into_iter().partition(|p| told(p).is_some());
    let marks: Vec<Part> = media.extract_if(.., |p| matches!(p, Part::CacheMark(_))).collect();
    let mut text = join(&texts);
    if error && !tells_error(&text) {
        text = format!("Error: {text}");
    }
    if text.is_empty() && !media.is_empty() {
        "The result is attached below.".clone_into(&mut text);
    }
    out.push(json!({"role": "tool", "tool_call_id": id, "content": text}));
    if let Some(Part::CacheMark(mark)) = marks.into_iter().next_back() {
        keep(out, &mark);
    }
    media
}

/// Marks the result that was written last, if that says anything: nothing bears no mark.
fn keep(out: &mut [Value], mark: &Value) {
    if let Some(result) = out.last_mut().filter(|message| message["role"] == "tool")
        && let Some(text) = result["content"].as_str().filter(|text| !text.is_empty())
    {
        result["content"] = marked(text, mark);
    }
}

/// A text with a mark for a cache. Of all that a message has, its texts alone bear one (`OpenRouter`'s API reference,
/// `ChatContentText`).
fn marked(text: &str, mark: &Value) -> Value {
    json!([{"type": "text", "text": text, MARK: mark}])
}

/// Whether a failed tool's words begin with that. Further on it may stand for anything.
fn tells_error(text: &str) -> bool {
    text.trim_start().get(..5).is_some_and(|begin| begin.eq_ignore_ascii_case("error"))
}

fn join(parts: &[Part]) -> String {
    let texts: Vec<Cow<'_, str>> = parts.iter().filter_map(told).collect();
    texts.join("\n")
}

fn assistant(parts: Vec<Part>, target: &Target<'_>, losses: &mut Vec<Loss>) -> Value {
    let mut said = Said::default();
    for part in parts {
        said.add(part, target, losses);
    }
    said.write(target)
}

/// What an assistant's message says, by the members that a chat message has for it.
#[derive(Default)]
struct Said {
    text: String,
    /// Calls before the latest words.
    calls_before: usize,
    refusal: String,
    calls: Vec<Value>,
    /// The member that the server has its reasoning in, and the reasoning.
    reasoning: Option<(&'static str, String)>,
    details: Vec<Value>,
    /// There was an image.
    drew: bool,
    mark: Option<Value>,
}

impl Said {
    fn add(&mut self, part: Part, target: &Target<'_>, losses: &mut Vec<Loss>) {
        match part {
            Part::Text { text, .. } => {
                // Here all calls stand behind the words: those after some are no more of a sentence before them.
                let calls = self.calls.len();
                if std::mem::replace(&mut self.calls_before, calls) < calls && !self.text.is_empty() {
                    self.text.push_str("\n\n");
                }
                self.text.push_str(&text);
            }
            Part::Refusal(text) => self.refusal.push_str(&text),
            Part::ToolCall { id, name, arguments, signature } => {
                let arguments = if arguments.trim().is_empty() { "{}".to_owned() } else { arguments };
                let call = json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
                let takes_proofs = is_googles(target.model) && target.host != Host::OpenRouter;
                let proof = signature.filter(|signature| takes_proofs && signature.origin == Protocol::Gemini);
                self.calls.push(proven(call, proof.as_ref()));
            }
            Part::Thinking { text, signature } => match echo::kept(signature.as_ref(), target.model) {
                Some((member, details)) => {
                    self.reasoning.get_or_insert_with(|| (member, String::new())).1.push_str(&text);
                    self.details.extend(details);
                }
                None => note(losses, "messages[].thinking", Weight::Note),
            },
            // A call has no place for one.
            Part::CacheMark(mark) if self.calls.is_empty() => self.mark = Some(mark),
            Part::CacheMark(_) => {}
            other => {
                self.drew |= matches!(other, Part::Image { .. });
                note(losses, "messages[].content[] of the assistant", Weight::Hint);
            }
        }
    }

    fn write(self, target: &Target<'_>) -> Value {
        let Self { mut text, refusal, mut calls, reasoning, mut details, drew, mark, .. } = self;
        if text.is_empty() && refusal.is_empty() && calls.is_empty() {
            // Nothing is left of images and files, and roles have to alternate.
            if drew { DREW } else { CONTINUE }.clone_into(&mut text);
        }
        let mut message = Map::new();
        message.set("role", "assistant");
        message.set(
            "content",
            match mark {
                _ if text.is_empty() => Value::Null,
                Some(mark) => marked(&text, &mark),
                None => text.into(),
            },
        );
        message.set_some("refusal", Some(refusal).filter(|refusal| !refusal.is_empty()));
        if !calls.is_empty() {
            echo::stand_in(&mut calls, &mut details, target);
            // Wanted back in a tool loop; elsewhere some servers refuse it.
            if let Some((member, text)) = reasoning.filter(|(_, text)| !text.is_empty()) {
                message.set(member, text);
            }
            if target.host == Host::OpenRouter && !details.is_empty() {
                message.set(echo::DETAILS, details);
            }
            message.set("tool_calls", calls);
        }
        Value::Object(message)
    }
}

/// A string where text is all there is: the form every server takes (QwenLM/qwen-code#2320).
pub(super) fn content(parts: Vec<Part>, losses: &mut Vec<Loss>) -> Value {
    let texts: Option<Vec<Cow<'_, str>>> = parts.iter().map(told).collect();
    if let Some(texts) = texts {
        return texts.join("\n\n").into();
    }
    let mut out = Vec::new();
    for part in parts {
        if let Some(text) = told(&part) {
            out.push(json!({"type": "text", "text": text}));
            continue;
        }
        if let Part::CacheMark(mark) = part {
            if let Some(text) = out.last_mut().filter(|part| part["type"] == "text") {
                text[MARK] = mark;
            }
            continue;
        }
        out.push(match part {
            Part::Image { source, detail, .. } => {
                let Some(url) = source.to_url() else {
                    note(losses, "messages[].content[].source.file_id", Weight::Answer);
                    continue;
                };
                let mut image = Map::from_iter([("url".to_owned(), url.into())]);
                image.set_some("detail", detail);
                json!({"type": "image_url", "image_url": image})
            }
            Part::File { source: source @ Source::Data { .. }, name } => {
                json!({"type": "file", "file": {"filename": name.unwrap_or_else(|| "document.pdf".into()), "file_data": source.to_url()}})
            }
            Part::File { .. } => {
                note(losses, "messages[].content[].document", Weight::Answer);
                continue;
            }
            Part::Audio { data, format } => json!({"type": "input_audio", "input_audio": {"data": data, "format": format}}),
            _ => continue,
        });
    }
    Value::Array(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::support::target;

    #[test]
    fn words_before_and_after_a_call_are_no_one_sentence_and_those_in_several_parts_are() {
        let call = || Part::ToolCall { id: "t".into(), name: "f".into(), arguments: String::new(), signature: None };
        let text = |text: &str| Part::text(text);
        let target = target(Protocol::Openai, "qwen3");
        for (parts, want) in [
            (vec![text("It "), text("is."), call()], "It is."),
            (vec![text("Look."), call(), text("It "), text("is."), call()], "Look.\n\nIt is."),
            (vec![call(), text("Done.")], "Done."),
        ] {
            assert_eq!(assistant(parts, &target, &mut Vec::new())["content"], want);
        }
    }
}
