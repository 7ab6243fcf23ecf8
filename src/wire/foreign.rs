//! Owns removing from an untranslated request what other providers' translated answers left in its history, if its
//! provider would refuse that.

use std::sync::LazyLock;

use memchr::memmem::{self, Finder};
use serde_json::{Map, Value};

use super::{
    Protocol,
    chat::Signature,
    ids::{self, PlainIds},
    json::{list, read, text},
    openai, own_thinking,
    responses::UNSIGNED,
    scan,
    translate::Dialect,
    turns::DREW,
    web,
};

/// Members of assistant messages, their calls and images that a translation adds to a chat completion. Many servers want their reasoning
/// back, so that it comes last: the first two are for those alone that make them, and the third proves the thinking of others.
const ADDED: [&str; 4] = ["images", "extra_content", "thinking_blocks", "reasoning_content"];

/// Those of them that a server might refuse in a chat completion for the model; a `strict` one refuses all that it does not know.
/// A model that draws is told from its name: its own images come back to it, as `OpenRouter` takes them.
pub fn refused(strict: bool, model: &str) -> &'static [&'static str] {
    if strict {
        &ADDED
    } else if openai::is_googles(model) {
        &ADDED[2..3]
    } else if model.contains("image") {
        &ADDED[1..3]
    } else {
        &ADDED[..3]
    }
}

/// Whether a model's answers may have what a server for another would refuse to be given back.
pub fn adds(protocol: Protocol, model: &str) -> bool {
    protocol != Protocol::Openai || openai::is_googles(model) || model.contains("image")
}

/// The body without what would be refused (`added` of what a chat completion may have); `None` where there is nothing of it, and
/// the client's own bytes can go out.
pub fn cleared(dialect: Dialect, added: &[&str], body: &[u8]) -> Option<Vec<u8>> {
    let mut map: Map<String, Value> = read(body).ok()?;
    let changed = match dialect {
        Dialect::Chat => chat(&mut map, added),
        Dialect::Messages => messages(&mut map),
        Dialect::Responses => responses(&mut map),
    };
    changed.then(|| Value::Object(map).to_string().into_bytes())
}

/// Whether a look at the bytes makes it worth reading them.
pub fn suspected(dialect: Dialect, added: &[&str], body: &[u8]) -> bool {
    let has = |word: &str| memmem::find(body, word.as_bytes()).is_some();
    match dialect {
        Dialect::Chat => ADDED.iter().zip(&*FOUND).any(|(name, finder)| added.contains(name) && is_named(body, finder)),
        Dialect::Messages => has("\"thinking\"") && own_thinking::suspected(body) || has_odd_id(body),
        Dialect::Responses => has("\"encrypted_content\"") || has("\"extra_content\""),
    }
}

/// Looks for each of `ADDED`: to prepare for that costs more than to look through an ordinary request.
static FOUND: LazyLock<[Finder<'static>; ADDED.len()]> = LazyLock::new(|| ADDED.map(Finder::new));

/// Whether a text of the body is this name, and so a member may be.
fn is_named(body: &[u8], name: &Finder<'_>) -> bool {
    let quoted = |at: usize| at > 0 && body[at - 1] == b'"' && body.get(at + name.needle().len()) == Some(&b'"');
    name.find_iter(body).any(quoted)
}

/// Whether a tool's result is for a call whose id Anthropic would refuse, such as one of Kimi's.
fn has_odd_id(body: &[u8]) -> bool {
    scan::texts_of(body, "\"tool_use_id\"").flatten().any(|byte| !ids::is_plain(char::from(*byte)))
}

fn chat(map: &mut Map<String, Value>, added: &[&str]) -> bool {
    let mut changed = false;
    let mut clear = |object: &mut Value| {
        let Some(object) = object.as_object_mut() else { return };
        for name in added {
            changed |= object.shift_remove(*name).is_some();
        }
    };
    for message in items(map, "messages").filter(|m| m["role"] == "assistant") {
        let drew = !list(message, "images").is_empty();
        clear(message);
        if drew && message.get("images").is_none() && is_empty(message) {
            // A message without anything is refused, too.
            message["content"] = DREW.into();
        }
        message.get_mut("function_call").map(&mut clear);
        for member in ["tool_calls", "images"] {
            message.get_mut(member).and_then(Value::as_array_mut).into_iter().flatten().for_each(&mut clear);
        }
    }
    changed
}

/// Whether a message says nothing and calls nothing.
fn is_empty(message: &Value) -> bool {
    let lacks = |key: &str| match message.get(key) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        Some(_) => false,
    };
    ["content", "refusal", "tool_calls", "function_call"].into_iter().all(lacks)
}

