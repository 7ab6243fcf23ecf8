//! Owns what a new settings file would change: by name, and what of it needs a restart.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::{Server, Settings};

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
    /// What can be used and may be meant otherwise, and was not there before.
    pub notes: Vec<String>,
}

impl Plan {
    /// What installing `new` over `old` does in a process that was started with `started`: what can only change with a restart
    /// is still as it was then, whatever was installed since.
    pub fn of(started: &Settings, old: &Settings, new: &Settings) -> Self {
        let mut plan = Self::default();
        plan.compare("backends", &old.backends, &new.backends);
        plan.compare("models", &old.models, &new.models);
        plan.compare("users", &old.users, &new.users);
        plan.compare_one("failover", old.failover == new.failover);
        plan.compare_one("history", old.history == new.history);
        plan.compare_one("traces", old.traces == new.traces);
        plan.compare_one("server", old.server == new.server);
        // All are named, so that none is taken for live without anybody having thought about it.
        let Server {
            bind,
            admin_bind,
            workers,
            keep_alive,
            drain_timeout,
            drain_settle,
            body_limit: _,
            cors_origins: _,
            watch_every: _,
            metrics_by_user: _,
            chaos: _,
        } = &started.server;
        let is = &new.server;
        for (key, same) in [
            ("server.bind", *bind == is.bind),
            ("server.admin_bind", *admin_bind == is.admin_bind),
            ("server.workers", *workers == is.workers),
            ("server.keep_alive", *keep_alive == is.keep_alive),
            ("server.drain_timeout", *drain_timeout == is.drain_timeout),
            ("server.drain_settle", *drain_settle == is.drain_settle),
            ("history", started.history == new.history),
            ("traces", started.traces == new.traces),
        ] {
            if !same {
                plan.needs_restart.push(key);
            }
        }
        let known = old.doubts();
        plan.notes = new.doubts().iter().filter(|doubt| !known.contains(doubt)).map(ToString::to_string).collect();
        plan
    }

    /// Its lists of names that are not empty, under the words for them.
    pub fn lists(&self) -> impl Iterator<Item = (&'static str, String)> {
        let lists = [
            ("added", self.added.join(", ")),
            ("removed", self.removed.join(", ")),
            ("changed", self.changed.join(", ")),
            ("kept", self.kept.join(", ")),
            ("needs a restart", self.needs_restart.join(", ")),
        ];
        lists.into_iter().filter(|(_, names)| !names.is_empty())
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

/// One line, for the log.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (what, names)) in self.lists().enumerate() {
            let gap = if n == 0 { "" } else { "; " };
            write!(f, "{gap}{what}: {names}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::SMALL as BASE, *};

    fn settings(text: &str) -> Settings {
        super::super::parse("test", text).expect("good settings")
    }

    #[test]
    fn a_plan_names_what_comes_goes_changes_and_stays() {
        let more = BASE.replace("127.0.0.1:9", "127.0.0.1:2")
            + "[backends.b]\nprotocol = \"openai\"\nbase_url = \"http://127.0.0.1:3/v1\"\n[server]\nworkers = 7\n";
        let (base, more) = (settings(BASE), settings(&more));
        let plan = Plan::of(&base, &base, &more);
        assert_eq!(plan.added, ["backends.b"]);
        assert_eq!(plan.changed, ["backends.a", "server"]);
        assert_eq!(plan.kept, ["models.m", "users.u", "failover", "history", "traces"]);
        assert_eq!(plan.needs_restart, ["server.workers"]);
        let line = "added: backends.b; changed: backends.a, server; \
                    kept: models.m, users.u, failover, history, traces; needs a restart: server.workers";
        assert_eq!(plan.to_string(), line);
        assert_eq!(Plan::of(&more, &more, &base).removed, ["backends.b"]);
    }

    #[test]
    fn what_waits_for_a_restart_is_told_of_until_it_comes_or_is_taken_back() {
        let base = settings(BASE);
        let other = settings(&format!(
            "{BASE}[server]\nkeep_alive = \"7s\"\n[history]\nretention = \"1h\"\n[traces]\nsample = 0.5\n"
        ));
        let again = Plan::of(&base, &other, &other);
        assert!(again.changed.is_empty(), "{again}");
        assert_eq!(again.needs_restart, ["server.keep_alive", "history", "traces"]);
        assert!(Plan::of(&base, &other, &base).needs_restart.is_empty());
    }
}
