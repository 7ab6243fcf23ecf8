//! Owns doubts: what can be used, and yet may be meant otherwise; told as notes.

use super::{Backend, Model, NO_BACKEND, OTHER, Problem, Settings, User, secret::is_placeholder};
use crate::error::Dimension;

/// Port of OTLP over gRPC (OTLP 1.x, "OTLP/gRPC Default Port"); over HTTP it is 4318.
const GRPC: u16 = 4317;

/// Most names in one note.
const NAMED: usize = 3;

impl Settings {
    /// What can be used, and yet may be meant otherwise.
    pub fn doubts(&self) -> Vec<Problem> {
        let backends = self.backends.iter().flat_map(|(name, backend)| self.of_backend(name, backend));
        let users = self.users.values().flat_map(|user| self.of_user(user));
        self.of_server()
            .into_iter()
            .chain(backends)
            .chain(self.of_models())
            .chain(users)
            .chain(self.of_traces())
            .collect()
    }

    fn of_server(&self) -> Option<Problem> {
        self.server.admin_bind.filter(|addr| !addr.ip().is_loopback())?;
        let text = "can be reached from elsewhere, and /metrics, which names backends and models, asks for no token there; see \
                    that only your monitoring gets to it";
        Some(doubt("server.admin_bind".to_owned(), text))
    }

    fn of_backend(&self, name: &str, backend: &Backend) -> Vec<Problem> {
        let mut doubts = Vec::new();
        if [NO_BACKEND, OTHER].contains(&name) {
            let text = "is also a word of metrics and history, for no backend or an unknown one; another name keeps them apart";
            doubts.push(doubt(format!("backends.{name}"), text));
        }
        if !self.models.values().any(|model| model.targets.iter().any(|target| target.backend == name)) {
            let text =
                "serves no model, so that no request reaches it; name it in the backends of one, or leave it out";
            doubts.push(doubt(format!("backends.{name}"), text));
        }
        if let Some((key, text)) = backend.place_doubt() {
            doubts.push(doubt(format!("backends.{name}.{key}"), text));
        }
        if backend.api_key.as_ref().is_some_and(|key| is_placeholder(key.reveal())) {
            let text = "looks like what manuals write where the key belongs; set the provider's, as in \"${VARIABLE}\", or leave it \
                        so for a server that takes any";
            let key = if backend.api_key_file.is_some() { "api_key_file" } else { "api_key" };
            doubts.push(doubt(format!("backends.{name}.{key}"), text));
        }
        if backend.api_key.is_some() && backend.address.is_overheard() {
            let text =
                "is http://, so that the key goes over the network in the clear; set https:// if the server speaks it";
            doubts.push(doubt(format!("backends.{name}.base_url"), text));
        }
        let limits = &backend.deadlines;
        if limits.first_token_soft >= limits.first_token_hard {
            let text = "is not below first_token_hard: a second backend is never started beside this one; set it below, or \
                        leave it so where that is meant";
            doubts.push(doubt(format!("backends.{name}.first_token_soft"), text));
        }
        doubts
    }

    fn of_models(&self) -> impl Iterator<Item = Problem> {
        let named = self.models.keys().filter(|name| *name == OTHER);
        let text = "is also the word of metrics and history for unknown models; another name keeps them apart";
        named.map(move |name| doubt(format!("models.{name}"), text))
    }

    fn of_traces(&self) -> Option<Problem> {
        self.traces.collector.as_ref().filter(|collector| collector.address.port == GRPC)?;
        let text = "has the port at which collectors speak gRPC, which Greenroom does not; OTLP over HTTP is usually at port 4318";
        Some(doubt("traces.endpoint".to_owned(), text))
    }

    fn of_user(&self, user: &User) -> Vec<Problem> {
        let mut doubts = Vec::new();
        if user.has_placeholder {
            let text = "looks like what manuals write where a token belongs, which others may guess; make one up, as by \
                        `openssl rand -hex 24`";
            doubts.push(doubt(format!("users.{}.token", user.name), text));
        }
        let served: Vec<(&str, &Model)> =
            self.models.iter().filter(|(name, model)| serves(user, name, model)).map(|(n, m)| (&**n, m)).collect();
        if served.is_empty() {
            let text =
                "serve none of the user's models, so that each of its requests is refused; add a backend that does";
            doubts.push(doubt(format!("users.{}.backends", user.name), text));
        }
        let telling: Vec<&str> =
            served.iter().filter(|(_, model)| !model.rewrite_model).map(|(name, _)| *name).collect();
        if !user.may_see_backends && !telling.is_empty() {
            let text = format!(
                "is false, and yet answers have the backend's own name of the model in their body; set rewrite_model = true for {}",
                listed(&telling)
            );
            doubts.push(doubt(format!("users.{}.may_see_backends", user.name), text));
        }
        let is_priced = |(_, model): &(&str, &Model)| {
            let mut theirs = model.targets.iter().filter(|target| user.backends.allows(&target.backend));
            theirs.any(|target| target.price.is_some())
        };
        let has_budget = user.limits.as_ref().is_some_and(|limits| limits.of(Dimension::UsdPerDay).is_some());
        if has_budget && !served.is_empty() && !served.iter().any(is_priced) {
            let text = "is never spent, since none of the user's models has a price; give their backends one";
            doubts.push(doubt(format!("users.{}.limits.usd_per_day", user.name), text));
        }
        doubts
    }
}

