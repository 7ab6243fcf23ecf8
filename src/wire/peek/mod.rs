//! Owns looking into OpenAI answers that pass through untouched: is this content, the end, an error, the token count?

mod calls;
mod choices;
mod listing;
pub mod messages;
mod pattern;
pub mod responses;
mod transcript;
mod usage;
mod whole;

use serde::Deserialize;

use self::choices::Choices;
pub use self::{
    calls::names_call,
    listing::listing,
    pattern::Pattern,
    transcript::{media_event, transcript},
    whole::whole,
};
use crate::wire::{
    Malformed, Observed,
    json::malformed,
    openai::fault::{detail, told},
    scan::{self, Cursor, halves},
};

/// The end marker's data.
const DONE: &[u8] = b"[DONE]";

/// What one frame's data means.
pub fn frame(data: &[u8]) -> Result<Observed<'_>, Malformed> {
    if data == DONE {
        return Ok(Observed { done: true, ..Observed::default() });
    }
    body(data)
}

/// What a frame's data means under the name of its event: one named `error` tells nothing else, in whatever shape.
pub fn event<'a>(name: Option<&str>, data: &'a [u8]) -> Result<Observed<'a>, Malformed> {
    if name == Some("error") && data != DONE {
        return Ok(Observed::error(told(data)));
    }
    frame(data)
}

/// Reads JSON. As text first: what is skipped or borrowed is checked for UTF-8 nowhere else.
fn parsed<'a, T: Deserialize<'a>>(data: &'a [u8]) -> Result<T, Malformed> {
    let text = scan::text(data).map_err(Malformed)?;
    serde_json::from_str(text).map_err(|error| malformed(&error))
}

fn body(data: &[u8]) -> Result<Observed<'_>, Malformed> {
    let mut choices = Choices::default();
    let seen = members(data, "choices", |json| {
        choices = choices::read(json)?;
        Ok(())
    })?;
    let Choices { count, finish, content, intricate, moves, gave_up, usage, text } = choices;
    let usage_only = count == 0 && seen.usage.is_some();
    let usage = seen.usage.or(usage);
    Ok(Observed { content, finish, moves, usage, usage_only, gave_up, text, intricate, ..seen })
}

/// Reads what the members of an answer or a chunk mean, but for its list of this name: that `read` has to read, unless it is null.
fn members<'t>(
    data: &'t [u8],
    list: &str,
    mut read: impl FnMut(&mut Cursor<'t>) -> Result<(), scan::Malformed>,
) -> Result<Observed<'t>, Malformed> {
    others(data, |json, key| {
        let is_list = key == list;
        if is_list {
            json.maybe(&mut read)?;
        }
        Ok(is_list)
    })
}

/// Reads what the members of an answer or a chunk mean, but for those that `own` reads, of which it says so.
fn others<'t>(
    data: &'t [u8],
    mut own: impl FnMut(&mut Cursor<'t>, &str) -> Result<bool, scan::Malformed>,
) -> Result<Observed<'t>, Malformed> {
    let text = scan::text(data).map_err(Malformed)?;
    let (mut json, mut seen, mut failed) = (Cursor::new(text), Observed::default(), false);
    let all = json.object(|json, key| {
        match key {
            _ if own(json, key)? => {}
            // Whatever else stands there counts nothing.
            "usage" if json.begins(b'{') => seen.usage = Some(usage::read(json)?),
            "error" => seen.fault = json.maybe(small)?.and_then(detail),
            // vLLM, FastChat and DeepInfra tell an error without a member around it.
            "object" => failed |= json.value()? == "\"error\"",
            "error_code" | "error_message" => failed |= !matches!(json.value()?, "0" | "null" | "\"\""),
            _ => drop(json.value()?),
        }
        Ok(())
    });
    all.and_then(|()| json.end()).map_err(|scan::Malformed| why(text))?;
    if failed && seen.fault.is_none() {
        seen.fault = Some(told(data));
    }
    Ok(seen)
}

/// A body without anything in it is told as that.
fn not_empty(data: &[u8]) -> Result<(), Malformed> {
    if data.trim_ascii().is_empty() { Err(Malformed("the body is empty".into())) } else { Ok(()) }
}

/// What is wrong with the text of an object, in words of ours.
fn why(text: &str) -> Malformed {
    scan::fault(text).map_or_else(|| Malformed(scan::UNEXPECTED.to_owned()), |error| malformed(&error))
}

/// Reads what one frame's data means under the name of its event. Where halves of letters are all that is wrong with it, they
/// are read as the replacement character.
fn legible<'a>(
    name: Option<&str>,
    data: &'a [u8],
    read: for<'d> fn(Option<&str>, &'d [u8]) -> Result<Observed<'d>, Malformed>,
) -> Result<Observed<'a>, Malformed> {
    let why = match read(name, data) {
        Err(why) => why,
        seen => return seen,
    };
    let replaced = halves::replaced(data).ok_or(why)?;
    read(name, &replaced).map(Observed::owned)
}

