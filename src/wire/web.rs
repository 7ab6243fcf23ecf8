//! Owns searches of the web that a provider makes for a model: what is wished of one, what it found, and which words of an
//! answer name a source.

use serde_json::{Map, Value, json};

use super::{
    chat::{ChatRequest, Loss, ToolChoice, Weight},
    foreign::items,
    ids::is_plain,
    json::{list, note, owned, text, unread},
};

/// The name of Anthropic's tool, and how the types of everybody's begin.
pub(crate) const NAME: &str = "web_search";

/// A wish that the web be searched.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Wish {
    /// Where it stands, in the client's own words.
    pub(crate) field: String,
    /// It is no offer beside others: without it the answer is another one.
    pub(crate) firm: bool,
    pub(crate) max_uses: Option<u64>,
    /// Domains of which alone pages are to be found, and of which none are.
    pub(crate) allowed: Vec<String>,
    pub(crate) blocked: Vec<String>,
    /// Where the user is: `city`, `region`, `country`, `timezone`.
    pub(crate) place: Map<String, Value>,
    /// How much of what is found is to be read, where that is `low` or `high`.
    pub(crate) depth: Option<String>,
}

impl Wish {
    /// Reads it from a tool of Messages or Responses, or from the `web_search_options` of a chat completion (SDKs of Anthropic and
    /// OpenAI). Whoever says `external_web_access: false` wants nothing new from outside, which nobody else promises: `None`.
    pub(crate) fn read(value: &Value, field: String, losses: &mut Vec<Loss>) -> Option<Self> {
        const READ: [&str; 9] = [
            "type",
            "name",
            "max_uses",
            "allowed_domains",
            "blocked_domains",
            "filters",
            "user_location",
            "search_context_size",
            "external_web_access",
        ];
        if value.get("external_web_access") == Some(&Value::Bool(false)) {
            return None;
        }
        unread(value, &READ, &field, Weight::Hint, losses);
        let filters = value.get("filters").filter(|filters| filters.is_object()).unwrap_or(value);
        let domains = |key| list(filters, key).iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect();
        let place = value.get("user_location").unwrap_or(&Value::Null);
        let place = place.get("approximate").unwrap_or(place);
        let known = ["city", "region", "country", "timezone"].into_iter();
        Some(Self {
            field,
            firm: false,
            max_uses: value.get("max_uses").and_then(Value::as_u64),
            allowed: domains("allowed_domains"),
            blocked: domains("blocked_domains"),
            place: known.filter_map(|key| Some((key.to_owned(), owned(place, key)?.into()))).collect(),
            depth: owned(value, "search_context_size").filter(|depth| depth != "medium"),
        })
    }

    /// Takes note of what of it a provider cannot be told.
    pub(crate) fn note(&self, untold: &[(&str, bool)], weight: Weight, losses: &mut Vec<Loss>) {
        for (member, _) in untold.iter().filter(|(_, set)| *set) {
            note(losses, format!("{}.{member}", self.field), weight);
        }
    }
}

impl ChatRequest {
    /// Notes a search that the provider's writer has left untouched.
    pub(crate) fn note_unsearched(&mut self) {
        if let Some(wish) = self.web.take() {
            let is_meant = matches!(&self.tool_choice, Some(ToolChoice::Named(name)) if name == NAME);
            // A function of the client's may have that name, too.
            if is_meant && self.tools.iter().all(|tool| tool.name != NAME) {
                // The answer was to be made with it.
                note(&mut self.losses, "tool_choice", Weight::Answer);
            }
            let weight = if wish.firm || self.tools.is_empty() { Weight::Answer } else { Weight::Hint };
            note(&mut self.losses, wish.field, weight);
        }
    }
}

/// A page of the web.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) url: String,
    pub(crate) title: String,
    /// How old it is, in words.
    pub(crate) age: Option<String>,
}

/// A search that was made: what was looked for, and the pages that were found, or the word for why none were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Search {
    pub(crate) queries: Vec<String>,
    pub(crate) found: Result<Vec<Page>, String>,
}

impl Search {
    /// All that was looked for, in one line.
    pub(crate) fn query(&self) -> String {
        self.queries.join("; ")
    }

    /// How many searches it was.
    pub(crate) fn count(&self) -> usize {
        self.queries.len().max(1)
    }
}

/// A source of some words of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Citation {
    pub(crate) page: Page,
    /// What of the page is meant, where its provider tells.
    pub(crate) quote: String,
    /// The letters that it stands for, counted over all text of the answer.
    pub(crate) from: usize,
    pub(crate) to: usize,
}

impl Citation {
    /// As OpenAI tells it of a text that begins with a letter of this number.
    pub(crate) fn annotation(&self, begin: usize) -> Value {
        let (from, to) = (self.from.saturating_sub(begin), self.to.saturating_sub(begin));
        json!({"start_index": from, "end_index": to, "title": self.page.title, "url": self.page.url})
    }
}

/// The id in Messages of a search that Anthropic did not make. It has a letter that Anthropic refuses, so that it can
/// be told from Anthropic's own.
pub(crate) fn id(reply: &str, number: usize) -> String {
    format!("srvtoolu_{reply}.{number}")
}

/// Removes searches by other providers from a Messages history: they lack proofs, so Anthropic would refuse them.
pub(crate) fn take_out(map: &mut Map<String, Value>) -> bool {
    let is_others = |id: &str| !id.chars().all(is_plain);
    let mut changed = false;
    for message in items(map, "messages") {
        if message["role"] != "assistant" {
            continue;
        }
        let Some(content) = message.get_mut("content").and_then(Value::as_array_mut) else { continue };
        let before = content.len();
        content.retain(|block| match text(block, "type") {
            "server_tool_use" => !is_others(text(block, "id")),
            "web_search_tool_result" => !is_others(text(block, "tool_use_id")),
            _ => true,
        });
        changed |= content.len() < before;
        for block in content.iter_mut() {
            let Some(cited) = block.get_mut("citations").and_then(Value::as_array_mut) else { continue };
            let unproven = |one: &mut Value| {
                text(one, "type") == "web_search_result_location" && text(one, "encrypted_index").is_empty()
            };
            changed |= cited.extract_if(.., unproven).count() > 0;
        }
    }
    if changed {
        // A message without anything is refused, too.
        for message in items(map, "messages").filter(|m| m["role"] == "assistant") {
            if message["content"].as_array().is_some_and(Vec::is_empty) {
                message["content"] = super::turns::CONTINUE.into();
            }
        }
    }
    changed
}
