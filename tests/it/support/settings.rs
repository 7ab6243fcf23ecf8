//! Owns the settings files that the tests write: sections put together from what each test cares about.

use std::{fmt::Write, net::SocketAddr};

use super::upstream::Upstream;

/// The token of the user `tester`, who may do everything.
pub(crate) const TOKEN: &str = "token-of-tester";

/// A settings file in the making.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    sections: Vec<(String, String)>,
    targets: Vec<String>,
}

impl Settings {
    /// One worker, the user `tester`, and a model `m` on every backend that is added.
    pub(crate) fn new() -> Self {
        Self::default().set("server", "workers = 1\ndrain_timeout = \"2s\"").set(
            "users.tester",
            &format!(
                "token = \"{TOKEN}\"\nmodels = [\"*\"]\nbackends = [\"*\"]\nmay_pin = true\nmay_explain = true\nadmin = true"
            ),
        )
    }

    /// Adds lines to a section.
    pub(crate) fn set(mut self, section: &str, lines: &str) -> Self {
        match self.sections.iter_mut().find(|(name, _)| name == section) {
            Some((_, known)) => {
                // Writing to a string cannot fail.
                let _ = write!(known, "\n{lines}");
            }
            None => self.sections.push((section.to_owned(), lines.to_owned())),
        }
        self
    }

    /// Adds a backend that serves `m` under the same name.
    pub(crate) fn backend(self, name: &str, addr: SocketAddr) -> Self {
        self.target(name, addr, "")
    }

    /// Adds a backend whose entry in the model has further keys, for example `model = "other"`.
    pub(crate) fn target(mut self, name: &str, addr: SocketAddr, keys: &str) -> Self {
        let comma = if keys.is_empty() { "" } else { ", " };
        self.targets.push(format!("{{ backend = \"{name}\"{comma}{keys} }}"));
        let lines = format!("protocol = \"openai\"\nbase_url = \"http://{addr}/v1\"\napi_key = \"key-of-{name}\"");
        self.set(&format!("backends.{name}"), &lines)
    }

    /// Adds `peer`, which is asked where no other helps.
    pub(crate) fn peer(self, addr: SocketAddr) -> Self {
        self.target("peer", addr, "priority = 2")
    }

    /// One backend, `only`, of another protocol or style, which serves `m` as `theirs`.
    pub(crate) fn only(addr: SocketAddr, path: &str, theirs: &str, lines: &str) -> Self {
        let backend = format!("base_url = \"http://{addr}{path}\"\napi_key = \"the-key\"\n{lines}");
        let model = format!("backends = [{{ backend = \"only\", model = \"{theirs}\" }}]");
        Self::new().set("backends.only", &backend).set("models.m", &model)
    }

    /// `bad`, and `peer` where that does not help.
    pub(crate) fn bad_and_peer(bad: &Upstream, peer: &Upstream) -> Self {
        Self::new().backend("bad", bad.addr).peer(peer.addr)
    }

    /// The file.
    pub(crate) fn toml(&self) -> String {
        let mut text = String::new();
        let model = ("models.m".to_owned(), format!("backends = [{}]", self.targets.join(", ")));
        let own = self.sections.iter().find(|(name, _)| *name == model.0);
        let model = match own {
            Some(own) if self.targets.is_empty() => own.clone(),
            Some((name, lines)) => (name.clone(), format!("{}\n{lines}", model.1)),
            None => model,
        };
        let rest = self.sections.iter().filter(|(name, _)| *name != model.0);
        let any = own.is_some() || !self.targets.is_empty();
        for (section, lines) in rest.chain(any.then_some(&model)) {
            // Writing to a string cannot fail.
            let _ = write!(text, "[{section}]\n{lines}\n\n");
        }
        text
    }
}
