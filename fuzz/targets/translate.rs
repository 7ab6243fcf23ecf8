//! Owns fuzzing the translation of requests and whole replies between all protocols.
#![no_main]

use greenroom::wire::{
    Host, Protocol, foreign, peek,
    translate::{self, Dialect, ReplyContext, Target},
};

const DIALECTS: [Dialect; 3] = [Dialect::Chat, Dialect::Messages, Dialect::Responses];
const PROTOCOLS: [Protocol; 3] = [Protocol::Openai, Protocol::Anthropic, Protocol::Gemini];

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let [choice, body @ ..] = input else { return };
    let dialect = DIALECTS[usize::from(choice % 3)];
    let protocol = PROTOCOLS[usize::from(choice / 3 % 3)];
    if choice & 128 == 0 {
        let host = [Host::Other, Host::Mistral, Host::OpenRouter, Host::Other][usize::from(choice / 9 % 4)];
        let target = Target {
            protocol,
            model: "m",
            max_tokens: 1024,
            at_most: None,
            refuse_unsupported: choice & 64 != 0,
            ask_usage: false,
            host,
        };
        if let Ok(request) = translate::request(dialect, body, &target) {
            let written: serde_json::Value = serde_json::from_slice(&request.body).expect("a request in JSON");
            assert!(written.get("backend").is_none(), "the pin went out");
        }
        if let Some(cleared) = foreign::cleared(dialect, foreign::refused(choice & 64 != 0, "m"), body) {
            serde_json::from_slice::<serde_json::Value>(&cleared).expect("cleared JSON stays JSON");
        }
        translate::asked(dialect, body);
        return;
    }
    let ctx = ReplyContext { id: "id".into(), created: 1, model: "m".into(), ..ReplyContext::default() };
    if let Ok((written, seen)) = translate::reply(protocol, dialect, body, &ctx)
        && seen.fault.is_none()
    {
        serde_json::from_slice::<serde_json::Value>(&written).expect("a reply in JSON");
    }
    let _ = (peek::whole(body), peek::listing(body, &["results", "data"]));
});
