//! Owns the names under which tools are offered to providers: none too long, in letters that they take, and flat where the
//! client groups its tools in namespaces. What is called is told under the client's own names again.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use serde_json::Value;

use super::{
    Protocol,
    chat::{ChatRequest, Part, ToolChoice},
    end_user::digest,
    ids::is_plain,
    json::{list, owned, text},
    scan,
};

/// Longest that everybody takes, characters.
// OpenAI and DeepSeek (mrexodia/ida-pro-mcp#129), Qwen (QwenLM/Qwen3-VL#2069), Gemini (google-gemini/gemini-cli#2966).
// Anthropic takes 128 in one place and 64 in another (anthropics/claude-code#96152, #21492).
const LONGEST: usize = 64;
/// Digits of the digest that tells names apart which begin alike.
const DIGITS: usize = 8;
/// Whose letters flat names are made of: there are none that others do not take.
const FLAT: Protocol = Protocol::Anthropic;

/// The name itself, or its beginning and a digest: the same for the same, whatever else is offered.
pub(crate) fn fitted(name: &str, target: Protocol) -> Cow<'_, str> {
    let fits = name.chars().count() <= LONGEST && begins(name, target) && name.chars().all(|c| is_taken(c, target));
    if fits { Cow::Borrowed(name) } else { Cow::Owned(told_apart(name, name, target)) }
}

fn told_apart(name: &str, by: &str, target: Protocol) -> String {
    let front = if begins(name, target) { "" } else { "_" };
    let spelled = name.chars().map(|c| if is_taken(c, target) { c } else { '_' });
    let mut apart: String = front.chars().chain(spelled).take(LONGEST - 1 - DIGITS).collect();
    apart.push('_');
    apart.extend(digest(by).chars().take(DIGITS));
    apart
}

/// Whether a provider takes a letter in a name. OpenAI refuses all but the plain ones, as Anthropic does.
fn is_taken(c: char, target: Protocol) -> bool {
    is_plain(c) || (target == Protocol::Gemini && matches!(c, '.' | ':'))
}

/// Whether a name may begin as it does: at Gemini with a letter or a line only (API reference, `FunctionDeclaration`).
fn begins(name: &str, target: Protocol) -> bool {
    target != Protocol::Gemini || name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

/// Whether a look at the bytes finds a name that some provider is told otherwise.
pub(crate) fn has_unfit(body: &[u8]) -> bool {
    let fits = |name: &[u8]| name.len() <= LONGEST && name.iter().all(|b| is_plain(char::from(*b)));
    scan::texts_of(body, "\"name\"").any(|name| !fits(name) || name.first().is_some_and(|b| b"-0123456789".contains(b)))
}

/// Spells the names in a request as its provider takes them, wherever they stand.
pub(crate) fn fit(request: &mut ChatRequest, target: Protocol) {
    let calls = request.messages.iter_mut().flat_map(|m| &mut m.parts).filter_map(|part| match part {
        Part::ToolCall { name, .. } => Some(name),
        _ => None,
    });
    let chosen = match &mut request.tool_choice {
        Some(ToolChoice::Named(name)) => Some(name),
        _ => None,
    };
    for name in request.tools.iter_mut().map(|tool| &mut tool.name).chain(chosen).chain(calls) {
        if let Cow::Owned(fitted) = fitted(name, target) {
            *name = fitted;
        }
    }
}

/// The client's names for its tools. A request may offer as many as its body holds, so none is searched for among all.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Names {
    /// Names of tools that stand by themselves.
    plain: HashSet<String>,
    /// Those of them that some provider is told otherwise, and flat ones, by what it is told.
    whole: HashMap<String, String>,
    /// What the provider is told for a tool in a namespace, by that and its name there.
    flat: HashMap<String, HashMap<String, String>>,
    /// The same by its name alone, if one namespace only has it.
    alone: HashMap<String, Option<String>>,
    /// Namespace and name, by what the provider is told.
    own: HashMap<String, (String, String)>,
}

impl Names {
    /// Those of a request's `tools`, in any dialect.
    pub(crate) fn of(tools: &[Value]) -> Self {
        let inner = |tool: &Value| {
            let inner = tool.get("function").or_else(|| tool.get("custom")).unwrap_or(tool);
            owned(inner, "name")
        };
        let (groups, alone): (Vec<&Value>, Vec<&Value>) = tools.iter().partition(|tool| is_namespace(tool));
        let mut names = Self::default();
        for name in alone.into_iter().filter_map(inner) {
            names.lead_back(&name);
            names.plain.insert(name);
        }
        for group in groups {
            let space = text(group, "name");
            for name in list(group, "tools").iter().map(|tool| text(tool, "name")).filter(|name| !name.is_empty()) {
                if names.find(space, name).is_none() {
                    names.add(space, name);
                }
            }
        }
        names
    }

    /// Remembers a name by all that a provider may be told for it: which one is asked, nobody knows yet.
    fn lead_back(&mut self, name: &str) {
        for target in [Protocol::Anthropic, Protocol::Gemini] {
            if let Cow::Owned(fitted) = fitted(name, target) {
                self.whole.entry(fitted).or_insert_with(|| name.to_owned());
            }
        }
    }

    fn find(&self, space: &str, name: &str) -> Option<&String> {
        self.flat.get(space)?.get(name)
    }

    fn add(&mut self, space: &str, name: &str) {
        let flat = self.unused(space, name);
        self.lead_back(&flat);
        let alone = self.alone.entry(name.to_owned());
        alone.and_modify(|several| *several = None).or_insert_with(|| Some(flat.clone()));
        self.own.entry(flat.clone()).or_insert_with(|| (space.to_owned(), name.to_owned()));
        self.flat.entry(space.to_owned()).or_default().insert(name.to_owned(), flat);
    }

