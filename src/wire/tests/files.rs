//! Files, documents and pictures on their way to other protocols.

use serde_json::{Value, json};

use super::{
    losses::{CLAUDE, GPT, asked, blocks, is_unsupported},
    support::{made, sent},
};
use crate::wire::{Protocol, translate::Dialect};

#[test]
fn files_that_are_text_go_to_anthropic_as_text_and_others_but_pdf_do_not_go() {
    let file = |data: &str| {
        let part = json!({"type": "file", "file": {"filename": "a.csv", "file_data": data}});
        asked(Dialect::Chat, json!({"messages": [{"role": "user", "content": [part]}]}))
    };
    let (body, _) = sent(Dialect::Chat, CLAUDE, &file("data:text/csv;base64,YSxiCg=="));
    let want = json!({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a,b\n"}, "title": "a.csv"});
    assert_eq!(body["messages"][0]["content"][0], want);
    for other in ["data:application/zip;base64,QUE=", "data:text/csv;base64,/w==", "data:text/csv;base64,%"] {
        let got = made(Dialect::Chat, CLAUDE, &file(other));
        assert!(is_unsupported(&got, "messages[].content[].file"), "{other}");
    }
    assert!(made(Dialect::Chat, CLAUDE, &file("data:application/pdf;base64,QUE=")).is_ok());
}

#[test]
fn what_is_text_by_another_name_goes_to_anthropic_as_text_too() {
    let sent_as = |mime: &str| {
        let file = json!({"type": "input_file", "filename": "a", "file_data": format!("data:{mime};base64,e30=")});
        made(Dialect::Responses, CLAUDE, &json!({"input": [{"role": "user", "content": [file]}]})).is_ok()
    };
    for mime in
        ["application/json", "application/ld+json", "application/atom+xml", "application/x-ndjson", "TEXT/plain"]
    {
        assert!(sent_as(mime), "{mime}");
    }
    for mime in ["application/zip", "application/octet-stream", "font/ttf"] {
        assert!(!sent_as(mime), "{mime}");
    }
}

#[test]
fn a_document_without_a_word_is_no_part_of_a_message() {
    let document = |title: Value| json!({"type": "document", "title": title, "source": {"type": "text", "media_type": "text/plain", "data": " "}});
    let content = |title: Value| blocks(&json!([document(title), {"type": "text", "text": "q"}]));
    let gemini = (Protocol::Gemini, "gemini-3-pro");
    let parts = |title: Value| sent(Dialect::Messages, gemini, &content(title)).0["contents"][0]["parts"].clone();
    assert_eq!(parts(Value::Null), json!([{"text": "q"}]));
    assert_eq!(
        parts("a.txt".into()),
        json!([{"text": "a.txt\n\n "}, {"text": "q"}]),
        "that it is empty says something"
    );
    assert_eq!(sent(Dialect::Messages, GPT, &content(Value::Null)).0["messages"][0]["content"], "q");
}

#[test]
fn a_documents_title_and_context_reach_models_that_know_no_documents() {
    let document = json!({"type": "document", "title": "Tides", "context": "A school book.",
        "source": {"type": "text", "media_type": "text/plain", "data": "Twice a day."}});
    let (body, dropped) = sent(Dialect::Messages, GPT, &blocks(&json!([document, {"type": "text", "text": "When?"}])));
    assert_eq!(body["messages"][0]["content"], "Tides\n\nA school book.\n\nTwice a day.\n\nWhen?");
    assert_eq!(dropped, Vec::<String>::new());
}

#[test]
fn an_image_that_is_an_upload_at_another_provider_is_refused() {
    let image = json!({"type": "input_image", "file_id": "file-1"});
    let got = made(Dialect::Responses, CLAUDE, &json!({"input": [{"role": "user", "content": [image]}]}));
    assert!(is_unsupported(&got, "messages[].content[].image.file_id"), "{got:?}");
}

#[test]
fn a_file_whose_sender_does_not_say_what_it_is_is_known_by_its_name() {
    let part = |name: &str, data: &str| json!({"type": "input_file", "filename": name, "file_data": data});
    let gpt = |part: Value| {
        let body = json!({"input": [{"role": "user", "content": [part]}]});
        sent(Dialect::Responses, GPT, &body).0["messages"][0]["content"][0]["file"]["file_data"].clone()
    };
    // That it is bytes says nothing.
    for (said, name, want) in [
        ("application/octet-stream", "a.pdf", "application/pdf"),
        ("", "a.csv", "text/csv"),
        ("application/octet-stream", "a", "application/octet-stream"),
        ("text/plain", "a.csv", "text/plain"),
    ] {
        let data = gpt(part(name, &format!("data:{said};base64,YSxiCg==")));
        assert_eq!(data, format!("data:{want};base64,YSxiCg=="), "{said} {name}");
    }
    for (name, want) in [("a.CSV", "text/csv"), ("a.pdf", "application/pdf"), ("a", "application/pdf")] {
        assert_eq!(gpt(part(name, "YSxiCg==")), format!("data:{want};base64,YSxiCg=="));
        let file = json!({"type": "file", "file": {"filename": name, "file_data": "YSxiCg=="}});
        let body = json!({"messages": [{"role": "user", "content": [file]}]});
        let (gemini, _) = sent(Dialect::Chat, (Protocol::Gemini, "gemini-3-pro"), &body);
        assert_eq!(gemini["contents"][0]["parts"][0]["inlineData"]["mimeType"], want);
    }
}

#[test]
fn a_jpeg_goes_out_by_the_name_that_providers_know_whatever_its_client_calls_it() {
    let url = |mime: &str| json!({"type": "image_url", "image_url": {"url": format!("data:{mime};base64,QUE=")}});
    let source = |mime: &str| json!({"type": "base64", "media_type": mime, "data": "QUE="});
    for (mime, want) in [("image/jpg", "image/jpeg"), ("image/JPG", "image/jpeg"), ("image/png", "image/png")] {
        let chat = asked(Dialect::Chat, json!({"messages": [{"role": "user", "content": [url(mime)]}]}));
        let messages = blocks(&json!([{"type": "image", "source": source(mime)}]));
        for (dialect, body) in [(Dialect::Chat, &chat), (Dialect::Messages, &messages)] {
            let (gemini, _) = sent(dialect, (Protocol::Gemini, "gemini-3-pro"), body);
            assert_eq!(gemini["contents"][0]["parts"][0]["inlineData"]["mimeType"], want, "{gemini}");
        }
        let (claude, _) = sent(Dialect::Chat, CLAUDE, &chat);
        assert_eq!(claude["messages"][0]["content"][0]["source"], source(want));
    }
}

#[test]
fn texts_alone_are_one_string_for_servers_that_take_no_parts() {
    let said = |content: Value| {
        let body = json!({"max_tokens": 9, "messages": [{"role": "user", "content": content}]});
        sent(Dialect::Messages, (Protocol::Openai, "deepseek-chat"), &body).0["messages"][0]["content"].clone()
    };
    let text = |text: &str| json!({"type": "text", "text": text});
    let document =
        json!({"type": "document", "title": "T", "source": {"type": "text", "media_type": "text/plain", "data": "d"}});
    assert_eq!(said(json!([text("a"), document, text("b")])), "a\n\nT\n\nd\n\nb");
    let image = json!({"type": "image", "source": {"type": "url", "url": "https://x.test/i.png"}});
    assert_eq!(said(json!([text("a"), image]))[0], text("a"));
}

#[test]
fn a_document_of_text_in_a_tools_result_is_told_there_and_leaves_no_message_of_the_users_behind_it() {
    let document =
        json!({"type": "document", "title": "T", "source": {"type": "text", "media_type": "text/plain", "data": "d"}});
    let result = |content: Value| {
        let body = json!({"max_tokens": 9, "messages": [{"role": "user", "content": "q"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t12345678", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t12345678", "content": content}]}]});
        let sent = sent(Dialect::Messages, (Protocol::Openai, "mistral-large-latest"), &body).0;
        sent["messages"].as_array().expect("messages")[2..].to_vec()
    };
    let tool = |text: &str| json!({"role": "tool", "tool_call_id": "t12345678", "content": text});
    assert_eq!(result(json!([{"type": "text", "text": "a"}, document])), [tool("a\nT\n\nd")]);
    let image = json!({"type": "image", "source": {"type": "url", "url": "https://x.test/i.png"}});
    let [told, beside] = &result(json!([document, image]))[..] else { panic!("two messages") };
    assert_eq!((told, &beside["content"][0]["type"]), (&tool("T\n\nd"), &json!("image_url")));
}

