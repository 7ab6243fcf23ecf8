//! Owns replacing the name of the model in an answer, in each of the places where a dialect says it.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::memmem;

use super::{
    scan::{self, Cursor},
    sse,
};

/// Members whose value is the answer itself, in events that tell of one: Messages, Responses.
const ANSWERS: [&str; 2] = ["message", "response"];

/// The answer, or one of its frames' data, with `name` for its model; `None` where no model is named.
pub fn renamed(data: &[u8], name: &str) -> Option<Vec<u8>> {
    memmem::find(data, b"\"model\"")?;
    let mut places = Vec::new();
    find(scan::text(data).ok()?, 0, true, &mut places)?;
    let (first, last) = (places.first()?.start, places.last()?.end);
    // A string always serialises.
    let name = serde_json::to_vec(name).ok()?;
    let mut out = data[..first].to_vec();
    for (at, place) in places.iter().enumerate() {
        out.extend_from_slice(&name);
        let next = places.get(at + 1).map_or(last, |next| next.start);
        out.extend_from_slice(&data[place.end..next]);
    }
    out.extend_from_slice(&data[last..]);
    Some(out)
}

/// Whole frames with `name` for their model; those that name none keep every byte.
pub fn renamed_frames(run: &[u8], name: &str) -> Bytes {
    let mut out = BytesMut::with_capacity(run.len());
    for frame in sse::frames(run) {
        match frame.data.as_ref().and_then(|data| renamed(data, name)) {
            Some(data) => frame.write_with(&data, &mut out),
            None => out.extend_from_slice(frame.raw),
        }
    }
    out.freeze()
}

/// Finds the names in an object that begins `from` bytes into the data, and in the answer that it tells of.
fn find(object: &str, from: usize, is_event: bool, places: &mut Vec<Range<usize>>) -> Option<()> {
    let mut json = Cursor::new(object);
    let read = json.object(|json, key| {
        let at = from + json.at();
        let value = json.value()?;
        match key {
            "model" if value.starts_with('"') => places.push(at..at + value.len()),
            key if is_event && ANSWERS.contains(&key) && value.starts_with('{') => {
                find(value, at, false, places).ok_or(scan::Malformed)?;
            }
            _ => {}
        }
        Ok(())
    });
    read.and_then(|()| json.end()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(data: &str) -> Option<String> {
        renamed(data.as_bytes(), "pub\"lic").map(|out| String::from_utf8(out).expect("UTF-8"))
    }

    #[test]
    fn the_name_is_replaced_wherever_a_dialect_says_it() {
        for (before, want) in [
            (
                r#"{"id":"c", "model" : "m","choices":[{"model":"x"}]}"#,
                r#"{"id":"c", "model" : "pub\"lic","choices":[{"model":"x"}]}"#,
            ),
            (
                r#"{"type":"message_start","message":{"id":"é","model":"m","content":[{"model":"x"}]}}"#,
                r#"{"type":"message_start","message":{"id":"é","model":"pub\"lic","content":[{"model":"x"}]}}"#,
            ),
            (
                r#" {"type":"response.completed","response":{"model":"m","response":{"model":"x"}},"model":"m"} "#,
                r#" {"type":"response.completed","response":{"model":"pub\"lic","response":{"model":"x"}},"model":"pub\"lic"} "#,
            ),
        ] {
            assert_eq!(after(before).as_deref(), Some(want));
        }
        for other in
            [r#"{"delta":"\"model\""}"#, r#"{"model":null}"#, r#"{"message":"model"}"#, "[DONE]", r#"{"model":"m"#]
        {
            assert_eq!(after(other), None, "{other}");
        }
    }

    #[test]
    fn a_renamed_frame_keeps_its_events_name_and_others_every_byte() {
        let run = concat!(
            ": hello\n\n",
            "event: message_start\r\ndata: {\"message\":\r\ndata: {\"model\":\"m\"}}\r\n\r\n",
            "event:ping\ndata:{\"type\":\"ping\"}\n\n",
        );
        let want = concat!(
            ": hello\n\n",
            "event: message_start\ndata: {\"message\":\ndata: {\"model\":\"public\"}}\n\n",
            "event:ping\ndata:{\"type\":\"ping\"}\n\n",
        );
        assert_eq!(renamed_frames(run.as_bytes(), "public"), want);
    }
}
