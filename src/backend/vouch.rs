//! Owns which shut gates the answer to a probe opens: a function of (what was shown, gate, now).

use std::time::Duration;

use serde_json::Value;

use super::gate::{Gate, Why};

/// What a probe that was not refused has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shown {
    /// A model has answered, and not with an error inside of a 200: connection, account and that model are in order.
    Completion,
    /// The provider works, and names these models. Its list is free, and given to those who have no money or are over a limit, too.
    List(List),
    /// Somebody answers there, but has no models list.
    Reachable,
}

/// Whose gate it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// The whole backend's, which is shut by what is wrong with the connection or the account.
    Backend,
    /// The gate of the model that was asked.
    Asked,
    /// The gate of another model.
    Other,
    /// The gate of a model that the list names, while the answer before it did not.
    Listed,
}

/// A models list, as far as it could be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct List {
    models: Vec<String>,
    /// What it does not name is not there.
    pub(super) is_whole: bool,
}

impl List {
    /// Reads one, whose models are under `data`, with Google under `models`, at some servers in a bare list. Anthropic says
    /// `has_more` where another page follows, and Google has a token for that page.
    pub(super) fn read(list: &[u8]) -> Self {
        let list: Value = serde_json::from_slice(list).unwrap_or_default();
        let found: Vec<_> = [&list, &list["data"], &list["models"]].into_iter().filter_map(Value::as_array).collect();
        let is_last = list["has_more"] != true && list["nextPageToken"].as_str().is_none_or(str::is_empty);
        let entries = found.iter().copied().flatten();
        let names = entries.flat_map(|entry| [&entry["id"], &entry["name"]]).filter_map(Value::as_str);
        let models = names.map(|name| name.trim_start_matches("models/").to_owned()).collect();
        Self { models, is_whole: is_last && !found.is_empty() }
    }

    /// Whether it names this model. Ollama names a model's tag, too, where the settings may leave it out.
    pub(super) fn names(&self, model: &str) -> bool {
        self.models.iter().any(|name| name == model || name.strip_suffix(":latest") == Some(model))
    }
}

impl Shown {
    /// Whether this opens `gate` at `now`.
    pub(super) fn opens(&self, whose: Whose, gate: Gate, now: Duration) -> bool {
        let Gate::Shut(until, why) = gate else {
            // One that ramps up goes on by this as by any success.
            return matches!(gate, Gate::Ramp(_)) && *self == Self::Completion && whose != Whose::Other;
        };
        match (self, whose) {
            // Nobody comes back earlier than asked, whatever a probe shows.
            (Self::Completion, Whose::Backend | Whose::Asked) => why != Why::RateLimit || now >= until,
            // What was not found is there by now.
            (Self::List(_), Whose::Listed) if why == Why::ModelMissing => true,
            (Self::Completion | Self::List(_), _) | (Self::Reachable, Whose::Backend) => why == Why::Failures,
            // The gate of a model is shut by answers, and this was none.
            (Self::Reachable, _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(5);
    const LATER: Duration = Duration::from_secs(9);

    #[test]
    fn a_free_answer_opens_what_failures_have_shut_and_a_model_that_it_names() {
        let list = Shown::List(List::default());
        for whose in [Whose::Backend, Whose::Asked, Whose::Other, Whose::Listed] {
            assert!(list.opens(whose, Gate::Shut(LATER, Why::Failures), NOW));
            assert_eq!(Shown::Reachable.opens(whose, Gate::Shut(LATER, Why::Failures), NOW), whose == Whose::Backend);
            for why in [Why::RateLimit, Why::Crowded, Why::BadCredentials, Why::NoQuota, Why::ModelMissing] {
                let gate = Gate::Shut(LATER, why);
                let is_found = whose == Whose::Listed && why == Why::ModelMissing;
                assert_eq!(list.opens(whose, gate, NOW), is_found, "{why:?}");
                assert!(!Shown::Reachable.opens(whose, gate, NOW), "{why:?}");
            }
        }
    }

    #[test]
    fn the_models_of_a_list_are_read_however_it_is_shaped() {
        for (list, model) in [
            (r#"{"object":"list","data":[{"id":"a"},{"id":"m"}]}"#, "m"),
            (r#"{"models":[{"name":"models/gemini-2.5-pro"}]}"#, "gemini-2.5-pro"),
            (r#"[{"id":"m"}]"#, "m"),
            (r#"{"data":[{"id":"llama3:latest"}]}"#, "llama3"),
        ] {
            let read = List::read(list.as_bytes());
            assert!(read.is_whole && read.names(model) && !read.names("b"), "{list}");
        }
        for list in ["", "{}", r#"{"data":[{"id":"model"},{"name":7},"m"]}"#, r#"{"data":[{"id":"m"#] {
            assert!(!List::read(list.as_bytes()).names("m"), "{list}");
        }
    }

    #[test]
    fn a_list_is_whole_if_it_could_be_read_and_no_other_page_follows() {
        for (list, is_whole) in [
            (r#"{"data":[{"id":"m"}],"has_more":false}"#, true),
            (r#"{"models":[],"nextPageToken":""}"#, true),
            (r#"{"data":[{"id":"m"}],"has_more":true}"#, false),
            (r#"{"models":[{"name":"models/m"}],"nextPageToken":"x"}"#, false),
            (r#"{"data":[{"id":"m"},"#, false),
            ("{}", false),
        ] {
            assert_eq!(List::read(list.as_bytes()).is_whole, is_whole, "{list}");
        }
    }

    #[test]
    fn a_model_that_answers_opens_its_own_gates_but_for_a_limit_before_its_time() {
        for whose in [Whose::Backend, Whose::Asked] {
            assert!(Shown::Completion.opens(whose, Gate::Shut(LATER, Why::BadCredentials), NOW));
            assert!(!Shown::Completion.opens(whose, Gate::Shut(LATER, Why::RateLimit), NOW));
            assert!(Shown::Completion.opens(whose, Gate::Shut(LATER, Why::RateLimit), LATER));
        }
        assert!(!Shown::Completion.opens(Whose::Other, Gate::Shut(LATER, Why::ModelMissing), NOW));
        assert!(Shown::Completion.opens(Whose::Other, Gate::Shut(LATER, Why::Failures), NOW));
    }
}
