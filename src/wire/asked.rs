//! Owns what a translated answer takes from its request: the names of its tools, the settings that an answer repeats, how
//! many vectors it wants.

use std::sync::Arc;

use memchr::memmem;
use serde_json::{Map, Value};

use super::{
    free_text,
    json::read,
    members::take_texts,
    responses::tools_in::{SEARCH, bringing, is_clients_search, offered},
    scan::{self, Cursor},
    tool_names::{self, Names},
    translate::Dialect,
    web,
};

/// The parts of a request that show in its translated answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Asked {
    /// The tools whose calls carry free text, by the name that the provider is told, if it takes that of the client's.
    free_text: Vec<String>,
    /// What the tools are called. Of a stream both its translator and its writer ask that.
    names: Arc<Names>,
    /// The client itself searches for tools.
    searches: bool,
    /// The web may have to be searched: the word for that is somewhere in it.
    web: bool,
    /// Tools were offered as `functions`, as before there were `tools`: a call is a `function_call`.
    functions: bool,
    /// Where a client of Messages wants the answer to end.
    stops: Vec<String>,
    /// Members that a Responses answer repeats.
    echo: Map<String, Value>,
    /// How many texts it wants embedded.
    pub(super) texts: usize,
    /// It wants vectors packed.
    pub(super) packed: bool,
}

/// Members of a Responses request that its answer repeats (`Response` in the official SDK). Not among them are those that
/// tell what a provider made of the wish: `service_tier`, `prompt_cache_options`.
const REPEATED: [&str; 14] = [
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "reasoning",
    "safety_identifier",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_p",
    "user",
];

/// Reads it from a body.
pub fn asked(dialect: Dialect, body: &[u8]) -> Asked {
    // In Messages the word means a function.
    let custom = dialect != Dialect::Messages && memmem::find(body, b"\"custom\"").is_some();
    let tools = tools(dialect, body, custom);
    let names = Arc::new(Names::of(&tools));
    Asked {
        free_text: if custom { free_text::names(&tools, &names) } else { Vec::new() },
        names,
        searches: tools.iter().any(is_clients_search),
        web: memmem::find(body, web::NAME.as_bytes()).is_some(),
        functions: dialect == Dialect::Chat && has_functions(body),
        stops: if dialect == Dialect::Messages { stops(body) } else { Vec::new() },
        echo: if dialect == Dialect::Responses { repeated(body) } else { Map::new() },
        ..Asked::default()
    }
}

impl Asked {
    pub(super) fn is_free_text(&self, tool: &str) -> bool {
        self.free_text.iter().any(|name| name == tool)
    }

    pub(super) fn names(&self) -> &Arc<Names> {
        &self.names
    }

    pub(super) fn searches_the_web(&self) -> bool {
        self.web
    }

    /// Whether a call is a search of the client's own.
    pub(super) fn is_search(&self, tool: &str) -> bool {
        self.searches && tool == SEARCH
    }

    /// What the answer stopped at, as its server says, if the client asked for that: servers also tell what their settings or
    /// the model's end them at, and other words.
    pub(super) fn stopped_at<'s>(&self, said: Option<&'s str>) -> Option<&'s str> {
        said.filter(|said| self.stops.iter().any(|stop| stop == said))
    }

    pub(super) fn by_functions(&self) -> bool {
        self.functions
    }

    /// Writes over a response's members what the request said of them.
    pub(super) fn repeat(&self, response: &mut Value) {
        for (key, said) in &self.echo {
            match (response.get_mut(key).and_then(Value::as_object_mut), said) {
                // What the client left out of an object has its default.
                (Some(member), Value::Object(said)) => {
                    member.extend(said.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), v.clone())));
                }
                // Something else in its place nobody has read either.
                (Some(_), _) => {}
                (None, said) => response[key] = said.clone(),
            }
        }
    }
}

/// Whether there are `functions`, and no `tools`, in which calls are told otherwise.
fn has_functions(body: &[u8]) -> bool {
    if memmem::find(body, b"\"functions\"").is_none() {
        return false;
    }
    let (mut functions, mut tools) = (false, false);
    members(body, |key, value| match key {
        "functions" => functions = is_list(value),
        "tools" => tools = is_list(value),
        _ => {}
    });
    functions && !tools
}

