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
    List(Vec<String>),
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
    /// The gate of a model that the list names.
    Listed,
}

/// The models that a list names: under `data`, with Google under `models`, at some servers in a bare list.
pub(super) fn names(list: &[u8]) -> Vec<String> {
    let list: Value = serde_json::from_slice(list).unwrap_or_default();
    let entries = [&list, &list["data"], &list["models"]].into_iter().filter_map(Value::as_array).flatten();
    let names = entries.flat_map(|entry| [&entry["id"], &entry["name"]]).filter_map(Value::as_str);
    names.map(|name| name.trim_start_matches("models/").to_owned()).collect()
}

impl Shown {
    /// Whether it names this model. Ollama names a model's tag, too, where the settings may leave it out.
    pub(super) fn lists(&self, model: &str) -> bool {
        let Self::List(names) = self else { return false };
        names.iter().any(|name| name == model || name.strip_suffix(":latest") == Some(model))
    }

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
        let list = Shown::List(Vec::new());
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
            assert!(Shown::List(names(list.as_bytes())).lists(model), "{list}");
        }
        for list in ["", "{}", r#"{"data":[{"id":"model"},{"name":7},"m"]}"#, r#"{"data":[{"id":"m"#] {
            assert!(!Shown::List(names(list.as_bytes())).lists("m"), "{list}");
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
