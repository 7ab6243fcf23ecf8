//! Owns making sense of a backend's answer, frame by frame or whole: passed on as it is, or translated.

use super::{attempt::Attempt, surface::Surface};
use crate::{
    upstream::Answer,
    wire::{
        Malformed, Observed, count, embed,
        peek::{self, Pattern},
        sse,
        translate::{self, Dialect, StreamTranslator},
    },
};

/// Reads a stream.
pub(super) enum Decoder {
    /// Chat chunks, passed on.
    Chat(Pattern),
    /// Messages events, passed on.
    Messages(Pattern),
    /// Responses events, passed on.
    Responses,
    /// Events of sound, of pictures or of transcriptions, passed on. Not all servers mark their end: some end speech (Soprano) and
    /// transcripts (omega-ml) with the last piece. But behind a draft a picture is to come, as OpenAI's own example holds.
    MediaEvents { draft: bool },
    /// Sound, passed on unread, with or without events.
    Unread,
    /// Another protocol's events, translated.
    Translated(Box<StreamTranslator>),
}

impl Decoder {
    /// The decoder for a stream that an attempt was answered with.
    pub(super) fn new(Attempt { request, target, way, .. }: &Attempt<'_>, answer: &Answer) -> Self {
        let (surface, dialect) = (request.surface, request.surface.dialect());
        if !way.is_native() {
            let (protocol, context) = (target.handle.settings.protocol, request.context(target));
            let include_usage = request.envelope.include_usage;
            return Self::Translated(Box::new(StreamTranslator::new(protocol, dialect, context, include_usage)));
        }
        match dialect {
            _ if surface == Surface::Speech && answer.is_event_stream() != Some(true) => Self::Unread,
            _ if surface.is_raw() => Self::MediaEvents { draft: false },
            Dialect::Chat => Self::Chat(Pattern::default()),
            Dialect::Messages => Self::Messages(Pattern::default()),
            Dialect::Responses => Self::Responses,
        }
    }

    /// Largest frame that is held while it is incomplete, bytes.
    pub(super) fn max_frame(&self) -> usize {
        if matches!(self, Self::MediaEvents { .. }) { sse::MAX_MEDIA_FRAME } else { sse::MAX_FRAME }
    }

    /// What a frame that is passed on means.
    pub(super) fn glance<'a>(&mut self, event: Option<&str>, data: &'a [u8]) -> Result<Observed<'a>, Malformed> {
        match self {
            Self::Chat(pattern) if event != Some("error") => pattern.read(data, peek::frame),
            Self::Messages(pattern) => pattern.read(data, |data| peek::messages::frame(event, data)),
            Self::Responses => peek::responses::frame(event, data),
            Self::MediaEvents { draft } => Ok(peek::media_event(event, data, draft)),
            Self::Chat(_) | Self::Translated(_) | Self::Unread => peek::event(event, data),
        }
    }

    /// What is owed to the client of a stream that gave its finish but not its end.
    pub(super) fn closing(&mut self) -> Option<Vec<u8>> {
        match self {
            Self::Chat(_) => Some(b"data: [DONE]\n\n".to_vec()),
            Self::Messages(_) => Some(b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n".to_vec()),
            // Its finish is its end.
            Self::Responses => Some(Vec::new()),
            // They have no finish.
            Self::MediaEvents { .. } | Self::Unread => None,
            Self::Translated(translator) => {
                let mut out = Vec::new();
                translator.end(&mut out).then_some(out)
            }
        }
    }
}

/// A whole answer: the bytes for the client where they are not the backend's own, and what they mean.
pub(super) fn whole<'a>(
    Attempt { request, target, way, .. }: &Attempt<'_>,
    body: &'a [u8],
) -> Result<(Option<Vec<u8>>, Observed<'a>), Malformed> {
    let surface = request.surface;
    if !way.is_native() {
        let (protocol, context) = (target.handle.settings.protocol, || request.context(target));
        let (body, seen) = match surface {
            Surface::CountTokens => count::reply(protocol, body)?,
            Surface::Embeddings => embed::reply(body, &context())?,
            _ => translate::reply(protocol, surface.dialect(), body, &context())?,
        };
        return Ok((Some(body), seen));
    }
    let seen = match surface {
        Surface::Messages | Surface::CountTokens => peek::messages::whole(body)?,
        Surface::Responses => peek::responses::whole(body)?,
        Surface::Chat | Surface::Completions => peek::whole(body)?,
        // It is no sound, whatever else it may be.
        Surface::Speech => peek::frame(body)?,
        Surface::Transcriptions | Surface::Translations => peek::transcript(body)?,
        Surface::Embeddings | Surface::Images | Surface::Edits => peek::listing(body, &["data"])?,
        Surface::Moderations => peek::listing(body, &["results"])?,
        // Voyage names it otherwise than all others do.
        Surface::Rerank => peek::listing(body, &["results", "data"])?,
    };
    Ok((None, seen))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        error::Class,
        upstream::classify::classify,
        wire::{Protocol, Usage, translate::ReplyContext},
    };

    /// What Anthropic's data mean in a stream and whole, each passed on and translated.
    fn readings(data: &[u8]) -> [Observed<'_>; 4] {
        let context = ReplyContext::default();
        let mut translator = StreamTranslator::new(Protocol::Anthropic, Dialect::Chat, context.clone(), false);
        let translated = translate::reply(Protocol::Anthropic, Dialect::Chat, data, &context);
        [
            peek::messages::frame(None, data).expect("an event"),
            translator.frame(None, data, &mut Vec::new()).expect("an event"),
            peek::messages::whole(data).expect("an answer"),
            translated.expect("an answer").1,
        ]
    }

    #[test]
    fn an_error_of_anthropics_is_of_one_class_whether_it_is_passed_on_or_translated() {
        let spent = json!({"error_code": "enforced_spend_limit_reached"});
        for (kind, details, message, class) in [
            ("not_found_error", json!(null), "model: claude-9", Class::ProviderModelMissing),
            ("request_too_large", json!(null), "Request exceeds the maximum size", Class::CallerInvalid),
            ("rate_limit_error", spent, "You have reached a limit", Class::ProviderQuota),
            ("invalid_request_error", json!(null), "This organization has been disabled.", Class::ProviderAuth),
        ] {
            let error = json!({"type": kind, "message": message, "details": details});
            let data = json!({"type": "error", "error": error}).to_string();
            for seen in readings(data.as_bytes()) {
                assert_eq!(seen.fault.as_ref().map(classify), Some(class), "{kind}: {seen:?}");
            }
        }
    }

    #[test]
    fn anthropics_tokens_of_thinking_are_counted_in_what_is_passed_on_too() {
        for (details, reasoning) in
            [(json!({"thinking_tokens": 4}), 4), (json!([]), 0), (json!(null), 0), (json!(7), 0)]
        {
            let usage = json!({"input_tokens": 3, "output_tokens": 9, "output_tokens_details": details});
            let data =
                json!({"type": "message_delta", "content": [], "stop_reason": "end_turn", "usage": usage}).to_string();
            let want = Some(Usage { input: 3, output: 9, reasoning, ..Usage::default() });
            for seen in readings(data.as_bytes()) {
                assert_eq!(seen.usage, want, "{details}");
            }
        }
    }
}