/// The parts of a user's message as Gemini gets it of a chat's.
fn to_gemini(part: &Value) -> Value {
    let body = json!({"messages": [{"role": "user", "content": [part]}]});
    sent(Dialect::Chat, (Protocol::Gemini, "gemini-3-pro"), &body).0["contents"][0]["parts"].take()
}

#[test]
fn a_picture_in_instructions_is_refused_and_a_document_of_text_is_told() {
    let image = json!({"type": "input_image", "image_url": "https://x.test/a.png"});
    let text = json!({"type": "input_text", "text": "Like this."});
    let body = json!({"input": [{"role": "developer", "content": [text, image]}, {"role": "user", "content": "q"}]});
    let file = json!({"type": "input_file", "file_data": "data:text/plain;base64,QmUgYnJpZWYu"});
    let packed = json!({"input": [{"role": "developer", "content": [file]}, {"role": "user", "content": "q"}]});
    let document = json!({"type": "document", "title": "Rules",
        "source": {"type": "text", "media_type": "text/plain", "data": "Be brief."}});
    let system = asked(Dialect::Messages, json!({"system": [{"type": "text", "text": "Hi."}, document]}));
    for to in [GPT, (Protocol::Openai, "qwen3"), (Protocol::Gemini, "gemini-3-pro"), CLAUDE] {
        let got = made(Dialect::Responses, to, &body);
        assert!(is_unsupported(&got, "messages[].content[] of instructions"), "{to:?}: {got:?}");
        let (out, dropped) = sent(Dialect::Messages, to, &system);
        assert!(out.to_string().contains("Rules\\n\\nBe brief."), "{to:?}: {out}");
        assert_eq!(dropped, Vec::<String>::new());
        let (out, dropped) = sent(Dialect::Responses, to, &packed);
        assert!(out.to_string().contains("Be brief."), "{to:?}: {out}");
        assert_eq!(dropped, Vec::<String>::new());
    }
}