/// The tools that are offered, where an answer has to tell one of them otherwise than its provider does.
fn tools(dialect: Dialect, body: &[u8], custom: bool) -> Vec<Value> {
    let has = |word: &str| memmem::find(body, word.as_bytes()).is_some();
    let responses = dialect == Dialect::Responses;
    let brings = responses && (has("\"tool_search_output\"") || has("\"additional_tools\""));
    let grouped = responses && (has("\"namespace\"") || has("\"tool_search\""));
    if !(custom || brings || grouped || tool_names::has_unfit(body)) {
        return Vec::new();
    }
    let (mut listed, mut input) = ([Vec::new(), Vec::new()], Vec::new());
    let read = |value: &str| read::<Vec<Value>>(value.as_bytes()).unwrap_or_default();
    members(body, |key, value| match key {
        "tools" => listed[0] = read(value),
        "functions" if dialect == Dialect::Chat => listed[1] = read(value),
        "input" if brings => input = bringing(value),
        _ => {}
    });
    offered(listed.concat(), &input)
}

fn stops(body: &[u8]) -> Vec<String> {
    const MEMBER: &str = "stop_sequences";
    let mut found = Map::new();
    if memmem::find(body, MEMBER.as_bytes()).is_some() {
        members(body, |key, value| {
            if key == MEMBER {
                found.extend(read(value.as_bytes()).ok().map(|value| (MEMBER.to_owned(), value)));
            }
        });
    }
    // What is neither was refused before.
    take_texts(&mut found, MEMBER).unwrap_or_default()
}

fn is_list(value: &str) -> bool {
    value.strip_prefix('[').is_some_and(|items| !items.trim_start().starts_with(']'))
}

fn repeated(body: &[u8]) -> Map<String, Value> {
    let mut found = Map::new();
    members(body, |key, value| {
        if REPEATED.contains(&key)
            && let Ok(value) = read::<Value>(value.as_bytes())
            && !value.is_null()
        {
            found.insert(key.to_owned(), value);
        }
    });
    found
}

/// Shows each member of the top level, the prompt stepped over and not read.
pub(super) fn members(body: &[u8], mut see: impl FnMut(&str, &str)) {
    let Ok(text) = scan::text(body) else { return };
    // What is no object was refused before it could be asked of anybody.
    drop(Cursor::new(text).object(|json, key| {
        see(key, json.value()?);
        Ok(())
    }));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::responses::reply_out::response, *};

    /// What a response says of a request.
    fn said(request: &Value) -> Value {
        let mut out = response("i", 1, "m", "in_progress", &[]);
        asked(Dialect::Responses, request.to_string().as_bytes()).repeat(&mut out);
        out
    }

    #[test]
    fn a_response_repeats_what_its_request_set_and_else_tells_the_defaults() {
        let silent = said(&json!({"input": "q"}));
        let request = json!({"input": "q", "model": "other", "store": true, "truncation": "auto", "status": "x",
            "instructions": "Be brief.", "metadata": {"team": "blue"}, "temperature": 0.5, "top_p": null,
            "max_output_tokens": 9, "max_tool_calls": 2, "parallel_tool_calls": false, "tool_choice": "required",
            "tools": [{"type": "function", "name": "f"}], "reasoning": {"effort": "low", "summary": null},
            "text": {"verbosity": "low"}, "user": "u", "safety_identifier": "s", "prompt_cache_key": "k"});
        let out = said(&request);
        for key in REPEATED.into_iter().filter(|key| !["top_p", "reasoning", "text"].contains(key)) {
            assert_eq!(out[key], request[key], "{key}");
            assert_ne!(out[key], silent[key], "{key}");
        }
        assert_eq!(out["reasoning"], json!({"effort": "low", "summary": null}));
        assert_eq!(out["text"], json!({"format": {"type": "text"}, "verbosity": "low"}));
        for key in ["top_p", "model", "store", "truncation", "status"] {
            assert_eq!(out[key], silent[key], "{key}");
        }
    }

    #[test]
    fn what_has_another_shape_than_it_should_is_not_repeated() {
        let odd = json!({"input": "q", "metadata": 5, "reasoning": "low", "text": []});
        assert_eq!(said(&odd), said(&json!({"input": "q"})));
    }
}
