//! Owns the limit on cache marks: Anthropic refuses a request with more than it takes.

use serde_json::{Map, Value};

use super::super::{
    chat::{Loss, Weight},
    json::{MARK, note},
};

/// "A maximum of 4 blocks with `cache_control` may be provided."
const MOST: usize = 4;

/// Removes all marks but the last four, one of which may be the request's own (coder/mux#3112). Marks on tools and
/// calls go first: what a later mark keeps includes them.
pub(super) fn limit(request: &mut Map<String, Value>, losses: &mut Vec<Loss>) {
    let (mut minor, mut major) = (0, 0);
    each(request, &mut |block| {
        let count = if is_minor(block) { &mut minor } else { &mut major };
        *count += usize::from(block.contains_key(MARK));
    });
    let own = usize::from(request.contains_key(MARK));
    let surplus = (own + minor + major).saturating_sub(MOST);
    if surplus == 0 {
        return;
    }
    let mut minor = minor.min(surplus);
    let mut major = surplus - minor;
    each(request, &mut |block| {
        let left = if is_minor(block) { &mut minor } else { &mut major };
        if *left > 0 && block.remove(MARK).is_some() {
            *left -= 1;
        }
    });
    note(losses, "cache_control beyond four", Weight::Note);
}

/// Whether a block is a tool, which alone has no type, or a call.
fn is_minor(block: &Map<String, Value>) -> bool {
    block.get("type").and_then(Value::as_str).is_none_or(|kind| kind == "tool_use")
}

/// All that may have a mark, in the order that Anthropic reads it in.
fn each(request: &mut Map<String, Value>, f: &mut impl FnMut(&mut Map<String, Value>)) {
    for place in ["tools", "system", "messages"] {
        for one in request.get_mut(place).and_then(Value::as_array_mut).into_iter().flatten() {
            match (place, one.get_mut("content")) {
                ("messages", Some(content)) => blocks(content, f),
                _ => one.as_object_mut().into_iter().for_each(&mut *f),
            }
        }
    }
}

fn blocks(content: &mut Value, f: &mut impl FnMut(&mut Map<String, Value>)) {
    for block in content.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        if let Some(inner) = block.get_mut("content") {
            for inner in inner.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
                f(inner);
            }
        }
        f(block);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn four_marks_are_kept_and_those_on_tools_and_calls_go_first() {
        let (mark, mut losses) = (json!({"type": "ephemeral"}), Vec::new());
        let text = |text: &str| json!({"type": "text", "text": text, "cache_control": mark});
        let call = |id: &str| json!({"type": "tool_use", "id": id, "cache_control": mark});
        let result = json!({"type": "tool_result", "content": [text("r")]});
        let tool = json!({"name": "f", "cache_control": mark});
        let left = |body: Value, losses: &mut Vec<Loss>| {
            let mut body = body.as_object().expect("an object").clone();
            limit(&mut body, losses);
            let mut left = Vec::new();
            each(&mut body, &mut |block| {
                let name = ["name", "id", "text"].iter().find_map(|key| block.get(*key)?.as_str());
                left.extend(name.filter(|_| block.contains_key(MARK)).map(ToOwned::to_owned));
            });
            left
        };
        let turn = |content: Value| json!([{"role": "user", "content": content}]);
        let body =
            json!({"tools": [tool], "system": [text("s")], "messages": turn(json!([call("c"), call("d"), result]))});
        assert_eq!(left(body, &mut losses), ["s", "c", "d", "r"]);
        assert_eq!(losses.len(), 1);
        let many = json!([text("a"), call("c"), text("b"), result, text("e")]);
        let body = json!({"tools": [tool], "system": [text("s")], "messages": turn(many)});
        assert_eq!(left(body, &mut losses), ["a", "b", "r", "e"]);
        losses.clear();
        let few = json!({"tools": [tool, tool], "system": [text("s")], "messages": turn(json!([call("c")]))});
        assert_eq!(left(few, &mut losses), ["f", "f", "s", "c"]);
        assert_eq!(losses, []);
    }
}
