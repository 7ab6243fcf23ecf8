//! Owns reading a whole `generateContent` reply: the frames of a stream, folded.

use super::{
    super::{
        Malformed,
        chat::Part,
        events::{ChatEvent, ChatReply, StreamReader},
    },
    stream_in::Reader,
};

/// Reads a body; an error body gives a reply with a fault. As in a stream, what gives no reason has not come to its end.
pub(crate) fn read(body: &[u8]) -> Result<ChatReply, Malformed> {
    let mut events = Vec::new();
    Reader::default().frame(None, body, &mut events)?;
    let mut reply = ChatReply::default();
    for event in events {
        fold(event, &mut reply);
    }
    if reply.finish.is_none() && reply.fault.is_none() {
        return Err(Malformed("a reply without a finish reason".into()));
    }
    Ok(reply)
}

fn fold(event: ChatEvent<'_>, reply: &mut ChatReply) {
    match event {
        ChatEvent::Start { id, model, .. } => {
            reply.id = id.map(Into::into);
            reply.model = model.map(Into::into);
        }
        ChatEvent::Text(more) => match reply.parts.last_mut() {
            Some(Part::Text { text, .. }) => text.push_str(&more),
            _ => reply.parts.push(Part::text(more)),
        },
        ChatEvent::TextSignature(found) => {
            match reply.parts.iter_mut().rev().find(|p| matches!(p, Part::Text { .. })) {
                Some(Part::Text { signature, .. }) => *signature = Some(found),
                _ => reply.parts.push(Part::Text { text: String::new(), signature: Some(found) }),
            }
        }
        ChatEvent::Thinking(more) => match reply.parts.last_mut() {
            Some(Part::Thinking { text, .. }) => text.push_str(&more),
            _ => reply.parts.push(Part::Thinking { text: more.into(), signature: None }),
        },
        ChatEvent::ThinkingEnd(Some(found)) => match reply.parts.last_mut() {
            Some(Part::Thinking { signature, .. }) => *signature = Some(found),
            _ => reply.parts.push(Part::Thinking { text: String::new(), signature: Some(found) }),
        },
        ChatEvent::Image { source, signature } => reply.parts.push(Part::Image { source, detail: None, signature }),
        ChatEvent::ToolCall { id, name, signature, .. } => reply.parts.push(Part::ToolCall {
            id: id.map(Into::into).unwrap_or_default(),
            name: name.into(),
            arguments: String::new(),
            signature,
        }),
        ChatEvent::Arguments { text, .. } => {
            if let Some(Part::ToolCall { arguments, .. }) = reply.parts.last_mut() {
                arguments.push_str(&text);
            }
        }
        ChatEvent::Finish { reason, .. } => reply.finish = Some(reason),
        ChatEvent::Usage(usage) => reply.usage = Some(usage),
        ChatEvent::Fault(fault) => reply.fault = Some(fault),
        ChatEvent::Refusal(_) | ChatEvent::ThinkingEnd(None) | ChatEvent::Redacted(_) | ChatEvent::End => {}
    }
}
