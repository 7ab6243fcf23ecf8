//! Owns Google's search: asking a model to ground its answer in one, and reading the sources of an answer.

use std::collections::BTreeSet;

use serde_json::{Value, json, value::RawValue};

use super::{
    super::{
        chat::{ChatRequest, Weight},
        events::ChatEvent,
        json::{list, note, read, text},
        web::{Citation, Page, Search},
    },
    models::Model,
};

/// The tool by which a model searches, if that was wished and can be had: it takes no domains, and beside functions models before
/// the third generation take none of it, later ones only with a history that tells each search (guides to grounding with Google
/// Search and to combining tools).
pub(super) fn offer(request: &mut ChatRequest, model: Model) -> Option<Value> {
    if !request.tools.is_empty() || !model.searches() {
        return None;
    }
    let wish = request.web.take()?;
    let domains = [("allowed_domains", !wish.allowed.is_empty()), ("blocked_domains", !wish.blocked.is_empty())];
    wish.note(&domains, Weight::Answer, &mut request.losses);
    let hints = [
        ("max_uses", wish.max_uses.is_some()),
        ("user_location", !wish.place.is_empty()),
        ("search_context_size", wish.depth.is_some()),
    ];
    wish.note(&hints, Weight::Hint, &mut request.losses);
    if request.forces_a_call() {
        note(&mut request.losses, "tool_choice", Weight::Hint);
    }
    Some(json!({"googleSearch": {}}))
}

/// Most sources that are told of an answer: each names a page again.
const MOST: usize = 1_024;

/// What an answer is grounded in, as far as it has been told.
#[derive(Debug, Default)]
pub(super) struct Grounding {
    /// All text so far, and where in it each part of the answer begins, bytes.
    said: String,
    parts: Vec<usize>,
    queries: Vec<String>,
    chunks: Vec<Value>,
    supports: Vec<Value>,
    told: bool,
}

impl Grounding {
    /// The next part begins.
    pub(super) fn part(&mut self) {
        self.parts.push(self.said.len());
    }

    pub(super) fn text(&mut self, more: &str) {
        self.said.push_str(more);
    }

    /// Takes what a frame tells. Some servers tell it again with each.
    pub(super) fn add(&mut self, told: &RawValue) {
        let told: Value = read(told.get().as_bytes()).unwrap_or_default();
        for query in list(&told, "webSearchQueries").iter().filter_map(Value::as_str) {
            if !query.is_empty() && !self.queries.iter().any(|known| known == query) {
                self.queries.push(query.to_owned());
            }
        }
        for (key, place) in [("groundingChunks", &mut self.chunks), ("groundingSupports", &mut self.supports)] {
            if let found @ [_, ..] = list(&told, key) {
                *place = found.to_vec();
            }
        }
    }

    /// Tells all of it, once.
    pub(super) fn tell(&mut self, out: &mut Vec<ChatEvent<'_>>) {
        let pages: Vec<Page> = self.chunks.iter().filter_map(page).collect();
        if self.told || (self.queries.is_empty() && pages.is_empty()) {
            return;
        }
        self.told = true;
        let mut cited = 0;
        for support in self.supports.iter().take(MOST) {
            let Some((from, to)) = support.get("segment").and_then(|segment| self.letters(segment)) else { continue };
            let named =
                list(support, "groundingChunkIndices").iter().filter_map(Value::as_u64).collect::<BTreeSet<_>>();
            let pages = named.into_iter().filter_map(|at| page(self.chunks.get(usize::try_from(at).ok()?)?));
            for page in pages.take(MOST - cited) {
                cited += 1;
                out.push(ChatEvent::Cite(Citation { page, quote: String::new(), from, to }));
            }
        }
        out.push(ChatEvent::Search(Search { queries: std::mem::take(&mut self.queries), found: Ok(pages) }));
    }

    /// The letters that a segment means. It counts bytes, from the beginning of a part (API reference of `Segment`), and of a stream
    /// from that of the text; its own words show which, and where they are if neither.
    fn letters(&self, segment: &Value) -> Option<(usize, usize)> {
        let number = |key: &str| segment.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        let (start, end, words) = (number("startIndex").unwrap_or(0), number("endIndex")?, text(segment, "text"));
        let base = self.parts.get(number("partIndex").unwrap_or(0)).copied().unwrap_or(0);
        let placed = [base, 0].into_iter().find_map(|base| {
            let (start, end) = (base.checked_add(start)?, base.checked_add(end)?);
            let found = self.said.get(start..end)?;
            (words.is_empty() || found == words).then_some((start, end))
        });
        let (start, end) = placed.or_else(|| {
            let start = self.said.find(words).filter(|_| !words.is_empty())?;
            Some((start, start + words.len()))
        })?;
        let count = |bytes: usize| self.said[..bytes].chars().count();
        (start < end).then(|| (count(start), count(end)))
    }
}

/// The page of a chunk, if it is one of the web.
fn page(chunk: &Value) -> Option<Page> {
    let web = chunk.get("web")?;
    let (url, title) = (text(web, "uri"), text(web, "title"));
    (!url.is_empty()).then(|| Page { url: url.to_owned(), title: title.to_owned(), age: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_that_is_told_with_each_frame_is_one_search() {
        let (mut grounding, mut out) = (Grounding::default(), Vec::new());
        let told = RawValue::from_string(r#"{"webSearchQueries":["q",""]}"#.to_owned()).expect("JSON");
        (0..2).for_each(|_| grounding.add(&told));
        grounding.tell(&mut out);
        assert!(matches!(&out[..], [ChatEvent::Search(search)] if search.queries == ["q"]), "{out:?}");
    }
}
