//! Owns the ids that replies carry in a client's dialect, the provider's own under the dialect's prefix, and those of calls.

use std::collections::HashMap;

use super::end_user::digest;

/// An id with a dialect's prefix.
pub(crate) fn prefixed(prefix: &str, id: &str) -> String {
    if id.starts_with(prefix) { id.to_owned() } else { format!("{prefix}{id}") }
}

/// An id of a tool call in the letters that Anthropic takes: others are refused (BerriAI/litellm, `_sanitize_anthropic_tool_use_id`).
pub(crate) fn plain(id: &str) -> String {
    id.chars().map(|c| if is_plain(c) { c } else { '_' }).collect()
}

/// What a provider takes for the id of a tool call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Any. Kimi K2 reads the ids of its history, `functions.NAME:NUMBER` (MoonshotAI/Kimi-K2, tool call guidance), and Gemini 3
    /// wants its own back.
    Any,
    /// Plain letters (Anthropic).
    Plain,
    /// No more than forty letters (OpenAI).
    Forty,
    /// Nine letters or digits, no more and no less (Mistral; anomalyco/opencode#1680).
    Nine,
}

impl Taken {
    /// The id to send for one of a request, or for the next that is called the same: one conversation has the same in every turn.
    pub(crate) fn fit(self, id: &str, used: &mut Used) -> String {
        let kept = if self == Self::Plain { plain(id) } else { id.to_owned() };
        let mut unique = unique(if kept.is_empty() { "call" } else { &kept }, used);
        let (fits, length) = match self {
            Self::Any | Self::Plain => return unique,
            Self::Forty => (unique.len() <= 40, 40),
            Self::Nine => (unique.len() == 9 && unique.bytes().all(|b| b.is_ascii_alphanumeric()), 9),
        };
        if !fits {
            unique = digest(&unique);
            unique.truncate(length);
        }
        unique
    }
}

/// The ids of one request, and for each the number that might come behind it next.
pub(crate) type Used = HashMap<String, usize>;

/// Plain ids for those of one request, the same for the same and another for another. Who comes first keeps its own, so that
/// a conversation that goes on begins with the same bytes, which is what caches of prompts go by.
#[derive(Debug, Default)]
pub(crate) struct PlainIds {
    given: HashMap<String, String>,
    used: Used,
}

impl PlainIds {
    pub(crate) fn of(&mut self, id: &str) -> &str {
        let Self { given, used } = self;
        given.entry(id.to_owned()).or_insert_with(|| unique(&plain(id), used))
    }
}

/// The id, with a number behind it where it is used already.
pub(crate) fn unique(id: &str, used: &mut Used) -> String {
    let (mut unique, mut count) = (id.to_owned(), used.get(id).copied().unwrap_or(2));
    while used.contains_key(&unique) {
        unique = format!("{id}_{count}");
        count += 1;
    }
    used.insert(id.to_owned(), count);
    used.entry(unique.clone()).or_insert(2);
    unique
}

/// Whether Anthropic takes a letter in an id.
pub(crate) fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

/// Whether an id is of those that `call` makes. OpenAI's begin alike.
pub(crate) fn is_made(id: &str) -> bool {
    id.starts_with("call_")
}

/// The id of a tool call that came without one: the same whenever the same reply is translated.
pub(crate) fn call(given: Option<&str>, reply: &str, index: u32) -> String {
    match given {
        Some(id) if !id.is_empty() => id.to_owned(),
        _ => {
            let plain: String = reply.chars().filter(|c| is_plain(*c)).collect();
            // Some servers take forty characters.
            let tail = plain.len().saturating_sub(28);
            format!("call_{}_{index}", &plain[tail..])
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_two_ids_become_one_and_one_never_becomes_two(ids in proptest::collection::vec("[a_.:2]{1,4}", 0..40)) {
            let mut all = PlainIds::default();
            let given: Vec<String> = ids.iter().map(|id| all.of(id).to_owned()).collect();
            for (id, plain) in ids.iter().zip(&given) {
                prop_assert!(plain.chars().all(is_plain));
                for (other, theirs) in ids.iter().zip(&given) {
                    prop_assert_eq!(id == other, plain == theirs, "{} {}", id, other);
                }
            }
        }

        #[test]
        fn an_id_that_is_used_gets_the_first_number_that_is_free(ids in proptest::collection::vec("[a_2]{1,4}", 0..40)) {
            let (mut used, mut all) = (Used::new(), std::collections::HashSet::new());
            for id in ids {
                let numbered = (2..).map(|number| format!("{id}_{number}"));
                let free = std::iter::once(id.clone()).chain(numbered).find(|one| all.insert(one.clone()));
                prop_assert_eq!(Some(unique(&id, &mut used)), free);
            }
        }
    }
}
