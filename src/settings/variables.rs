//! Owns variables in settings: `${VAR}` stands for what the environment says.

use serde_json::Value;

use super::section::{Problems, join};

/// Replaces `${VAR}` in every string; `$${` writes a literal `${`. A string that cannot be told is a problem and becomes
/// null, which no kind of setting takes: nothing is made up in its place and then found fault with.
pub(super) fn interpolate(path: &str, value: &mut Value, lookup: &dyn Fn(&str) -> Option<String>, problems: &Problems) {
    match value {
        Value::String(text) if text.contains("${") => {
            *value = expand(path, text, lookup, problems).map_or(Value::Null, Value::String);
        }
        Value::Array(items) => {
            for (n, item) in items.iter_mut().enumerate() {
                interpolate(&format!("{path}[{n}]"), item, lookup, problems);
            }
        }
        Value::Object(map) => {
            for (key, item) in map.iter_mut() {
                interpolate(&join(path, key), item, lookup, problems);
            }
        }
        _ => {}
    }
}

fn expand(path: &str, text: &str, lookup: &dyn Fn(&str) -> Option<String>, problems: &Problems) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            out.push_str(&rest[..at]);
            out.push('{');
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let Some(end) = rest[at..].find('}') else {
            problems.add(path, "has \"${\" without \"}\"");
            return None;
        };
        let name = &rest[at + 2..at + end];
        match lookup(name) {
            Some(found) if !found.is_empty() => out.push_str(&found),
            found => {
                problems.add(path, unset(name, found.is_some()));
                return None;
            }
        }
        rest = &rest[at + end + 1..];
    }
    out.push_str(rest);
    Some(out)
}

/// What to tell of a name that stands for nothing. It is shown only if it is one: a key may stand in its place.
fn unset(name: &str, is_there: bool) -> String {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if name.bytes().all(is_plain) && name.bytes().next().is_some_and(|first| !first.is_ascii_digit()) {
        let is = if is_there { "empty" } else { "not set" };
        return format!("uses ${{{name}}}, which is {is} in the environment; export {name}=…");
    }
    "has \"${…}\" with no name of a variable in it; write the name alone, of letters, digits and '_', or \"$${\" \
     for a literal \"${\""
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doubled_dollar_writes_a_literal_brace() {
        let problems = Problems::default();
        assert_eq!(expand("k", "a$${b}${C}", &|_| Some("x".into()), &problems).as_deref(), Some("a${b}x"));
        assert!(problems.into_inner().is_empty());
    }

    #[test]
    fn a_variable_that_is_set_to_nothing_is_told_from_one_that_is_not_set() {
        for (found, word) in [(Some(String::new()), "is empty"), (None, "is not set")] {
            let problems = Problems::default();
            assert_eq!(expand("k", "${A}", &|_| found.clone(), &problems), None);
            assert!(problems.into_inner().remove(0).text.contains(word), "{word}");
        }
    }

    #[test]
    fn only_what_is_a_name_is_shown_of_what_stands_in_braces() {
        let told = |text: &str| {
            let problems = Problems::default();
            assert_eq!(expand("k", text, &|_| None, &problems), None);
            problems.into_inner().remove(0).text
        };
        for name in ["OPENAI_API_KEY", "_x9", "a"] {
            assert!(told(&format!("a${{{name}}}b")).contains(&format!("export {name}=")), "{name}");
        }
        for bad in ["sk-SECRETKEY", "NOPE:-SECRETKEY", "9SECRETKEY", "SECRET KEY", "SECRÉTKEY", " SECRETKEY", ""] {
            let told = told(&format!("${{{bad}}}"));
            assert!(!told.contains("KEY") && !told.contains("export"), "{bad}: {told}");
            assert!(told.contains("no name of a variable"), "{bad}: {told}");
        }
    }
}
