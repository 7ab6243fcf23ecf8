//! Owns the mark by which reasoning finds its way back to the OpenAI-style server that it came from: some of them, such as
//! `DeepSeek`, Kimi and Google's, refuse a tool loop without it, and others refuse a member that they do not know.

use super::super::{
    Protocol,
    chat::{Message, Part, Role, Signature},
};

/// Members that servers put their reasoning into.
pub(super) const MEMBERS: [&str; 2] = ["reasoning_content", "reasoning"];

/// Between the two names of a model in a mark.
const OR: char = '|';

/// A mark for reasoning that came in `member` from the model that was asked for by one name, and answered by another: an alias,
/// or a deployment's, says nothing of what is behind it.
pub(super) fn mark(member: &str, asked: &str, answered: &str) -> Signature {
    let also = if answered.is_empty() || answered == asked { String::new() } else { format!("{OR}{answered}") };
    Signature::new(Protocol::Openai, format!("{member}:{asked}{also}"))
}

/// The member to send marked reasoning back in; `None` where it came from another model.
pub(super) fn member(signature: Option<&Signature>, model: &str) -> Option<&'static str> {
    let (member, from) = Signature::of(signature, Protocol::Openai)?.split_once(':')?;
    let plain = |name: &str| name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    let to = plain(model);
    // Answers name the model with its date, or without its vendor.
    let same =
        from.split(OR).map(plain).any(|from| !from.is_empty() && (from.starts_with(&to) || to.starts_with(&from)));
    MEMBERS.into_iter().find(|known| same && *known == member)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasoning_goes_back_to_its_own_model_only() {
        let of = |from, to| member(Some(&mark("reasoning_content", from, from)), to);
        assert_eq!(of("deepseek-reasoner", "deepseek/deepseek-reasoner"), Some("reasoning_content"));
        assert_eq!(of("kimi-k2-thinking-0905", "kimi-k2-thinking"), Some("reasoning_content"));
        assert_eq!(of("deepseek-reasoner", "gpt-4o"), None);
        assert_eq!(of("", "gpt-4o"), None);
        let renamed = mark("reasoning", "my-deepseek", "DeepSeek-V3.2");
        for (to, want) in [("my-deepseek", Some("reasoning")), ("deepseek-v3.2", Some("reasoning")), ("gpt-4o", None)] {
            assert_eq!(member(Some(&renamed), to), want, "{to}");
        }
        let before = Signature::new(Protocol::Openai, "reasoning:deepseek-reasoner");
        assert_eq!(member(Some(&before), "deepseek-reasoner"), Some("reasoning"));
        assert_eq!(member(Some(&Signature::new(Protocol::Openai, "gAAAA")), "gpt-4o"), None);
    }
}
