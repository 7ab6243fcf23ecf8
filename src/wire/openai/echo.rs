//! Owns the mark that leads reasoning back to the OpenAI-style server that it came from. Some servers, such as
//! `DeepSeek`, Kimi and Google's, refuse a tool loop without their reasoning; others refuse the member.

use serde_json::{Map, Value, json};

use super::{
    super::{
        Host, Protocol,
        chat::{Message, Part, Role, Signature},
        gemini,
        json::text,
        signature::UNPROVEN,
        translate::Target,
    },
    models::is_googles,
    reply_out::proven,
};

/// Members that servers put their reasoning into.
pub(super) const MEMBERS: [&str; 2] = ["reasoning_content", "reasoning"];
/// Where `OpenRouter` has all of it, what is signed or encrypted included. Claude and Gemini refuse a tool loop without
/// (its guide to reasoning tokens, "Preserving reasoning"; musistudio/claude-code-router#1057).
pub(super) const DETAILS: &str = "reasoning_details";
/// What of it cannot be read, such as Gemini's proofs of its calls.
const HIDDEN: &str = "reasoning.encrypted";

/// Stands between the two names of a model in a mark.
const OR: &str = "|";

/// A mark for reasoning that came in `member` from the model that was asked for by one name, and answered by another: an alias,
/// or a deployment's, says nothing of what is behind it. All that was told of it in detail goes along.
pub(super) fn mark(member: &str, asked: &str, answered: &str, details: Vec<Value>) -> Signature {
    let mut mark = format!("{member}:{asked}");
    if !answered.is_empty() && answered != asked {
        mark.extend([OR, answered]);
    }
    if !details.is_empty() {
        mark.extend([" ", &Value::Array(details).to_string()]);
    }
    Signature::new(Protocol::Openai, mark)
}

/// The member to send marked reasoning back in, and its details if there are any; `None` where it came from another model.
pub(super) fn kept(signature: Option<&Signature>, model: &str) -> Option<(&'static str, Vec<Value>)> {
    let (member, told) = Signature::of(signature, Protocol::Openai)?.split_once(':')?;
    let (from, details) = told.split_once(" [").unwrap_or((told, "]"));
    let plain = |name: &str| name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    let to = plain(model);
    // Answers name the model with its date, or without its vendor.
    let same =
        from.split(OR).map(plain).any(|from| !from.is_empty() && (from.starts_with(&to) || to.starts_with(&from)));
    let member = MEMBERS.into_iter().find(|known| same && *known == member)?;
    Some((member, serde_json::from_str(&format!("[{details}")).ok()?))
}

/// Takes in pieces of details as a stream brings them: those of one text go on with it, and what is hidden comes whole.
pub(super) fn gather(details: &mut Vec<Value>, pieces: Value) {
    let Value::Array(pieces) = pieces else { return };
    for piece in pieces {
        let same = |last: &&mut Value| {
            text(&piece, "type") != HIDDEN
                && piece.get("index").is_some()
                && ["type", "index"].iter().all(|key| last.get(key) == piece.get(key))
        };
        match (details.last_mut().filter(same).and_then(Value::as_object_mut), piece) {
            (Some(last), Value::Object(piece)) => join(last, piece),
            (_, piece) => details.push(piece),
        }
    }
}

fn join(last: &mut Map<String, Value>, piece: Map<String, Value>) {
    for (key, value) in piece {
        match (key.as_str(), last.get_mut(&key), value) {
            (_, _, Value::Null) => {}
            ("text" | "summary", Some(Value::String(text)), Value::String(more)) => text.push_str(&more),
            (_, Some(_), Value::String(more)) if more.is_empty() => {}
            (_, _, value) => drop(last.insert(key, value)),
        }
    }
}

/// Puts each of Google's signatures that a client kept in a block of thinking onto the call after it, with which it goes back.
pub(super) fn carry(messages: &mut [Message]) {
    let mut carried = None;
    for message in messages {
        // A turn may come in several messages.
        if message.role != Role::Assistant {
            carried = None;
        }
        for part in &mut message.parts {
            match part {
                Part::Thinking { signature: Some(found), .. } if found.origin == Protocol::Gemini => {
                    carried = Some(found.clone());
                }
                Part::ToolCall { signature, .. } if signature.is_none() => *signature = carried.take(),
                // It may have come both ways, and is for one call.
                Part::ToolCall { signature, .. } if *signature == carried => carried = None,
                _ => {}
            }
        }
    }
}

/// Puts what stands for a proof where a turn's calls have none that the server knows, and Gemini 3 would refuse them: they are
/// another model's, or were made at another door to Google's, whose proofs are refused, too (alphaXiv/agents#61). `OpenRouter`
/// takes one a turn, bound to its first call (RooCodeInc/Roo-Code#10640).
pub(super) fn stand_in(calls: &mut [Value], details: &mut Vec<Value>, target: &Target<'_>) {
    let wanted = is_googles(target.model) && gemini::wants_proofs(target.model);
    let Some(first) = calls.first_mut().filter(|_| wanted) else { return };
    if target.host == Host::OpenRouter {
        if details.iter().all(|detail| text(detail, "type") != HIDDEN) {
            let (id, format) = (text(first, "id"), "google-gemini-v1");
            details.push(json!({"type": HIDDEN, "data": UNPROVEN, "id": id, "format": format, "index": 0}));
        }
    } else if first.get("extra_content").is_none() {
        *first = proven(first.take(), Some(&Signature::new(Protocol::Gemini, UNPROVEN)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasoning_goes_back_to_its_own_model_only() {
        let member = |signature: &Signature, to: &str| kept(Some(signature), to).map(|(member, _)| member);
        let of = |from, to| member(&mark("reasoning_content", from, from, vec![]), to);
        assert_eq!(of("deepseek-reasoner", "deepseek/deepseek-reasoner"), Some("reasoning_content"));
        assert_eq!(of("kimi-k2-thinking-0905", "kimi-k2-thinking"), Some("reasoning_content"));
        assert_eq!(of("deepseek-reasoner", "gpt-4o"), None);
        assert_eq!(of("", "gpt-4o"), None);
        let renamed = mark("reasoning", "my-deepseek", "DeepSeek-V3.2", vec![]);
        for (to, want) in [("my-deepseek", Some("reasoning")), ("deepseek-v3.2", Some("reasoning")), ("gpt-4o", None)] {
            assert_eq!(member(&renamed, to), want, "{to}");
        }
        let before = Signature::new(Protocol::Openai, "reasoning:deepseek-reasoner");
        assert_eq!(member(&before, "deepseek-reasoner"), Some("reasoning"));
        assert_eq!(member(&Signature::new(Protocol::Openai, "gAAAA"), "gpt-4o"), None);
    }

    #[test]
    fn details_in_pieces_are_joined_by_text_alone_and_an_empty_proof_takes_none_back() {
        let mut details = Vec::new();
        let piece = |more: Value| {
            let mut piece = json!({"type": "reasoning.text", "index": 0});
            piece.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            json!([piece])
        };
        for more in [json!({"text": "a", "signature": "c2ln"}), json!({"text": "b", "signature": ""})] {
            gather(&mut details, piece(more));
        }
        let hidden = |data: &str| json!({"type": "reasoning.encrypted", "index": 1, "data": data});
        gather(&mut details, json!([hidden("QQ=="), hidden("Qg==")]));
        let whole = json!({"type": "reasoning.text", "index": 0, "text": "ab", "signature": "c2ln"});
        assert_eq!(details, [whole, hidden("QQ=="), hidden("Qg==")]);
    }
}