/// Whether one of the user's backends serves this model to the user.
fn serves(user: &User, name: &str, model: &Model) -> bool {
    let is_theirs = |backend: &str| user.backends.allows(backend);
    user.models.allows(name) && model.targets.iter().any(|target| is_theirs(&target.backend))
}

fn doubt(key: String, text: impl Into<String>) -> Problem {
    Problem { key, text: text.into() }
}

/// The first of these names, and how many more there are.
fn listed(names: &[&str]) -> String {
    let first = names[..names.len().min(NAMED)].join(", ");
    let more = names.len().saturating_sub(NAMED);
    if more == 0 { first } else { format!("{first} and {more} more") }
}

#[cfg(test)]
mod tests {
    /// The notes on settings with these lines beside a backend, a model and a user that leave nothing to be noted.
    fn notes(lines: &str) -> Vec<String> {
        let text = format!(
            "[backends.a]\nprotocol = \"openai\"\nbase_url = \"http://127.0.0.1:1/v1\"\n\
             [models.m]\nbackends = [{{ backend = \"a\" }}]\n\
             [users.u]\ntoken = \"t\"\nmodels = [\"*\"]\nbackends = [\"*\"]\n{lines}\n"
        );
        let settings = super::super::parse("test", &text).expect("good settings");
        settings.doubts().iter().map(ToString::to_string).collect()
    }

    fn backend(name: &str) -> String {
        format!("[backends.{name}]\nprotocol = \"openai\"\nbase_url = \"http://127.0.0.1:1/v1\"\n")
    }

    #[test]
    fn nothing_is_noted_where_nothing_is_in_doubt() {
        assert_eq!(notes(""), [""; 0]);
    }

    #[test]
    fn a_backend_without_a_model_and_a_user_whom_none_can_serve_are_noted() {
        let idle = notes(&backend("z"));
        assert!(matches!(&idle[..], [note] if note.starts_with("backends.z: serves no model")), "{idle:?}");
        let user = "[users.v]\ntoken = \"t2\"\nmodels = [\"m\"]\nbackends = [\"z\"]\n";
        let told = notes(&format!("{}[models.n]\nbackends = [{{ backend = \"z\" }}]\n{user}", backend("z")));
        assert!(matches!(&told[..], [note] if note.starts_with("users.v.backends: serve none")), "{told:?}");
    }

    #[test]
    fn a_base_url_that_does_not_fit_its_provider_or_protocol_is_noted() {
        for (protocol, url, key) in [
            ("openai", "https://api.openai.com", "base_url"),
            ("openai", "https://api.openai.com/v1/", ""),
            ("openai", "https://api.openai.com/v1/v1", "base_url"),
            ("openai", "http://127.0.0.1:1/v1/models", "base_url"),
            ("anthropic", "https://api.openai.com/v1", "protocol"),
            ("openai", "https://api.anthropic.com/v1", ""),
            ("gemini", "https://api.anthropic.com/v1", "protocol"),
            ("anthropic", "https://api.anthropic.com", "base_url"),
            ("anthropic", "https://api.anthropic.com/v1", ""),
            ("gemini", "https://generativelanguage.googleapis.com/v1beta", ""),
            ("gemini", "https://generativelanguage.googleapis.com/v1beta/openai", "protocol"),
            ("openai", "https://generativelanguage.googleapis.com/v1beta/openai/", ""),
            ("openai", "https://generativelanguage.googleapis.com/v1beta", "protocol"),
            ("openai", "https://x.openai.azure.com/", "style"),
            ("openai", "https://x.openai.azure.com/openai/v1/", ""),
            ("openai\"\nstyle = \"azure\"\napi_version = \"2024-10-21", "https://x.openai.azure.com", ""),
            ("openai", "http://127.0.0.1:1", ""),
        ] {
            let told = notes(&format!(
                "[backends.z]\nprotocol = \"{protocol}\"\nbase_url = \"{url}\"\n\
                 [models.n]\nbackends = [{{ backend = \"z\" }}]\n"
            ));
            let want: Vec<String> =
                [key].iter().filter(|key| !key.is_empty()).map(|key| format!("backends.z.{key}")).collect();
            let keys: Vec<_> = told.iter().filter_map(|note| note.split_once(": ")).map(|(key, _)| key).collect();
            assert_eq!(keys, want, "{protocol} {url}: {told:?}");
        }
    }

