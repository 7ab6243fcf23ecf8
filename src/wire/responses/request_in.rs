//! Owns reading a Responses request, statelessly.

use serde_json::{Map, Value};

use super::super::{
    Protocol,
    chat::{ChatRequest, Format, Loss, Message, Part, Reasoning, Role, Signature, Source, Weight},
    free_text,
    json::{invalid, list, note, object, owned, parts, text, unknown, unread},
    members::{take, take_flag, take_limit, take_number, take_object, take_text, take_texts},
    openai::{messages_in::google_signature, request_in::schema},
    responses::UNSIGNED,
    translate::Refused,
};
use super::tools_in::{self, Known, SEARCH};

/// What leads to turns, or instructions, that another provider keeps.
pub(crate) const KEPT: [&str; 3] = ["previous_response_id", "conversation", "prompt"];

/// The loss of what stands for an earlier item that a provider keeps.
pub(crate) const REFERENCE: &str = "input[item_reference]";

/// Reads a body, for a provider of this protocol.
pub(crate) fn read(body: &[u8], target: Protocol) -> Result<ChatRequest, Refused> {
    let mut map = object(body)?;
    let mut request = ChatRequest::default();
    if let Some(text) = take_text(&mut map, "instructions")? {
        request.messages.push(Message { role: Role::System, parts: vec![Part::text(text)] });
    }
    let mut stored = None;
    for kept in KEPT {
        if take(&mut map, kept).is_some() {
            // The turns before are with a provider that this request does not go to.
            note(&mut request.losses, kept, Weight::Answer);
            stored = Some(kept);
        }
    }
    let input = take(&mut map, "input");
    let items = input.as_ref().and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let known = tools_in::read(&mut map, items, target, &mut request)?;
    match &input {
        Some(Value::String(text)) => {
            request.messages.push(Message { role: Role::User, parts: vec![Part::text(text.as_str())] });
        }
        Some(Value::Array(items)) => {
            for (at, value) in items.iter().enumerate() {
                let found = item(value, at, &known, &mut request.losses)?;
                request.messages.extend(found);
            }
        }
        None if stored.is_some() => {
            let message = "a request without 'input' is for a provider that keeps it";
            return Err(unknown("input", stored.unwrap_or_default(), message));
        }
        _ => return Err(invalid(Some("input"), "'input' must be a string or an array")),
    }
    if request.messages.is_empty() && request.losses.iter().all(|loss| loss.weight != Weight::Answer) {
        return Err(invalid(Some("input"), "'input' is empty"));
    }
    switches(&mut map, &mut request)?;
    for (key, value) in &map {
        let idle = value.is_null() || value == &Value::Bool(false) || value.as_u64() == Some(0);
        if !idle {
            let weight = if key == "top_logprobs" { Weight::Answer } else { Weight::Hint };
            note(&mut request.losses, key.as_str(), weight);
        }
    }
    Ok(request)
}

/// Reads what is set beside the conversation.
fn switches(map: &mut Map<String, Value>, request: &mut ChatRequest) -> Result<(), Refused> {
    for read in ["model", "backend", "truncation"] {
        map.remove(read);
    }
    // The rest of what can be included are details of OpenAI's own tools, and reasoning, which always is.
    if take_texts(map, "include")?.iter().any(|kind| kind.ends_with(".logprobs")) {
        note(&mut request.losses, "include", Weight::Answer);
    }
    if take_flag(map, "background")? == Some(true) {
        note(&mut request.losses, "background", Weight::Answer);
    }
    request.parallel_tool_calls = take_flag(map, "parallel_tool_calls")?;
    request.max_tokens = take_limit(map, "max_output_tokens")?;
    request.temperature = take_number(map, "temperature")?;
    request.top_p = take_number(map, "top_p")?;
    // The newer name for the same.
    let older = take_text(map, "user")?;
    request.user = take_text(map, "safety_identifier")?.or(older);
    request.service_tier = take_text(map, "service_tier")?;
    request.stream = take_flag(map, "stream")?.unwrap_or(false);
    drop(take(map, "stream_options"));
    request.metadata = take_object(map, "metadata")?.unwrap_or_default();
    if let Some(reasoning) = take(map, "reasoning") {
        request.reasoning = owned(&reasoning, "effort").as_deref().and_then(Reasoning::effort);
        // A summary is what thinking is told as, asked for or not.
        unread(&reasoning, &["effort", "summary"], "reasoning", Weight::Note, &mut request.losses);
    }
    if let Some(text) = take(map, "text") {
        request.format = format(text.get("format").unwrap_or(&Value::Null))?;
        request.verbosity = owned(&text, "verbosity");
        unread(&text, &["format", "verbosity"], "text", Weight::Hint, &mut request.losses);
    }
    for name in ["prompt_cache_key", "prompt_cache_retention"] {
        request.caching.extend(take_text(map, name)?.map(|said| (name, said)));
    }
    // Nothing is stored here, whatever the client would like.
    request.store = take_flag(map, "store")? == Some(true);
    if request.store {
        note(&mut request.losses, "store", Weight::Note);
    }
    Ok(())
}

fn format(value: &Value) -> Result<Option<Format>, Refused> {
    match text(value, "type") {
        "" | "text" => Ok(None),
        "json_object" => Ok(Some(Format::Json)),
        "json_schema" => schema(value, "text.format").map(Some),
        other => Err(unknown("text.format", other, "'text.format.type' must be text, json_object or json_schema")),
    }
}

