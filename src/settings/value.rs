//! Owns kinds of settings values: what each looks like, in words for the operator, and how it is read.

use std::{num::NonZeroU64, time::Duration};

use serde::Deserialize;
use serde_json::Value;

use super::Secret;

/// A kind of value, in the words of a schema.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Truth,
    Whole {
        least: u64,
        most: Option<u64>,
    },
    Number,
    /// A number from 0 to 1.
    Share,
    Text,
    Time,
    Texts,
    /// A string, or a list of them.
    TextOrTexts,
    Word(Vec<&'static str>),
    /// A table, or a list of them, which says itself what is in it.
    Within,
}

/// What a settings value of some kind looks like and how it is read.
pub(super) trait FromValue: Sized {
    const WANT: &'static str;
    const KIND: Kind;
    fn from_value(value: &Value) -> Option<Self>;
}

impl FromValue for bool {
    const WANT: &'static str = "true or false";
    const KIND: Kind = Kind::Truth;
    fn from_value(value: &Value) -> Option<Self> {
        // The environment layer carries only text.
        value.as_bool().or_else(|| value.as_str()?.parse().ok())
    }
}

impl FromValue for u64 {
    const WANT: &'static str = "a whole number, zero or more";
    const KIND: Kind = Kind::Whole { least: 0, most: None };
    fn from_value(value: &Value) -> Option<Self> {
        value.as_u64().or_else(|| value.as_str()?.parse().ok())
    }
}

impl FromValue for NonZeroU64 {
    const WANT: &'static str = "a whole number, at least 1";
    const KIND: Kind = Kind::Whole { least: 1, most: None };
    fn from_value(value: &Value) -> Option<Self> {
        Self::new(u64::from_value(value)?)
    }
}

impl FromValue for u32 {
    const WANT: &'static str = "a whole number from 0 to 4294967295";
    const KIND: Kind = Kind::Whole { least: 0, most: None };
    fn from_value(value: &Value) -> Option<Self> {
        u64::from_value(value)?.try_into().ok()
    }
}

impl FromValue for usize {
    const WANT: &'static str = "a whole number, zero or more";
    const KIND: Kind = Kind::Whole { least: 0, most: None };
    fn from_value(value: &Value) -> Option<Self> {
        u64::from_value(value)?.try_into().ok()
    }
}

impl FromValue for f64 {
    const WANT: &'static str = "a number";
    const KIND: Kind = Kind::Number;
    fn from_value(value: &Value) -> Option<Self> {
        value.as_f64().or_else(|| value.as_str()?.parse().ok()).filter(|number| number.is_finite())
    }
}

impl FromValue for String {
    const WANT: &'static str = "a string";
    const KIND: Kind = Kind::Text;
    fn from_value(value: &Value) -> Option<Self> {
        value.as_str().map(ToOwned::to_owned)
    }
}

impl FromValue for Secret {
    const WANT: &'static str = "a string such as \"${VARIABLE}\"";
    const KIND: Kind = Kind::Text;
    fn from_value(value: &Value) -> Option<Self> {
        String::from_value(value).map(Secret::new)
    }
}

/// One value, or a list of such.
pub(super) struct OneOrMore<T>(pub(super) Vec<T>);

impl FromValue for OneOrMore<String> {
    const WANT: &'static str = "a string, or a list of strings";
    const KIND: Kind = Kind::TextOrTexts;
    fn from_value(value: &Value) -> Option<Self> {
        one_or_more(value)
    }
}

impl FromValue for OneOrMore<Secret> {
    const WANT: &'static str = "a string such as \"${VARIABLE}\", or a list of such";
    const KIND: Kind = Kind::TextOrTexts;
    fn from_value(value: &Value) -> Option<Self> {
        one_or_more(value)
    }
}

fn one_or_more<T: FromValue>(value: &Value) -> Option<OneOrMore<T>> {
    let items = list(value).unwrap_or_else(|| vec![value.clone()]);
    items.iter().map(T::from_value).collect::<Option<_>>().map(OneOrMore)
}

/// The longest time that is taken: clocks count on for a few of these, and not for all that can be written.
const LONGEST: Duration = Duration::from_hours(100 * 366 * 24);

impl FromValue for Duration {
    const WANT: &'static str = "a duration such as \"15s\" or \"250ms\", at most 100 years";
    const KIND: Kind = Kind::Time;
    fn from_value(value: &Value) -> Option<Self> {
        humantime::parse_duration(value.as_str()?).ok().filter(|time| *time <= LONGEST)
    }
}

impl FromValue for Vec<String> {
    const WANT: &'static str = "a list of strings such as [\"*\"]";
    const KIND: Kind = Kind::Texts;
    fn from_value(value: &Value) -> Option<Self> {
        list(value)?.iter().map(String::from_value).collect()
    }
}

/// The items of a list. The environment layer carries only text: there a list is written as in the file.
pub(super) fn list(value: &Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(items) => Some(items.clone()),
        Value::String(text) if text.trim_start().starts_with('[') => {
            Vec::deserialize(toml::de::ValueDeserializer::parse(text.trim()).ok()?).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_may_come_as_text_and_nothing_else_passes_for_one() {
        let read = |text: &str| Vec::<String>::from_value(&json!(text));
        assert_eq!(read(r#" ["a", 'b'] "#), Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(read("[]"), Some(Vec::new()));
        for bad in ["a", "[1]", "[\"a\"", "[\"a\"]\nb = 1", "[a]", ""] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn one_or_a_list_of_such_may_come_as_text() {
        let read = |text: &str| OneOrMore::<String>::from_value(&json!(text)).map(|found| found.0);
        for (text, found) in [(r#"["new", "old"]"#, vec!["new", "old"]), ("a", vec!["a"]), ("[a]", vec!["[a]"])] {
            assert_eq!(read(text), Some(found.into_iter().map(ToOwned::to_owned).collect()), "{text}");
        }
    }
}
