//! Owns reading a JSON text that broke off: everything up to the break.

use serde::de::IgnoredAny;

/// The beginning of a text that broke off, made complete: open brackets and strings are closed, and a member that
/// cannot be is left out. `None` if it is not the beginning of a JSON text.
pub fn mended(torn: &[u8]) -> Option<Vec<u8>> {
    let torn = String::from_utf8_lossy(torn);
    let mut open = Vec::new();
    let (mut quoted, mut escaped) = (false, false);
    // Before the last comma all is complete but for the brackets that were open there.
    let mut complete = None;
    for (at, byte) in torn.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' => open.push(b'}'),
            b'[' => open.push(b']'),
            b'}' | b']' => drop(open.pop()),
            b',' => complete = Some((at, open.len())),
            _ => {}
        }
    }
    let closed = |text: &str, end: &[u8], open: &[u8]| {
        let text: Vec<u8> = text.bytes().chain(end.iter().copied()).chain(open.iter().rev().copied()).collect();
        serde_json::from_slice::<IgnoredAny>(&text).is_ok().then_some(text)
    };
    // Half an escape is no letter.
    let text = if escaped { &torn[..torn.len() - 1] } else { &torn[..] };
    let end: &[u8] = if quoted { b"\"" } else { b"" };
    closed(text, end, &open).or_else(|| complete.and_then(|(at, depth)| closed(&torn[..at], b"", open.get(..depth)?)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(torn: &str) -> Option<Value> {
        mended(torn.as_bytes()).map(|text| serde_json::from_slice(&text).expect("it is whole"))
    }

    #[test]
    fn what_came_before_the_tear_is_kept() {
        let whole = r#"{"error":{"code":"rate_limit_exceeded","list":[1,{"a":2}],"message":"wait \"a\" bit\\"}}"#;
        let code = json!({"error": {"code": "rate_limit_exceeded"}});
        assert_eq!(read(&whole[..whole.find(",\"li").expect("there")]), Some(code.clone()));
        assert_eq!(read(&whole[..whole.find("st\":").expect("there")]), Some(code));
        let torn = &whole[..whole.find(" bit").expect("there")];
        assert_eq!(read(torn).expect("whole")["error"]["message"], "wait \"a\"");
        assert_eq!(
            read(r#"{"error":{"message":"long, long, long"#).expect("whole")["error"]["message"],
            "long, long, long"
        );
        assert_eq!(read(r#"{"error":{"message":"a\"#).expect("whole")["error"]["message"], "a");
        for nothing in ["", "<html>", "}", "{\"a\":tr"] {
            assert_eq!(read(nothing), None, "{nothing}");
        }
    }

    proptest! {
        #[test]
        fn of_any_error_torn_anywhere_what_came_whole_is_read_and_what_is_read_was_said(
            code in ".{0,20}", message in ".{0,60}", at in any::<prop::sample::Index>(),
        ) {
            let before = format!(r#"{{"error":{{"code":{}"#, Value::from(&*code));
            let begun = format!(r#"{before},"message":{}"#, Value::from(&*message));
            let whole = format!(r#"{begun},"param":null}}}}"#);
            let torn = &whole.as_bytes()[..at.index(whole.len())];
            let read: Option<Value> =
                mended(torn).map(|text| serde_json::from_slice(&text).expect("it is whole"));
            for (name, said, end) in [("code", &code, &before), ("message", &message, &begun)] {
                // A letter that was torn in two is read as another.
                let part = read.as_ref().and_then(|read| read["error"][name].as_str());
                let is_whole = torn.len() > end.len();
                prop_assert!(part.is_some() || !is_whole, "{} of {}", name, String::from_utf8_lossy(torn));
                let part = part.unwrap_or_default();
                prop_assert!(said.starts_with(part.trim_end_matches('\u{fffd}')), "{} of {}", part, said);
                prop_assert!(part == said || !is_whole, "{} of {}", part, said);
            }
        }
    }
}