#[test]
fn a_url_is_one_wherever_clients_put_it() {
    let url = "https://x.test/a.pdf";
    let file = |member: &str| json!({"type": "file", "file": {member: url}});
    for member in ["file_data", "file_id"] {
        let body = asked(Dialect::Chat, json!({"messages": [{"role": "user", "content": [file(member)]}]}));
        let claude = sent(Dialect::Chat, CLAUDE, &body).0;
        assert_eq!(claude["messages"][0]["content"][0]["source"], json!({"type": "url", "url": url}), "{member}");
        let want = json!([{"fileData": {"mimeType": "application/pdf", "fileUri": url}}]);
        assert_eq!(to_gemini(&file(member)), want);
    }
    let part = json!({"type": "input_file", "file_url": "data:application/pdf;base64,QUE="});
    let claude = sent(Dialect::Responses, CLAUDE, &json!({"input": [{"role": "user", "content": [part]}]})).0;
    let want = json!({"type": "base64", "media_type": "application/pdf", "data": "QUE="});
    assert_eq!(claude["messages"][0]["content"][0]["source"], want);
}

#[test]
fn a_video_reaches_gemini_as_what_it_is_and_nobody_else() {
    let video = |url: &str| json!({"type": "video_url", "video_url": {"url": url}});
    let (tube, stored) = ("https://www.youtube.com/watch?v=x", "gs://bucket/a");
    for (part, want) in [
        (video(tube), json!({"fileData": {"fileUri": tube}})),
        (video(stored), json!({"fileData": {"fileUri": stored}})),
        (
            video("https://x.test/a.mov"),
            json!({"fileData": {"fileUri": "https://x.test/a.mov", "mimeType": "video/quicktime"}}),
        ),
        (video("data:video/mp4;base64,QUE="), json!({"inlineData": {"mimeType": "video/mp4", "data": "QUE="}})),
        (
            json!({"type": "video_url", "video_url": {"url": stored, "format": "video/webm"}}),
            json!({"fileData": {"fileUri": stored, "mimeType": "video/webm"}}),
        ),
        (
            json!({"type": "image_url", "image_url": {"url": stored, "format": "image/png"}}),
            json!({"fileData": {"fileUri": stored, "mimeType": "image/png"}}),
        ),
        (
            json!({"type": "file", "file": {"file_id": stored, "format": "text/csv"}}),
            json!({"fileData": {"fileUri": stored, "mimeType": "text/csv"}}),
        ),
        (json!({"type": "file", "file": {"file_id": tube}}), json!({"fileData": {"fileUri": tube}})),
    ] {
        assert_eq!(to_gemini(&part), json!([want]), "{part}");
    }
    for url in [tube, "data:video/mp4;base64,QUE="] {
        let body = asked(Dialect::Chat, json!({"messages": [{"role": "user", "content": [video(url)]}]}));
        assert!(is_unsupported(&made(Dialect::Chat, CLAUDE, &body), "messages[].content[].file"), "{url}");
    }
}
