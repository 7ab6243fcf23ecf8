//! Owns the cases of what proves an answer of a model that draws: each of Gemini's signatures comes back on the part that it came with.

use serde_json::{Value, json};

use super::{
    losses::is_unsupported,
    support::{context, kept, made, sent, streamed},
};
use crate::wire::{
    Protocol,
    translate::{Dialect, reply},
};

const DRAWING: (Protocol, &str) = (Protocol::Gemini, "gemini-3-pro-image-preview");
const SKIP: &str = "skip_thought_signature_validator";

fn image(proof: Option<&str>) -> Value {
    let mut part = json!({"inlineData": {"mimeType": "image/png", "data": "QUJD"}});
    if let Some(proof) = proof {
        part["thoughtSignature"] = proof.into();
    }
    part
}

/// What the model is shown of its turn, where the client goes on behind this message of it.
fn shown((protocol, model): (Protocol, &str), message: &Value) -> Value {
    let messages = json!([{"role": "user", "content": "q"}, message, {"role": "user", "content": "Bluer."}]);
    kept(Dialect::Chat, (protocol, model), &json!({"messages": messages}))["contents"][1]["parts"].take()
}

/// The message that the deltas of a stream add up to, where texts of the same place are joined, as Python's SDK does.
fn added_up(chunks: &[Value]) -> Value {
    fn add(to: &mut Value, more: &Value) {
        match (&mut *to, more) {
            (Value::Object(to), Value::Object(more)) => {
                for (key, value) in more {
                    add(to.entry(key.as_str()).or_insert(Value::Null), value);
                }
            }
            (Value::Array(to), Value::Array(more)) => to.extend_from_slice(more),
            (Value::String(to), Value::String(more)) => to.push_str(more),
            _ => *to = more.clone(),
        }
    }
    let mut message = json!({});
    chunks.iter().filter_map(|chunk| chunk.pointer("/choices/0/delta")).for_each(|delta| add(&mut message, delta));
    message
}

/// A chat client's message of an answer with these parts, whole and streamed.
fn told(parts: &[Value]) -> [Value; 2] {
    let frame = |parts: &[Value], finish: Option<&str>| json!({"candidates": [{"content": {"parts": parts}, "finishReason": finish}]});
    let body = frame(parts, Some("STOP")).to_string();
    let (whole, _) = reply(Protocol::Gemini, Dialect::Chat, body.as_bytes(), &context()).expect("a reply");
    let mut whole: Value = serde_json::from_slice(&whole).expect("JSON");
    let mut frames: Vec<Value> = parts.iter().map(|part| frame(std::slice::from_ref(part), None)).collect();
    frames.push(frame(&[], Some("STOP")));
    let chunks = streamed(Protocol::Gemini, Dialect::Chat, context(), &frames);
    [whole["choices"][0]["message"].take(), added_up(&chunks)]
}

#[test]
fn an_images_proof_comes_back_with_the_image_and_the_texts_with_the_text() {
    let text = json!({"text": "Here:", "thoughtSignature": "S1"});
    for parts in [vec![text.clone(), image(Some("S2"))], vec![image(Some("S2"))], vec![text, image(None)]] {
        let mut want = parts.clone();
        if let Some(last) = want.last_mut().filter(|last| last.get("thoughtSignature").is_none()) {
            last["thoughtSignature"] = SKIP.into();
        }
        for message in told(&parts) {
            assert_eq!(shown(DRAWING, &message), json!(want), "{message}");
        }
    }
}

#[test]
fn what_a_model_that_draws_is_shown_without_a_proof_has_what_stands_in_for_one() {
    let url = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}});
    let message = json!({"role": "assistant", "content": "Here:", "images": [url, url]});
    let text = json!({"text": "Here:"});
    let mut standing = text.clone();
    standing["thoughtSignature"] = SKIP.into();
    for (model, text, proof) in [
        (DRAWING.1, &standing, Some(SKIP)),
        // Images are refused without by any of the generation, words by those alone that draw.
        ("gemini-3-pro-preview", &text, Some(SKIP)),
        ("gemini-2.5-flash-image", &text, None),
    ] {
        let want = json!([text, image(proof), image(proof)]);
        assert_eq!(shown((Protocol::Gemini, model), &message), want, "{model}");
    }
    let user = json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}, url]}]});
    assert_eq!(kept(Dialect::Chat, DRAWING, &user)["contents"][0]["parts"], json!([{"text": "q"}, image(None)]));
}

#[test]
fn a_text_of_several_proofs_is_told_the_last_and_once() {
    let text = |text: &str, proof: &str| json!({"text": text, "thoughtSignature": proof});
    for message in told(&[text("a", "S1"), text("b", "S2"), image(None)]) {
        let proof = message.pointer("/extra_content/google/thought_signature");
        assert_eq!((&message["content"], proof), (&json!("ab"), Some(&json!("S2"))), "{message}");
    }
}

#[test]
fn a_turn_of_nothing_but_images_is_a_turn_where_images_are_not_taken() {
    let url = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}});
    let user = json!({"role": "user", "content": "q"});
    let turns = json!({"messages": [user, {"role": "assistant", "content": null, "images": [url]}, user]});
    for to in [(Protocol::Openai, "mistral-small"), (Protocol::Openai, "gpt-4o")] {
        let (out, dropped) = sent(Dialect::Chat, to, &turns);
        assert_eq!(out["messages"], json!([user, {"role": "assistant", "content": "[image]"}, user]));
        assert_eq!(dropped, ["messages[].content[] of the assistant"]);
    }
}

#[test]
fn a_wish_for_pictures_is_told_gemini_and_refused_elsewhere() {
    let wish = |modalities: Value| {
        json!({"messages": [{"role": "user", "content": "q"}], "modalities": modalities,
            "image_config": {"aspect_ratio": "16:9", "image_size": "2K"}})
    };
    let config = kept(Dialect::Chat, DRAWING, &wish(json!(["image", "text"])))["generationConfig"].take();
    let want =
        json!({"responseModalities": ["IMAGE", "TEXT"], "imageConfig": {"aspectRatio": "16:9", "imageSize": "2K"}});
    assert_eq!(config, want);
    let claude = (Protocol::Anthropic, "claude-opus-4-6");
    for (to, modalities) in
        [(claude, json!(["image", "text"])), (claude, json!(["audio"])), (DRAWING, json!(["text", "audio"]))]
    {
        let got = made(Dialect::Chat, to, &wish(modalities));
        assert!(is_unsupported(&got, "modalities"), "{to:?}: {got:?}");
    }
    let words = json!({"messages": [{"role": "user", "content": "q"}], "modalities": ["text"]});
    assert_eq!(kept(Dialect::Chat, DRAWING, &words).get("generationConfig"), None);
    kept(Dialect::Chat, claude, &words);
    assert_eq!(sent(Dialect::Chat, claude, &wish(json!(["text"]))).1, ["image_config"]);
}

#[test]
fn a_turn_of_which_nothing_is_left_is_no_image_where_there_was_none() {
    let file = json!({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QUJD"}});
    let user = json!({"role": "user", "content": "q"});
    let turns = json!({"messages": [user, {"role": "assistant", "content": [file]}, user]});
    let (out, dropped) = sent(Dialect::Chat, (Protocol::Openai, "gpt-4o"), &turns);
    assert_eq!(out["messages"], json!([user, {"role": "assistant", "content": "Continue."}, user]));
    assert_eq!(dropped, ["messages[].content[] of the assistant"]);
}
