//! Cases of what Google says that an answer is grounded in: where its words are, told once, and taken out for Anthropic.

use serde_json::{Value, json};

use super::{
    support::streamed,
    web_told::{GOOGLES, claims, frame, grounding, kinds, of_gemini, output_of, rests, searching, sources, whole},
};
use crate::wire::{Protocol, foreign, translate::Dialect};

#[test]
fn a_history_with_others_searches_goes_to_anthropic_without_them() {
    let message = whole(Protocol::Gemini, Dialect::Messages, &of_gemini());
    let own = json!([{"type": "server_tool_use", "id": "srvtoolu_01A", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_01A", "content": []},
        {"type": "text", "text": "So.", "citations": [{"type": "web_search_result_location", "encrypted_index": "i"}]}]);
    let of = |content: &Value| {
        let body = json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": content},
            {"role": "user", "content": "r"}]});
        let body = body.to_string();
        let out = foreign::cleared(Dialect::Messages, &[], body.as_bytes());
        assert_eq!(foreign::suspected(Dialect::Messages, &[], body.as_bytes()), out.is_some());
        out.map(|out| serde_json::from_slice::<Value>(&out).expect("JSON")["messages"][1]["content"].clone())
    };
    let text = json!([{"type": "text", "text": "Zürich is dry. Bern is wet.", "citations": []}]);
    assert_eq!(of(&message["content"]), Some(text));
    assert_eq!(of(&own), None, "Anthropic's own stay");
    let alone = json!([message["content"][0], message["content"][1]]);
    assert!(of(&alone).is_some_and(|content| content.as_str().is_some_and(|text| !text.is_empty())));
}

#[test]
fn a_segment_is_found_by_its_bytes_its_part_or_its_words() {
    let of = |parts: Value, segment: Value| {
        let grounding = json!({"groundingChunks": [{"web": {"uri": "https://a.test", "title": "A"}}],
            "groundingSupports": [{"segment": segment, "groundingChunkIndices": [0]}]});
        let mut body = frame("", Some(grounding));
        body["candidates"][0]["content"]["parts"] = parts;
        let message = whole(Protocol::Gemini, Dialect::Chat, &body)["choices"][0]["message"].clone();
        let text = message["content"].as_str().expect("text").to_owned();
        message.pointer("/annotations/0/url_citation").map(|annotation| rests(&text, annotation).0)
    };
    let two = || json!([{"text": "hm", "thought": true}, {"text": "Zürich. "}, {"text": "Bern. Bern."}]);
    for (segment, words) in [
        (json!({"partIndex": 2, "startIndex": 6, "endIndex": 11, "text": "Bern."}), Some("Bern.")),
        (json!({"partIndex": 2, "startIndex": 6, "endIndex": 11}), Some("Bern.")),
        (json!({"startIndex": 9, "endIndex": 14, "text": "Bern."}), Some("Bern.")),
        (json!({"startIndex": 700, "endIndex": 708, "text": "Zürich."}), Some("Zürich.")),
        (json!({"startIndex": 2, "endIndex": 4}), None),
        (json!({"startIndex": 3, "endIndex": 3}), None),
        (json!({"endIndex": 18_446_744_073_709_551_615_u64, "startIndex": 1}), None),
    ] {
        assert_eq!(of(two(), segment.clone()).as_deref(), words, "{segment}");
    }
}

#[test]
fn what_is_told_again_or_bit_by_bit_is_told_once_and_what_comes_late_is_told_too() {
    let again =
        [frame("Zürich is dry.", None), frame(" Bern is wet.", Some(grounding())), frame("", Some(grounding()))];
    let late = json!({"candidates": [{"index": 0, "groundingMetadata": grounding()}]});
    let mut end = frame(" Bern is wet.", Some(json!({})));
    end["candidates"][0].as_object_mut().expect("a candidate").remove("groundingMetadata");
    let mut begun = frame("Zürich is dry.", None);
    begun["candidates"][0]["groundingMetadata"] = json!({"webSearchQueries": ["zurich weather"],
        "groundingChunks": [grounding()["groundingChunks"][0]], "groundingSupports": [grounding()["groundingSupports"][0]]});
    let early = [begun, frame(" Bern is wet.", Some(grounding()))];
    for frames in [again.to_vec(), vec![frame("Zürich is dry.", None), end, late], early.to_vec()] {
        let output = output_of(&streamed(Protocol::Gemini, Dialect::Responses, searching(), &frames)).0;
        assert_eq!((kinds(&output), sources(&output)), (vec!["message", "web_search_call"], claims(GOOGLES)));
    }
}