fn messages(map: &mut Map<String, Value>) -> bool {
    // All, whatever the first finds.
    let (renamed, cleared, searched) = (plain_ids(map), own_thinking::keep(map), web::take_out(map));
    renamed || cleared || searched
}

/// Writes the ids of calls, and of their results, in the letters that Anthropic takes.
fn plain_ids(map: &mut Map<String, Value>) -> bool {
    let (mut changed, mut ids) = (false, PlainIds::default());
    for block in items(map, "messages").filter_map(|m| m.get_mut("content")?.as_array_mut()).flatten() {
        let key = match text(block, "type") {
            "tool_use" => "id",
            "tool_result" => "tool_use_id",
            _ => continue,
        };
        let plain = ids.of(text(block, key));
        if plain != text(block, key) {
            block[key] = plain.into();
            changed = true;
        }
    }
    changed
}

fn responses(map: &mut Map<String, Value>) -> bool {
    let Some(input) = map.get_mut("input").and_then(Value::as_array_mut) else { return false };
    let before = input.len();
    let foreign = |item: &Value| {
        let proof = text(item, "encrypted_content");
        text(item, "type") == "reasoning" && (proof == UNSIGNED || Signature::is_tagged(proof))
    };
    input.retain(|item| !foreign(item));
    let mut changed = input.len() < before;
    let is_call = |item: &&mut Value| matches!(text(item, "type"), "function_call" | "custom_tool_call");
    for item in input.iter_mut().filter(is_call) {
        changed |= item.as_object_mut().is_some_and(|item| item.shift_remove("extra_content").is_some());
    }
    changed
}