fn item(value: &Value, at: usize, known: &Known<'_>, losses: &mut Vec<Loss>) -> Result<Option<Message>, Refused> {
    let param = format!("input[{at}]");
    let kind = text(value, "type");
    let (role, parts) = match kind {
        "" | "message" => {
            let role = match text(value, "role") {
                "system" | "developer" => Role::System,
                "user" => Role::User,
                "assistant" => Role::Assistant,
                other => {
                    let message = format!("'{param}.role' must be user, assistant, system or developer");
                    return Err(unknown(&format!("{param}.role"), other, message));
                }
            };
            (role, content(value, "content", &param, losses)?)
        }
        "function_call" | "custom_tool_call" => (Role::Assistant, vec![call(value, known)]),
        "function_call_output" | "custom_tool_call_output" => {
            (Role::User, vec![result(value, content(value, "output", &param, losses)?)])
        }
        "tool_search_call" if !is_providers(value) => (Role::Assistant, vec![call(value, known)]),
        "tool_search_output" if !is_providers(value) => {
            (Role::User, vec![result(value, vec![Part::text(tools_in::found(value, known))])])
        }
        // It is offered with the others.
        "additional_tools" => return Ok(None),
        "reasoning" => (Role::Assistant, vec![reasoning(value)]),
        "item_reference" => {
            note(losses, REFERENCE, Weight::Answer);
            return Ok(None);
        }
        // What OpenAI's own tools left in the history tells how an answer came about; all else, such as the turns that a
        // compaction stands for, or what the client ran, is what to answer from.
        other => {
            let left = other.ends_with("_call") || other.ends_with("_output") || other.starts_with("mcp_");
            let left = left && !tools_in::is_clients_doing(value, known);
            let weight = match kind {
                "web_search_call" => Weight::Note,
                _ if left => Weight::Hint,
                _ => Weight::Answer,
            };
            note(losses, format!("input[{other}]"), weight);
            return Ok(None);
        }
    };
    Ok(Some(Message { role, parts }))
}

/// Reads a call of a function, of a free-text tool, or of the client's search for tools.
fn call(value: &Value, known: &Known<'_>) -> Part {
    let name = text(value, "name");
    let (name, arguments) = match text(value, "type") {
        "tool_search_call" => {
            (SEARCH.to_owned(), value.get("arguments").map_or_else(|| "{}".to_owned(), Value::to_string))
        }
        kind => {
            let space = value.get("namespace").and_then(Value::as_str);
            let name = space.map_or_else(|| name.to_owned(), |space| known.names.flat(space, name));
            let is_free = kind == "custom_tool_call";
            let free = || free_text::arguments(text(value, "input"));
            (name, if is_free { free() } else { text(value, "arguments").to_owned() })
        }
    };
    let signature = value.get("extra_content").and_then(google_signature);
    Part::ToolCall { id: text(value, "call_id").to_owned(), name, arguments, signature }
}

fn result(value: &Value, parts: Vec<Part>) -> Part {
    Part::ToolResult { id: text(value, "call_id").to_owned(), parts, error: false }
}

/// Whether a search for tools was the provider's own.
fn is_providers(search: &Value) -> bool {
    text(search, "execution") == "server" || text(search, "call_id").is_empty()
}

/// Reads back what `reply_out` wrote: the summary is the thinking, the encrypted content its signature.
fn reasoning(value: &Value) -> Part {
    let summary: String = list(value, "summary").iter().map(|s| text(s, "text")).collect();
    let signature = Signature::untagged(text(value, "encrypted_content"), Protocol::Openai);
    if let (Protocol::Anthropic, Some(data)) = (signature.origin, signature.value.strip_prefix("redacted:")) {
        return Part::Redacted(data.to_owned());
    }
    Part::Thinking { text: summary, signature: Some(signature).filter(|s| !s.value.is_empty() && s.value != UNSIGNED) }
}

fn content(of: &Value, member: &str, param: &str, losses: &mut Vec<Loss>) -> Result<Vec<Part>, Refused> {
    let place = format!("{param}.{member}");
    parts(of, member, param, |value, parts| {
        parts.push(part(value, &place, losses)?);
        Ok(())
    })
}

/// Members of a content part that are read, or say nothing to a model.
const READ: [&str; 12] = [
    "type",
    "text",
    "refusal",
    "image_url",
    "file_id",
    "detail",
    "file_data",
    "file_url",
    "filename",
    "input_audio",
    "annotations",
    "logprobs",
];

fn part(value: &Value, param: &str, losses: &mut Vec<Loss>) -> Result<Part, Refused> {
    let wrong = |what: &str| invalid(Some(param), format!("'{param}': {what}"));
    let role = if text(value, "type").starts_with("input_") { Role::User } else { Role::Assistant };
    unread(value, &READ, "input[].content[]", role.unknown(), losses);
    let stored = || owned(value, "file_id").map(Source::of_id);
    Ok(match text(value, "type") {
        "input_text" | "output_text" | "text" => Part::text(text(value, "text")),
        "refusal" => Part::Refusal(text(value, "refusal").to_owned()),
        "input_image" => {
            let source = owned(value, "image_url").map(|url| Source::from_url(&url)).or_else(stored);
            let source = source.ok_or_else(|| wrong("an image has neither URL nor id"))?;
            Part::Image { source, detail: owned(value, "detail"), signature: None }
        }
        "input_file" => {
            let name = owned(value, "filename");
            let data = owned(value, "file_data").map(|data| Source::of_file(data, name.as_deref()));
            let source = data.or_else(|| owned(value, "file_url").map(|url| Source::from_url(&url))).or_else(stored);
            let source = source.ok_or_else(|| wrong("a file has neither data nor URL nor id"))?;
            Part::File { source, name }
        }
        "input_audio" => {
            let inner = value.get("input_audio").unwrap_or(value);
            Part::Audio { data: text(inner, "data").to_owned(), format: text(inner, "format").to_owned() }
        }
        other => {
            return Err(unknown(param, other, format!("'{param}': unknown part type '{other}'")));
        }
    })
}
