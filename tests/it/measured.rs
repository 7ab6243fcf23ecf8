//! What the operators' subcommands measure of an answer is what was generated, in words or not.

use serde_json::{Value, json};

use crate::{
    support::{proxy::Proxy, script::Answer, settings::TOKEN, sse, upstream::Upstream},
    tools::tool,
};

/// A frame of one choice's delta.
fn frame(delta: &Value) -> String {
    format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": delta}]}))
}

#[tokio::test]
async fn thinking_and_calls_are_first_tokens_like_words() {
    let call = json!([{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
    for delta in [json!({"reasoning_content": "Hm."}), json!({"tool_calls": call})] {
        let answer = Answer::stream().chunk(sse::role()).chunk(frame(&delta)).finished();
        let upstream = Upstream::always(answer).await;
        let proxy = Proxy::before(&upstream).await;
        let said = tool(&proxy, TOKEN, &["check", "--streaming", "--json"]).await;
        let answers: Value = serde_json::from_str(&said.out).expect("JSON");
        assert_eq!((said.code, &answers[0]["text"]), (Some(0), &json!("")), "{said:?}");
        assert!(answers[0]["first_token_seconds"].as_f64() > Some(0.0), "{delta}: {said:?}");
    }
}

#[tokio::test]
async fn an_answer_whose_last_frame_lacks_its_empty_line_is_whole_to_them() {
    // Greenroom adds the line, and the end marker where that is missing.
    let (finish, done) = (sse::finish(), sse::DONE.trim_end());
    for last in [finish.trim_end(), &format!("{finish}{done}"), &format!("{finish}{done}\r\n")] {
        let answer = Answer::stream().chunk(sse::role()).chunk(sse::text("Yes.")).chunk(last).end();
        let upstream = Upstream::always(answer).await;
        let proxy = Proxy::before(&upstream).await;
        for args in [&["check"][..], &["benchmark", "--rounds", "1"], &["monitor", "--once"]] {
            let said = tool(&proxy, TOKEN, &[args, &["--streaming"]].concat()).await;
            assert_eq!(said.code, Some(0), "{args:?} {last:?}: {said:?}");
        }
    }
}