    fn unused(&self, space: &str, name: &str) -> String {
        let flat = joined(space, name);
        let taken = self.plain.contains(&flat) || self.own.contains_key(&flat);
        if taken { told_apart(&flat, &format!("{space}\n{name}"), FLAT) } else { flat }
    }

    /// What the provider is told for a tool of the client's. In a history are calls of tools that are offered no more, and such
    /// as have been given a namespace for their answer only.
    pub(crate) fn flat(&self, space: &str, name: &str) -> String {
        match self.find(space, name) {
            Some(flat) => flat.clone(),
            None if self.plain.contains(name) => name.to_owned(),
            None => joined(space, name),
        }
    }

    /// The same for a name that a choice of tools gives without its namespace.
    pub(crate) fn chosen(&self, name: &str) -> Option<&str> {
        let one = self.alone.get(name)?.as_deref();
        one.filter(|_| !self.plain.contains(name))
    }

    /// What the provider is told for the tools of a namespace, in any order.
    pub(crate) fn within(&self, space: &str) -> impl Iterator<Item = &str> {
        self.flat.get(space).into_iter().flatten().map(|(_, flat)| flat.as_str())
    }

    /// The namespace of what a provider calls, and the name in it.
    pub(crate) fn own<'a>(&'a self, called: &'a str) -> (Option<&'a str>, &'a str) {
        let own = self.own.get(self.told(called));
        own.map_or((None, called), |(space, name)| (Some(space), name))
    }

    /// The name that the provider was told, where it calls a tool without its namespace, as some models do
    /// (router-for-me/CLIProxyAPI#4106).
    pub(crate) fn told<'a>(&'a self, called: &'a str) -> &'a str {
        if self.own.contains_key(called) { called } else { self.chosen(called).unwrap_or(called) }
    }

    /// The client's own name for a call, where the provider was told another.
    pub(crate) fn whole(&self, called: &str) -> Option<&str> {
        self.whole.get(called).map(String::as_str)
    }
}

/// Whether a tool is a group of tools.
pub(crate) fn is_namespace(tool: &Value) -> bool {
    text(tool, "type") == "namespace"
}

/// A tool's name with its namespace before it, in letters that everybody takes.
fn joined(space: &str, name: &str) -> String {
    let between = if space.is_empty() || space.ends_with("__") { "" } else { "__" };
    let plain: String = [space, between, name].concat().chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    fitted(&plain, FLAT).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    proptest! {
        #[test]
        fn every_tool_of_a_namespace_has_a_name_of_its_own_that_leads_back_to_it(
            groups in proptest::collection::vec(("[a_]{0,3}", proptest::collection::vec("[a_.]{1,3}", 0..4)), 0..5),
            alone in proptest::collection::hash_set("[a_]{3,6}", 0..4),
        ) {
            let mut tools: Vec<Value> = groups.iter().map(|(space, names)| {
                let inner: Vec<Value> = names.iter().map(|name| json!({"type": "function", "name": name})).collect();
                json!({"type": "namespace", "name": space, "tools": inner})
            }).collect();
            tools.extend(alone.iter().map(|name| json!({"type": "function", "name": name})));
            let names = Names::of(&tools);
            let mut seen: Vec<String> = alone.iter().cloned().collect();
            for (space, name) in groups.iter().flat_map(|(space, names)| names.iter().map(move |name| (space, name))) {
                let flat = names.flat(space, name);
                prop_assert_eq!(names.own(&flat), (Some(space.as_str()), name.as_str()), "{}", flat);
                prop_assert!(flat.chars().all(is_plain) && flat.len() <= LONGEST);
                seen.push(flat);
            }
            let pairs: std::collections::HashSet<_> =
                groups.iter().flat_map(|(space, names)| names.iter().map(move |name| (space, name))).collect();
            let distinct: std::collections::HashSet<_> = seen.iter().collect();
            prop_assert_eq!(distinct.len(), pairs.len() + alone.len());
        }
    }

    #[test]
    fn names_that_a_provider_does_not_take_stay_apart_and_lead_back() {
        let long = |end: &str| format!("mcp__{}{end}", "e".repeat(60));
        let odd = [
            long("a"),
            long("b"),
            "caldav.create-event".into(),
            "caldav/create-event".into(),
            "1c_reload".into(),
            "é".into(),
        ];
        let names = Names::of(&odd.each_ref().map(|name| json!({"name": name})));
        for target in [Protocol::Openai, Protocol::Anthropic, Protocol::Gemini] {
            let told: HashSet<String> = odd.iter().map(|name| fitted(name, target).into_owned()).collect();
            assert_eq!(told.len(), odd.len(), "{told:?}");
            for (name, told) in odd.iter().map(|name| (name, fitted(name, target))) {
                assert!(
                    told.len() <= LONGEST && begins(&told, target) && told.chars().all(|c| is_taken(c, target)),
                    "{told}"
                );
                assert_eq!(names.whole(&told).unwrap_or(&told), name);
                assert!(has_unfit(json!({"name": name}).to_string().as_bytes()), "{name}");
            }
        }
        assert_eq!(fitted("1c_reload", Protocol::Anthropic), "1c_reload");
        assert_eq!(fitted("caldav.create-event", Protocol::Gemini), "caldav.create-event");
        assert!(fitted("1c_reload", Protocol::Gemini).starts_with("_1c_reload_"));
        assert!(names.whole("c").is_none() && !has_unfit(br#"{"name":"read_file-2"}"#));
    }
}
