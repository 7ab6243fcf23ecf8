//! Owns reading the tools of a Responses request: from its list, from namespaces, and from its input.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::{
    Protocol,
    chat::{ChatRequest, Loss, Tool, ToolChoice, Weight, leave_out_hosted},
    free_text,
    json::{self, list, note, text},
    members::{Members, take, take_list},
    openai::request_in::{function, name, nameless, tool_choice},
    tool_names::{Names, fitted, is_namespace},
    translate::Refused,
    web::{self, Wish},
};

/// The function that stands for a search of the client's own for further tools. What it finds comes with the input.
pub(crate) const SEARCH: &str = "tool_search";

/// Kinds of tools that the client runs, and the model knows without being told. `shell` may be the provider's, too.
const CLIENTS: [&str; 4] = ["local_shell", "apply_patch", "computer", "computer_use_preview"];

/// Whether an item of the input brings tools along.
fn brings_tools(kind: &str) -> bool {
    matches!(kind, "tool_search_output" | "additional_tools")
}

/// The items of an input that bring tools along, read from its text without a tree of all else.
pub(crate) fn bringing(input: &str) -> Vec<Value> {
    #[derive(Deserialize)]
    struct Item {
        #[serde(default)]
        r#type: Value,
        #[serde(default)]
        tools: Value,
    }
    let items: Vec<Item> = json::read(input.as_bytes()).unwrap_or_default();
    let bringing = items.into_iter().filter(|item| item.r#type.as_str().is_some_and(brings_tools));
    bringing.map(|item| json!({"type": item.r#type, "tools": item.tools})).collect()
}

/// All tools that are offered: those of the list, then those that came with the input. Names are given in this order, so that
/// request and answer have to be of one mind.
pub(crate) fn offered(mut listed: Vec<Value>, input: &[Value]) -> Vec<Value> {
    let bringing = input.iter().filter(|item| brings_tools(text(item, "type")));
    listed.extend(bringing.flat_map(|item| list(item, "tools")).cloned());
    listed
}

/// What the items of an input have to know of all others.
pub(super) struct Known<'a> {
    pub(super) names: Names,
    /// Who is told of them.
    target: Protocol,
    /// Whether the shell that a call went to is the provider's, by the call's id.
    shells: HashMap<&'a str, bool>,
}

/// Whether the client itself searches for tools.
pub(crate) fn is_clients_search(tool: &Value) -> bool {
    text(tool, "type") == "tool_search" && text(tool, "execution") == "client"
}

/// Reads them and the choice among them.
pub(super) fn read<'a>(
    map: &mut Map<String, Value>,
    input: &'a [Value],
    target: Protocol,
    request: &mut ChatRequest,
) -> Result<Known<'a>, Refused> {
    let offered = offered(take_list(map, "tools")?.unwrap_or_default(), input);
    let names = Names::of(&offered);
    let mut hosted = Vec::new();
    for offer in &offered {
        if is_namespace(offer) {
            group(offer, &names, request)?;
        } else if let Some(tool) = tool(offer)? {
            request.tools.push(tool);
        } else if let Some(wish) = wish(offer, request) {
            request.web = Some(wish);
        } else {
            alone(offer, &mut hosted, &mut request.losses);
        }
    }
    // A search may find what an earlier one found.
    let mut seen = HashSet::new();
    request.tools.retain(|tool| seen.insert(tool.name.clone()));
    leave_out_hosted(hosted, request);
    if let Some(mut choice) = take(map, "tool_choice") {
        if !web_choice(&choice, request) {
            spell(&mut choice, &names);
            request.tool_choice = Some(tool_choice(&choice, &mut request.tools)?);
        }
        request.web.take_if(|_| request.tool_choice == Some(ToolChoice::None));
    }
    let mut shells = HashMap::new();
    for call in input.iter().filter(|item| text(item, "type") == "shell_call") {
        let is_hosted = call.pointer("/environment/type").is_some_and(|kind| kind != "local");
        shells.entry(text(call, "call_id")).or_insert(is_hosted);
    }
    Ok(Known { names, target, shells })
}

/// What a search of the client's found, in words.
pub(super) fn found(output: &Value, known: &Known<'_>) -> String {
    let told = |name: &str| fitted(name, known.target).into_owned();
    let of = |tool: &Value| -> Vec<String> {
        if !is_namespace(tool) {
            return vec![told(text(tool, "name"))];
        }
        let flat = |inner| told(&known.names.flat(text(tool, "name"), text(inner, "name")));
        list(tool, "tools").iter().map(flat).collect()
    };
    let found: Vec<String> = list(output, "tools").iter().flat_map(of).collect();
    if found.is_empty() { "No tool was found.".to_owned() } else { format!("Can be called now: {}.", found.join(", ")) }
}

/// Whether an item tells what the client did for the model, or what came of it.
pub(super) fn is_clients_doing(item: &Value, known: &Known<'_>) -> bool {
    let kind = text(item, "type");
    match kind.strip_suffix("_output").unwrap_or(kind) {
        "shell_call" => known.shells.get(text(item, "call_id")) != Some(&true),
        kind => kind.strip_suffix("_call").is_some_and(|tool| CLIENTS.contains(&tool)),
    }
}

/// A tool that can be told to every provider.
fn tool(offer: &Value) -> Result<Option<Tool>, Refused> {
    Ok(match text(offer, "type") {
        "function" => Some(function(offer, name(offer)?)),
        "custom" => Some(free_text::function(offer).ok_or_else(nameless)?),
        _ if is_clients_search(offer) => Some(function(offer, SEARCH.to_owned())),
        _ => None,
    })
}

/// The first search of the web that is offered, if it can be another provider's.
fn wish(offer: &Value, request: &mut ChatRequest) -> Option<Wish> {
    let kind = text(offer, "type");
    let is_first = kind.starts_with(web::NAME) && request.web.is_none();
    is_first.then(|| Wish::read(offer, format!("tools[{kind}]"), &mut request.losses))?
}

/// Takes a choice of the search, of which others know nothing; one of some tools may leave it out.
fn web_choice(choice: &Value, request: &mut ChatRequest) -> bool {
    let is_web = |choice: &Value| text(choice, "type").starts_with(web::NAME);
    if text(choice, "type") == "allowed_tools" {
        request.web.take_if(|_| !list(choice, "tools").iter().any(is_web));
        return false;
    }
    let chosen = is_web(choice) && request.web.is_some();
    if chosen {
        request.tool_choice = Some(ToolChoice::Named(web::NAME.to_owned()));
    }
    chosen
}

/// Adds the tools of a namespace; the first tells what it is about.
fn group(offer: &Value, names: &Names, request: &mut ChatRequest) -> Result<(), Refused> {
    let (space, mut about) = (text(offer, "name"), text(offer, "description"));
    for inner in list(offer, "tools") {
        let Some(mut tool) = tool(inner)? else {
            note(&mut request.losses, format!("tools[{}]", text(inner, "type")), Weight::Answer);
            continue;
        };
        tool.name = names.flat(space, &tool.name);
        if !about.is_empty() {
            let own = tool.description.unwrap_or_default();
            tool.description = Some(format!("{own}\n\nAbout {space}: {about}").trim_start().to_owned());
            about = "";
        }
        request.tools.push(tool);
    }
    Ok(())
}

/// Weighs a tool that has no place in other protocols.
fn alone(offer: &Value, hosted: &mut Vec<String>, losses: &mut Vec<Loss>) {
    let kind = text(offer, "type");
    let field = format!("tools[{kind}]");
    let is_local = offer.pointer("/environment/type").is_none_or(|kind| kind == "local");
    if kind == "tool_search" {
        // Whatever the provider would search is offered from the start.
        note(losses, field, Weight::Note);
    } else if CLIENTS.contains(&kind) || (kind == "shell" && is_local) {
        // Without it such a client can do nothing.
        note(losses, field, Weight::Answer);
    } else {
        hosted.push(field);
    }
}

/// Writes a choice in the names that tools are offered under.
fn spell(choice: &mut Value, names: &Names) {
    let named = |value: &mut Value| {
        let name = text(value, "name");
        let flat = match value.get("namespace").and_then(Value::as_str) {
            Some(space) => Some(names.flat(space, name)),
            None => names.chosen(name).map(ToOwned::to_owned),
        };
        if let (Some(flat), Some(tool)) = (flat, value.as_object_mut()) {
            tool.set("name", flat);
        }
    };
    if let Some(allowed) = choice.get_mut("tools").and_then(Value::as_array_mut) {
        let groups = allowed.extract_if(.., |tool| is_namespace(tool));
        let groups: HashSet<String> = groups.map(|group| text(&group, "name").to_owned()).collect();
        allowed.iter_mut().for_each(named);
        let inner = groups.iter().flat_map(|space| names.within(space));
        allowed.extend(inner.map(|flat| json!({"type": "function", "name": flat})));
    } else {
        named(choice);
    }
}