/// Reads a value that is small, or rare.
fn small<'t, T: Deserialize<'t>>(json: &mut Cursor<'t>) -> Result<T, scan::Malformed> {
    serde_json::from_str(json.value()?).map_err(|_| scan::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Usage, course::Moves};

    #[test]
    fn a_role_frame_is_not_content_and_text_is() {
        let role =
            frame(br#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#);
        assert_eq!(role, Ok(Observed { moves: Moves::of(0, false, false), ..Observed::default() }));
        let text =
            frame(br#"{"choices":[{"index":0,"delta":{"content":"h\u00e9"},"finish_reason":null}]}"#).expect("text");
        assert!(text.content && !text.intricate);
        assert_eq!(text.text, "hé");
    }

    #[test]
    fn tool_arguments_and_reasoning_are_content() {
        for delta in [r#"{"tool_calls":[{"index":0}]}"#, r#"{"reasoning_content":"hm"}"#, r#"{"refusal":"no"}"#] {
            let data = format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#);
            let seen = frame(data.as_bytes()).expect("frame");
            assert!(seen.content && seen.intricate, "{delta}");
        }
    }

    #[test]
    fn usage_finish_end_and_errors_are_seen() {
        let usage = frame(br#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":2}}}"#);
        assert_eq!(usage.expect("usage").usage, Some(Usage { input: 3, output: 4, cached: 2, ..Usage::default() }));
        let within = frame(br#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop","usage":{"prompt_tokens":3,"completion_tokens":4,"cached_tokens":2}}]}"#);
        let within = within.expect("Kimi's finish");
        assert_eq!(within.usage, Some(Usage { input: 3, output: 4, cached: 2, ..Usage::default() }));
        assert!(within.finish && !within.usage_only);
        assert!(frame(br#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#).expect("finish").finish);
        assert!(frame(b"[DONE]").expect("end").done);
        for none in ["\"\"", "null"] {
            let data = format!(r#"{{"choices":[{{"index":0,"delta":{{"content":"a"}},"finish_reason":{none}}}]}}"#);
            assert!(frame(data.as_bytes()).is_ok_and(|seen| !seen.finish && seen.moves == Moves::of(0, true, false)));
        }
        for nothing in ["[]", "null", "7", "\"\""] {
            let data = format!(r#"{{"choices":[{{"index":0,"delta":{{"content":"a"}}}}],"usage":{nothing}}}"#);
            assert!(frame(data.as_bytes()).is_ok_and(|seen| seen.usage.is_none() && seen.text == "a"), "{nothing}");
        }
        let fault = frame(br#"{"error":{"message":"busy","type":"server_error","code":503}}"#).expect("error").fault;
        assert_eq!(fault.expect("fault").status, Some(503));
        assert!(frame(b"{\"choices\":").is_err());
    }

    #[test]
    fn an_error_is_known_without_a_member_around_it() {
        let told = |event, data: &'static str| {
            let fault = super::event(event, data.as_bytes()).expect("a frame").fault;
            fault.map(|fault| (fault.status, fault.kind, fault.message))
        };
        let want = |status, kind: &str, message: &str| Some((status, kind.to_owned(), message.to_owned()));
        let flat = r#"{"object":"error","message":"boom","type":"BadRequestError","param":null,"code":400}"#;
        assert_eq!(told(None, flat), want(Some(400), "BadRequestError", "boom"));
        assert_eq!(told(None, r#"{"text":"cuda","error_code":50001}"#), want(None, "", "cuda"));
        assert_eq!(told(Some("error"), r#"{"code":500,"message":"boom"}"#), want(Some(500), "", "boom"));
        assert_eq!(told(Some("error"), r#"{"error":{"message":"boom"}}"#), want(None, "", "boom"));
        assert_eq!(told(Some("error"), "boom"), want(None, "", ""));
        for fine in [r#"{"text":"a","error_code":0}"#, r#"{"object":"error.chunk","choices":[]}"#, "[DONE]"] {
            assert_eq!(told(None, fine), None, "{fine}");
        }
        assert_eq!(told(Some("message"), r#"{"choices":[]}"#), None);
    }

    #[test]
    fn a_frame_that_is_not_utf_8_is_malformed_wherever_the_odd_byte_stands() {
        assert!(frame(b"{\"choices\":[],\"note\":\"\xff\"}").is_err());
        assert!(frame(b"{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\xc3\"}}]}").is_err());
        assert!(messages::frame(None, b"{\"type\":\"ping\",\"x\":\"\xff\"}").is_err());
    }
}
