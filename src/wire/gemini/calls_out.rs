//! Owns what a request tells Gemini of the calls in its history and their results beyond words.

use std::collections::HashMap;

use super::{
    super::{
        Protocol,
        chat::{Message, Part, Signature, Source},
        ids,
    },
    models::Model,
};

/// What a function's result may hold beside its words (guide to function calling, multimodal function responses).
const RESULTS: [&str; 5] = ["image/png", "image/jpeg", "image/webp", "application/pdf", "text/plain"];

/// The calls of a conversation.
#[derive(Debug)]
pub(super) struct Calls<'a> {
    /// Each call's function by its id, and whether the id is Gemini's own.
    known: HashMap<&'a str, (&'a str, bool)>,
    /// Who is told of them. From the third generation models want proofs and ids back, and take media within results.
    pub(super) model: Model,
}

impl<'a> Calls<'a> {
    /// Reads them out of a conversation.
    pub(super) fn of(turns: &'a [Message], model: Model) -> Self {
        let mut known = HashMap::new();
        for message in turns {
            // A turn that Gemini signed is Gemini's, with all calls in it.
            let own = message.parts.iter().any(is_signed);
            for part in &message.parts {
                if let Part::ToolCall { id, name, .. } = part {
                    // A call of `functions` goes by its name.
                    let given = own && id != name && !ids::is_made(id);
                    known.insert(id.as_str(), (name.as_str(), given));
                }
            }
        }
        Self { known, model }
    }

    /// The function that a call was of.
    pub(super) fn name(&self, id: &str) -> &'a str {
        self.known.get(id).map_or("unknown", |(name, _)| name)
    }

    /// The id to tell a call and its result by: the one that Gemini gave, to models that want it back. Endpoints that give
    /// none do not know the member.
    pub(super) fn id<'b>(&self, id: &'b str) -> Option<&'b str> {
        (self.model.is_third() && self.known.get(id).is_some_and(|(_, own)| *own)).then_some(id)
    }
}

fn is_signed(part: &Part) -> bool {
    match part {
        Part::Text { signature, .. }
        | Part::Image { signature, .. }
        | Part::ToolCall { signature, .. }
        | Part::Thinking { signature, .. } => Signature::of(signature.as_ref(), Protocol::Gemini).is_some(),
        _ => false,
    }
}

/// Whether a part has its place within a result; before the third generation none has.
pub(super) fn is_result(part: &Part) -> bool {
    match part {
        Part::Image { source: Source::Data { mime, .. }, .. }
        | Part::File { source: Source::Data { mime, .. }, .. } => RESULTS.contains(&mime.as_str()),
        _ => false,
    }
}
