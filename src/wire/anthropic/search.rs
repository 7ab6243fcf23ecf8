//! Owns searches of the web in Messages: asked for, read from an answer, and told in one.

use serde_json::{Map, Value, json};

use super::super::{
    chat::{ChatRequest, Weight},
    json::{list, owned, text},
    members::Members,
    web::{Citation, NAME, Page, Search, id},
};

/// The tool that asks Claude to search, if that was wished and can be had (guide to web search): not on Amazon's Bedrock, whose names
/// of models tell the maker, and of other makers' servers nobody knows. Of two tools of one name neither would be taken.
pub(super) fn offer(request: &mut ChatRequest, model: &str) -> Option<Value> {
    let is_claude = model.contains("claude") && !model.contains("anthropic.claude");
    if !is_claude || request.tools.iter().any(|tool| tool.name == NAME) {
        return None;
    }
    let wish = request.web.take()?;
    let mut tool = Map::new();
    tool.set("type", "web_search_20250305");
    tool.set("name", NAME);
    tool.set_some("max_uses", wish.max_uses);
    if !wish.allowed.is_empty() {
        tool.set("allowed_domains", json!(wish.allowed));
        // It takes one of the two lists.
        wish.note(&[("blocked_domains", !wish.blocked.is_empty())], Weight::Answer, &mut request.losses);
    } else if !wish.blocked.is_empty() {
        tool.set("blocked_domains", json!(wish.blocked));
    }
    if !wish.place.is_empty() {
        let mut place = wish.place.clone();
        place.set("type", "approximate");
        tool.set("user_location", place);
    }
    wish.note(&[("search_context_size", wish.depth.is_some())], Weight::Hint, &mut request.losses);
    Some(Value::Object(tool))
}

/// Reads what a search found: its pages, or the word for why there are none.
pub(super) fn found(content: &Value) -> Result<Vec<Page>, String> {
    if let Some(code) = owned(content, "error_code") {
        return Err(code);
    }
    let page = |result: &Value| Page {
        url: text(result, "url").to_owned(),
        title: text(result, "title").to_owned(),
        age: owned(result, "page_age"),
    };
    Ok(content.as_array().into_iter().flatten().map(page).filter(|page| !page.url.is_empty()).collect())
}

/// Reads a citation, if it is of a page that was found. What it stands for shows when its block ends.
pub(super) fn cited(citation: &Value) -> Option<Citation> {
    let (url, title) = (owned(citation, "url")?, text(citation, "title").to_owned());
    let page = Page { url, title, age: None };
    let is_of_a_page = text(citation, "type") == "web_search_result_location";
    is_of_a_page.then(|| Citation { page, quote: text(citation, "cited_text").to_owned(), ..Citation::default() })
}

/// The two blocks of a search, which prove nothing to Anthropic.
pub(super) fn blocks(search: &Search, reply: &str, number: usize) -> [Value; 2] {
    let id = id(reply, number);
    let content = match &search.found {
        Ok(pages) => pages.iter().map(result).collect(),
        Err(code) => json!({"type": "web_search_tool_result_error", "error_code": code}),
    };
    [
        json!({"type": "server_tool_use", "id": id, "name": NAME, "input": {"query": search.query()}}),
        json!({"type": "web_search_tool_result", "tool_use_id": id, "content": content}),
    ]
}

fn result(page: &Page) -> Value {
    let Page { url, title, age } = page;
    json!({"type": "web_search_result", "url": url, "title": title, "encrypted_content": "", "page_age": age})
}

/// A citation of the block that it stands in.
pub(super) fn citation(citation: &Citation) -> Value {
    let Citation { page, quote, .. } = citation;
    json!({"type": "web_search_result_location", "url": page.url, "title": page.title, "encrypted_index": "",
        "cited_text": quote})
}

/// Adds the count of searches to that of tokens.
pub(super) fn counted(searches: usize, usage: &mut Value) {
    if searches > 0 {
        usage["server_tool_use"] = json!({"web_search_requests": searches, "web_fetch_requests": 0});
    }
}

/// Whether a block of a history tells how an answer was searched for.
pub(super) fn is_of_a_search(block: &Value) -> bool {
    match text(block, "type") {
        "server_tool_use" => text(block, "name") == NAME,
        kind => kind == "web_search_tool_result",
    }
}

/// The query of a call.
pub(super) fn query(input: &str) -> Option<String> {
    let input: Value = serde_json::from_str(input).ok()?;
    owned(&input, "query").or_else(|| list(&input, "queries").first()?.as_str().map(ToOwned::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_without_an_address_is_no_page() {
        let pages = found(&json!([{"url": "", "title": "a"}, {"url": "https://b.example", "title": "b"}]));
        let titles: Vec<_> = pages.expect("pages").into_iter().map(|page| page.title).collect();
        assert_eq!(titles, ["b"]);
    }
}
