//! Owns the mark by which reasoning finds its way back to the OpenAI-style server that it came from: some of them, such as
//! `DeepSeek` and Kimi, refuse a tool loop without it, and others refuse a member that they do not know.

use super::super::{Protocol, chat::Signature};

/// Members that servers put their reasoning into.
pub(super) const MEMBERS: [&str; 2] = ["reasoning_content", "reasoning"];

/// A mark for reasoning that came in `member` from `model`.
pub(super) fn mark(member: &str, model: &str) -> Signature {
    Signature::new(Protocol::Openai, format!("{member}:{model}"))
}

/// The member to send marked reasoning back in; `None` where it came from another model.
pub(super) fn member(signature: Option<&Signature>, model: &str) -> Option<&'static str> {
    let (member, from) = Signature::of(signature, Protocol::Openai)?.split_once(':')?;
    let plain = |name: &str| name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    let (from, to) = (plain(from), plain(model));
    // Answers name the model with its date, or without its vendor.
    let same = !from.is_empty() && (from.starts_with(&to) || to.starts_with(&from));
    MEMBERS.into_iter().find(|known| same && *known == member)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasoning_goes_back_to_its_own_model_only() {
        let of = |from, to| member(Some(&mark("reasoning_content", from)), to);
        assert_eq!(of("deepseek-reasoner", "deepseek/deepseek-reasoner"), Some("reasoning_content"));
        assert_eq!(of("kimi-k2-thinking-0905", "kimi-k2-thinking"), Some("reasoning_content"));
        assert_eq!(of("deepseek-reasoner", "gpt-4o"), None);
        assert_eq!(of("", "gpt-4o"), None);
        assert_eq!(member(Some(&Signature::new(Protocol::Openai, "gAAAA")), "gpt-4o"), None);
    }
}
