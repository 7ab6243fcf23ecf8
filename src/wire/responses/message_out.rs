//! Owns the messages of a Responses stream: their parts, text or refusal, the sources of a text, and the searches between them.

use serde_json::{Value, json};

use super::{
    super::web::{Citation, Search},
    answer_out::{Open, Writer},
    reply_out,
};

/// A message, the parts that it has, and the one under way.
#[derive(Debug)]
pub(super) struct Message {
    at: usize,
    parts: Vec<Value>,
    text: String,
    refusal: bool,
    /// The first letter of the part under way, counted over all text, and its sources.
    begin: usize,
    annotations: Vec<Value>,
}

impl Writer {
    /// Begins a part of the message under way, or of a new one.
    fn begin_part(&mut self, refusal: bool, out: &mut Vec<u8>) {
        let (at, parts) = match std::mem::replace(&mut self.open, Open::Nothing) {
            Open::Message(message) => self.end_part(message, out),
            open => {
                self.open = open;
                self.close(None, out);
                let at = self.output.len();
                self.place(at, reply_out::message_item(&self.item_id("msg_", at), "in_progress", &[]), out);
                (at, Vec::new())
            }
        };
        let part = if refusal { reply_out::refusal_part("") } else { reply_out::text_part("", &[]) };
        let place = json!({"item_id": self.item_id("msg_", at), "output_index": at, "content_index": parts.len(), "part": part});
        self.send("response.content_part.added", place, out);
        let (text, begin, annotations) = (String::new(), self.letters, Vec::new());
        self.open = Open::Message(Message { at, parts, text, refusal, begin, annotations });
    }

    /// Ends the part under way; the message's place and all parts that it has now.
    fn end_part(&mut self, message: Message, out: &mut Vec<u8>) -> (usize, Vec<Value>) {
        let Message { at, mut parts, text, refusal, annotations, .. } = message;
        let place = json!({"item_id": self.item_id("msg_", at), "output_index": at, "content_index": parts.len()});
        let (mut said, mut done) = (place.clone(), place);
        let part = if refusal {
            said["refusal"] = text.as_str().into();
            self.send("response.refusal.done", said, out);
            reply_out::refusal_part(&text)
        } else {
            said["text"] = text.as_str().into();
            said["logprobs"] = json!([]);
            self.send("response.output_text.done", said, out);
            reply_out::text_part(&text, &annotations)
        };
        done["part"] = part.clone();
        self.send("response.content_part.done", done, out);
        parts.push(part);
        (at, parts)
    }

    pub(super) fn end_message(&mut self, message: Message, out: &mut Vec<u8>) {
        let (at, parts) = self.end_part(message, out);
        let item = reply_out::message_item(&self.item_id("msg_", at), self.status, &parts);
        self.done(at, item, out);
    }

    pub(super) fn text(&mut self, more: &str, refusal: bool, out: &mut Vec<u8>) {
        // An empty text is no part, as in a whole answer.
        if more.is_empty() {
            return;
        }
        if !matches!(&self.open, Open::Message(message) if message.refusal == refusal) {
            self.begin_part(refusal, out);
        }
        let Open::Message(message) = &mut self.open else { return };
        message.text.push_str(more);
        let (at, index) = (message.at, message.parts.len());
        let mut place =
            json!({"item_id": self.item_id("msg_", at), "output_index": at, "content_index": index, "delta": more});
        if refusal {
            self.send("response.refusal.delta", place, out);
        } else {
            self.letters += more.chars().count();
            place["logprobs"] = json!([]);
            self.send("response.output_text.delta", place, out);
        }
    }

    /// Names a source of the text under way. Of a part that has ended nothing more can be said.
    pub(super) fn cite(&mut self, citation: &Citation, out: &mut Vec<u8>) {
        let Open::Message(message) = &mut self.open else { return };
        if message.refusal || citation.from < message.begin {
            return;
        }
        let annotation = reply_out::annotation(citation, message.begin);
        let (at, index, number) = (message.at, message.parts.len(), message.annotations.len());
        message.annotations.push(annotation.clone());
        let place = json!({"item_id": self.item_id("msg_", at), "output_index": at, "content_index": index,
            "annotation_index": number, "annotation": annotation});
        self.send("response.output_text.annotation.added", place, out);
    }

    /// Tells a search, which is over by the time that it is heard of.
    pub(super) fn search(&mut self, search: &Search, out: &mut Vec<u8>) {
        self.close(None, out);
        let at = self.output.len();
        let id = self.item_id("ws_", at);
        self.place(at, reply_out::search(&id, search, "in_progress"), out);
        let status = reply_out::searched(search);
        // Only the item itself tells of a failure.
        for step in ["in_progress", "searching", status].into_iter().filter(|step| *step != "failed") {
            let kind = format!("response.web_search_call.{step}");
            self.send(&kind, json!({"output_index": at, "item_id": &id}), out);
        }
        self.done(at, reply_out::search(&id, search, status), out);
    }
}
