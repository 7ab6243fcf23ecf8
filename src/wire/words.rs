//! Owns what the parts of a message say in words, which is all that some places in a request take.

use std::borrow::Cow;

use super::{
    chat::{Loss, Part, Source, Weight},
    json::note,
};

/// Reduces instructions to words, which are all that a provider takes there.
pub(super) fn instruct(parts: &mut Vec<Part>, losses: &mut Vec<Loss>) {
    for part in &mut *parts {
        if let Part::File { source, .. } = part
            && let Some(written) = source.written()
        {
            *source = Source::Text(written);
            if let Some(text) = told(part).map(Cow::into_owned) {
                *part = Part::text(text);
            }
        }
    }
    let all = parts.len();
    parts.retain(|p| words(p).is_some() || is_mark(p));
    if parts.len() < all {
        note(losses, "messages[].content[] of instructions", Weight::Answer);
    }
}

/// What a part says in words, a document of text included.
pub(crate) fn told(part: &Part) -> Option<Cow<'_, str>> {
    match part {
        Part::File { source: Source::Text(text), name: Some(name) } => Some(format!("{name}\n\n{text}").into()),
        Part::File { source: Source::Text(text), name: None } => Some(text.into()),
        other => words(other).map(Cow::Borrowed),
    }
}

/// A part's words.
pub(crate) fn words(part: &Part) -> Option<&str> {
    match part {
        Part::Text { text, .. } | Part::Refusal(text) => Some(text),
        _ => None,
    }
}

/// Whether a part is a mark for a cache, which says nothing.
pub(super) fn is_mark(part: &Part) -> bool {
    matches!(part, Part::CacheMark(_))
}