    #[test]
    fn a_key_and_a_token_that_a_manual_has_left_to_the_reader_are_noted_and_not_shown() {
        let lines = format!("{}api_key = \"YOUR_KEY\"\n[models.n]\nbackends = [{{ backend = \"z\" }}]\n", backend("z"));
        let told = notes(&format!("{lines}[users.v]\ntoken = \"<TOKEN>\"\nmodels = [\"*\"]\nbackends = [\"*\"]\n"));
        assert!(
            matches!(&told[..], [key, token] if key.starts_with("backends.z.api_key: ") && token.starts_with("users.v.token: ")),
            "{told:?}"
        );
        assert!(!told.concat().contains("YOUR") && !told.concat().contains("TOKEN"), "{told:?}");
    }

    #[test]
    fn a_key_that_goes_out_in_the_clear_is_noted() {
        let told = |url: &str, key: &str| {
            notes(&format!(
                "[backends.z]\nprotocol = \"openai\"\nbase_url = \"{url}\"\n{key}\n[models.n]\nbackends = [{{ backend = \"z\" }}]\n"
            ))
        };
        let key = "api_key = \"sk-1\"";
        let noted = told("http://llm.example.com/v1", key);
        assert!(matches!(&noted[..], [note] if note.starts_with("backends.z.base_url: is http://")), "{noted:?}");
        for (url, key) in
            [("https://llm.example.com/v1", key), ("http://llm.example.com/v1", ""), ("http://llm/v1", key)]
        {
            assert_eq!(told(url, key), [""; 0], "{url}");
        }
    }

    #[test]
    fn names_that_metrics_use_for_something_else_are_noted() {
        let lines = format!(
            "{}{}[models.other]\nbackends = [{{ backend = \"none\" }}, {{ backend = \"other\" }}]\n",
            backend("none"),
            backend("other")
        );
        let told = notes(&lines);
        let keys: Vec<_> = told.iter().filter_map(|note| note.split_once(": ")).map(|(key, _)| key).collect();
        assert_eq!(keys, ["backends.none", "backends.other", "models.other"], "{told:?}");
    }

    #[test]
    fn a_collector_at_the_port_of_another_protocol_is_noted() {
        let told = |port: u16| notes(&format!("[traces]\nendpoint = \"http://127.0.0.1:{port}/v1/traces\"\n"));
        assert!(matches!(&told(4317)[..], [note] if note.starts_with("traces.endpoint: ")), "{:?}", told(4317));
        assert_eq!(told(4318), [""; 0]);
    }

    #[test]
    fn a_budget_of_a_user_whose_models_have_no_price_is_noted() {
        let user = "[users.v]\ntoken = \"t2\"\nmodels = [\"*\"]\nbackends = [\"a\"]\nlimits = { usd_per_day = 1 }\n";
        let priced = |by: &str| {
            format!("[models.n]\nbackends = [{{ backend = \"{by}\", price = {{ input = 1, output = 2 }} }}]\n")
        };
        for lines in [String::new(), priced("z") + &backend("z")] {
            let told = notes(&format!("{user}{lines}"));
            let [note] = &told[..] else { panic!("{told:?}") };
            assert!(note.starts_with("users.v.limits.usd_per_day: is never spent"), "{note}");
        }
        assert_eq!(notes(&format!("{user}{}", priced("a"))), [""; 0]);
    }

    #[test]
    fn a_user_who_may_not_see_backends_and_reads_their_names_of_models_is_noted() {
        let user = "[users.v]\ntoken = \"t2\"\nmodels = [\"*\"]\nbackends = [\"*\"]\nmay_see_backends = false\n";
        let told = notes(user);
        let [note] = &told[..] else { panic!("{told:?}") };
        assert!(
            note.starts_with("users.v.may_see_backends: ") && note.ends_with("rewrite_model = true for m"),
            "{note}"
        );
        assert_eq!(notes(&format!("[defaults.model]\nrewrite_model = true\n{user}")), [""; 0]);
        let model = |n: usize| format!("[models.n{n}]\nbackends = [{{ backend = \"a\" }}]\n");
        let told = notes(&(user.to_owned() + &(0..4).map(model).collect::<String>()));
        assert!(matches!(&told[..], [note] if note.ends_with(" m, n0, n1 and 2 more")), "{told:?}");
    }

    #[test]
    fn metrics_that_others_than_this_machine_may_read_without_a_token_are_noted() {
        let told = |host: &str| notes(&format!("[server]\nadmin_bind = \"{host}:3001\"\n"));
        for host in ["0.0.0.0", "[::]", "10.0.0.7"] {
            assert!(matches!(&told(host)[..], [note] if note.starts_with("server.admin_bind: ")), "{host}");
        }
        assert_eq!([told("127.0.0.1"), told("[::1]")], [[""; 0], [""; 0]]);
    }
}