pub(super) fn items<'a>(map: &'a mut Map<String, Value>, key: &str) -> impl Iterator<Item = &'a mut Value> {
    map.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn clear(dialect: Dialect, body: &Value) -> Option<Value> {
        cleared(dialect, &ADDED, body.to_string().as_bytes()).map(|out| serde_json::from_slice(&out).expect("JSON"))
    }

    #[test]
    fn ids_of_other_makers_calls_become_plain_for_anthropic() {
        let turn = |id: &str| {
            json!({"messages": [{"role": "user", "content": "q"},
                {"role": "assistant", "content": [{"type": "tool_use", "id": id, "name": "f", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": "r"}]}]})
        };
        let (odd, plain) = (turn("functions.f:0").to_string(), turn("functions_f_0"));
        for body in [odd.clone(), odd.replace("\":\"", "\" : \"")] {
            assert!(suspected(Dialect::Messages, &[], body.as_bytes()));
        }
        assert_eq!(cleared(Dialect::Messages, &[], odd.as_bytes()), Some(plain.to_string().into_bytes()));
        assert!(!suspected(Dialect::Messages, &[], plain.to_string().as_bytes()));
    }

    #[test]
    fn a_history_of_anthropics_own_is_not_read() {
        let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "f", "input": {"type": "thinking-cap", "note": "\"signature\":\"\""}});
        let turn = |thought: &Value, id: &str| {
            json!({"thinking": {"type": "enabled", "budget_tokens": 1024}, "messages": [{"role": "user", "content": "q"},
                {"role": "assistant", "content": [thought, call(id)]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": "r"}]}]})
        };
        let thought = |signature: &str| json!({"type": "thinking", "thinking": "hm", "signature": signature});
        let own = thought("EqQBCgIYAhIM");
        let unsigned = json!({"type": "thinking", "thinking": "hm"});
        let null = json!({"type": "thinking", "thinking": "hm", "signature": null});
        for (thought, id, wanted) in [
            (&own, "toolu_01", false),
            (&own, "toolu_bdrk_01", false),
            (&own, "srvtoolu_01", false),
            (&own, "call_1", true),
            (&own, "toolu_0:1", true),
            (&thought(""), "toolu_01", true),
            (&thought("gemini:abc"), "toolu_01", true),
            (&unsigned, "toolu_01", true),
            (&null, "toolu_01", true),
        ] {
            let body = turn(thought, id);
            for body in [body.to_string(), format!("{body:#}"), body.to_string().replace("\":\"", "\" : \"")] {
                assert_eq!(suspected(Dialect::Messages, &[], body.as_bytes()), wanted, "{body}");
                assert!(wanted || cleared(Dialect::Messages, &[], body.as_bytes()).is_none(), "{body}");
            }
        }
        // What a tool is given has the name of a proof, and stands for none.
        let signed = turn(&unsigned, "toolu_01").to_string().replace("\"note\":", "\"signature\":\"fn f()\",\"note\":");
        assert!(suspected(Dialect::Messages, &[], signed.as_bytes()), "{signed}");
    }

    #[test]
    fn what_proves_an_image_stays_out_of_where_a_call_s_would_be_refused() {
        let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}});
        let mut signed = image.clone();
        signed["extra_content"] = json!({"google": {"thought_signature": "s"}});
        let body = |image: &Value| json!({"messages": [{"role": "assistant", "content": "a", "images": [image]}]});
        let out = cleared(Dialect::Chat, refused(false, "openai/gpt-5-image"), body(&signed).to_string().as_bytes());
        assert_eq!(out, Some(body(&image).to_string().into_bytes()));
    }

    #[test]
    fn ids_that_differ_in_odd_letters_only_stay_apart() {
        let (call, result) =
            (|id| json!({"type": "tool_use", "id": id}), |id| json!({"type": "tool_result", "tool_use_id": id}));
        let ids = ["f.0", "f:0", "f_0", "g"];
        let body = json!({"messages": [{"role": "assistant", "content": ids.map(call)},
            {"role": "user", "content": ids.map(result)}]});
        let out = clear(Dialect::Messages, &body).expect("a change");
        let told = |at: usize, key: &str| -> Vec<&str> {
            list(&out["messages"][at], "content").iter().map(|b| text(b, key)).collect()
        };
        assert_eq!(told(0, "id"), ["f_0", "f_0_2", "f_0_3", "g"]);
        assert_eq!(told(1, "tool_use_id"), told(0, "id"), "results find their calls");
    }

    #[test]
    fn what_translation_adds_is_taken_out_of_chat_messages() {
        let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}});
        let mut signed = call.clone();
        signed["extra_content"] = json!({"google": {"thought_signature": "s"}});
        let body = json!({"messages": [{"role": "assistant", "content": null, "reasoning_content": "hm",
            "thinking_blocks": [], "images": [], "tool_calls": [signed], "function_call": {"name": "f", "extra_content": {}}}]});
        let want = json!({"messages": [{"role": "assistant", "content": null, "tool_calls": [call],
            "function_call": {"name": "f"}}]});
        assert_eq!(clear(Dialect::Chat, &body), Some(want));
        assert_eq!(
            clear(Dialect::Chat, &json!({"messages": [{"role": "user", "content": "reasoning_content"}]})),
            None
        );
    }

    #[test]
    fn what_is_taken_out_depends_on_who_gets_it() {
        for (strict, model, want) in [
            (true, "gemini-3-pro", &["images", "extra_content", "thinking_blocks", "reasoning_content"][..]),
            (false, "google/gemini-3-pro", &["thinking_blocks"]),
            (false, "openai/gpt-5-image", &["extra_content", "thinking_blocks"]),
            (false, "deepseek-chat", &["images", "extra_content", "thinking_blocks"]),
        ] {
            assert_eq!(refused(strict, model), want, "{model}");
        }
        let suspected = |body: &str| suspected(Dialect::Chat, refused(false, "m"), body.as_bytes());
        assert!(suspected(r#"{"images":[]}"#) && suspected(r#"{"my images":1,"images" : 2}"#));
        assert!(!suspected(r#"{"content":"images and \"images\""}"#) && !suspected("images"));
    }

    #[test]
    fn reasoning_of_others_is_taken_out_of_a_responses_input() {
        let item = |proof: &str| json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": proof});
        let own = item("gAAAAAB");
        let body = json!({"input": [item("anthropic:sig"), own, item(UNSIGNED)]});
        assert_eq!(clear(Dialect::Responses, &body), Some(json!({"input": [own]})));
        assert_eq!(clear(Dialect::Responses, &json!({"input": [own]})), None);
        for kind in ["function_call", "custom_tool_call"] {
            let signed = json!({"input": [{"type": kind, "extra_content": {"google": {"thought_signature": "s"}}}]});
            assert_eq!(clear(Dialect::Responses, &signed), Some(json!({"input": [{"type": kind}]})));
        }
    }
}
