//! Owns what a new settings file would change: by name, and what of it needs a restart.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Settings;

/// The difference between the settings in force and new ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// New entries, such as `backends.b`.
    pub added: Vec<String>,
    /// Entries that go.
    pub removed: Vec<String>,
    /// Entries that stay under another definition.
    pub changed: Vec<String>,
    /// Entries that stay as they are; backends among them keep what they have learned.
    pub kept: Vec<String>,
    /// Keys whose new value takes effect only when the process is started again.
    pub needs_restart: Vec<&'static str>,
}

impl Plan {
    /// What installing `new` over `old` does.
    pub fn of(old: &Settings, new: &Settings) -> Self {
        let mut plan = Self::default();
        plan.compare("backends", &old.backends, &new.backends);
        plan.compare("models", &old.models, &new.models);
        plan.compare("users", &old.users, &new.users);
        plan.compare_one("failover", old.failover == new.failover);
        plan.compare_one("history", old.history == new.history);
        let (was, is) = (&old.server, &new.server);
        plan.compare_one("server", was == is);
        for (key, same) in [
            ("server.bind", was.bind == is.bind),
            ("server.admin_bind", was.admin_bind == is.admin_bind),
            ("server.workers", was.workers == is.workers),
            ("server.keep_alive", was.keep_alive == is.keep_alive),
            ("server.drain_timeout", was.drain_timeout == is.drain_timeout),
            ("server.drain_settle", was.drain_settle == is.drain_settle),
            ("history", old.history == new.history),
        ] {
            if !same {
                plan.needs_restart.push(key);
            }
        }
        plan
    }

    fn compare<T: PartialEq>(&mut self, kind: &str, old: &BTreeMap<String, T>, new: &BTreeMap<String, T>) {
        for (name, entry) in new {
            let list = match old.get(name) {
                None => &mut self.added,
                Some(before) if before == entry => &mut self.kept,
                Some(_) => &mut self.changed,
            };
            list.push(format!("{kind}.{name}"));
        }
        self.removed.extend(old.keys().filter(|name| !new.contains_key(*name)).map(|name| format!("{kind}.{name}")));
    }

    fn compare_one(&mut self, name: &str, same: bool) {
        if same { &mut self.kept } else { &mut self.changed }.push(name.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        super::super::parse("test", text).expect("good settings")
    }

    #[test]
    fn a_plan_names_what_comes_goes_changes_and_stays() {
        let base = r#"
            [backends.a]
            protocol = "openai"
            base_url = "http://127.0.0.1:1/v1"
            [models.m]
            backends = [{ backend = "a" }]
            [users.u]
            token = "t"
            models = ["*"]
            backends = ["*"]
        "#;
        let more = base.replace("127.0.0.1:1", "127.0.0.1:2")
            + "[backends.b]\nprotocol = \"openai\"\nbase_url = \"http://127.0.0.1:3/v1\"\n[server]\nworkers = 7\n";
        let plan = Plan::of(&settings(base), &settings(&more));
        assert_eq!(plan.added, ["backends.b"]);
        assert_eq!(plan.changed, ["backends.a", "server"]);
        assert_eq!(plan.kept, ["models.m", "users.u", "failover", "history"]);
        assert_eq!(plan.needs_restart, ["server.workers"]);
        assert_eq!(Plan::of(&settings(&more), &settings(base)).removed, ["backends.b"]);
    }
}
