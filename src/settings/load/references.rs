//! Owns the checks that span sections: names that can be used, and those that others refer to.

use std::collections::{BTreeSet, HashMap};

use super::super::{
    Allowed, Backend, Model, User,
    section::{Problems, did_you_mean},
};

/// Entries of a named table; an entry that could not be read keeps its name, so that references to it still hold.
pub(super) type Entries<T> = Vec<(String, Option<T>)>;

/// What refers to each other.
pub(super) struct References<'e> {
    pub(super) backends: &'e Entries<Backend>,
    pub(super) models: &'e Entries<Model>,
    pub(super) users: &'e Entries<User>,
    /// Keys of the models whose backends are those of the defaults.
    pub(super) heirs: &'e BTreeSet<String>,
}

impl References<'_> {
    pub(super) fn check(&self, problems: &Problems) {
        self.names(problems);
        self.targets(problems);
        self.rights(problems);
    }

    /// Names that cannot be used, or would be taken for something else.
    fn names(&self, problems: &Problems) {
        // In log lines a blank or '=' would pass for another field.
        for (name, _) in self.users {
            if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '=') {
                problems.add(format!("users.{name}"), "has a bad name; leave out blanks, line ends and '='");
            }
        }
        for (name, _) in self.backends {
            let key = format!("backends.{name}");
            // This one travels in a response header, too.
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
                problems.add(key, "has a bad name; use letters, digits, '-', '_' and '.'");
            } else if matches!(&**name, "." | "..") {
                problems.add(key, "has a bad name: in the URLs of /admin it stands for a folder; add a letter");
            }
        }
        for (name, _) in self.models {
            let key = format!("models.{name}");
            if name.is_empty() {
                problems.add("models.\"\"", "has no name; clients could not ask for it");
            } else if name == "*" {
                problems.add(key, "has a bad name: in the lists of users it stands for all models; name each model");
            } else if name.chars().any(char::is_control) {
                problems.add(key, "has a bad name; leave out line ends and other control characters");
            }
        }
    }

    /// Backends that models name.
    fn targets(&self, problems: &Problems) {
        let known = names(self.backends);
        for (name, model) in self.models {
            let Some(model) = model else { continue };
            let own = format!("models.{name}");
            let list = if self.heirs.contains(&own) { "defaults.model.backends" } else { &format!("{own}.backends") };
            for (n, target) in model.targets.iter().enumerate() {
                let key = format!("{list}[{n}].backend");
                if !known.contains(&target.backend.as_str()) {
                    problems.add(key, unknown(&target.backend, &known, "backends"));
                } else if let Some(first) = model.targets[..n].iter().position(|t| t.backend == target.backend) {
                    problems.add(key, format!("is that of backends[{first}] too; keep one"));
                }
                let of = self.backends.iter().find(|(name, _)| *name == target.backend);
                let theirs = target.name_for(name);
                let backend = of.and_then(|(_, backend)| backend.as_ref());
                if backend.is_some_and(Backend::names_model_in_urls) && !is_path(theirs) {
                    let key = format!("{list}[{n}].model");
                    problems
                        .add(key, "cannot stand in a URL, where this backend wants it; name it as the provider does");
                }
            }
        }
    }

    /// Tokens that are not one user's alone, and models and backends that users name.
    fn rights(&self, problems: &Problems) {
        let (models, backends) = (names(self.models), names(self.backends));
        let mut seen: HashMap<[u8; 32], &str> = HashMap::new();
        for (name, user) in self.users {
            let Some(user) = user else { continue };
            if let Some(other) = user.tokens.iter().find_map(|token| seen.insert(*token, name)) {
                let text = format!("is the token of users.{other} too; give each its own");
                problems.add(format!("users.{name}.token"), text);
            }
            for (key, allowed, known) in [("models", &user.models, &models), ("backends", &user.backends, &backends)] {
                let Allowed::Only(names) = allowed else { continue };
                for (n, written) in names.iter().enumerate().filter(|(_, written)| !known.contains(&written.as_str())) {
                    problems.add(format!("users.{name}.{key}[{n}]"), unknown(written, known, key));
                }
            }
        }
    }
}

fn names<T>(entries: &Entries<T>) -> Vec<&str> {
    entries.iter().map(|(name, _)| name.as_str()).collect()
}

/// The name itself is not repeated: a token in the wrong place looks like one.
fn unknown(written: &str, known: &[&str], kind: &str) -> String {
    let hint = did_you_mean(written, known.iter().copied()).unwrap_or_default();
    format!("is not under [{kind}]{hint}")
}

/// Whether a name can be one segment of a URL's path or several: the rest is escaped, but servers resolve the dots.
fn is_path(name: &str) -> bool {
    !name.chars().any(char::is_control) && name.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_wrong_in_an_entry_hides_nothing_that_is_wrong_with_its_references() {
        let text = r#"
            [backends.a]
            protocol = "openai"
            base_url = "http://127.0.0.1:1"
            [models.m]
            rescue = "perhaps"
            backends = [{ priority = 2 }, { backend = "b" }]
            [users.u]
            token = "same"
            models = []
            backends = ["*"]
            [users.v]
            token = "same"
            models = ["*"]
            backends = ["*"]
            [users.w]
            token_sha256 = "00"
            models = ["n"]
            [users.x]
            token_sha256 = "00"
            models = ["*"]
            backends = ["*"]
        "#;
        let told = super::super::parse("test", text).expect_err("bad settings").problems;
        let keys: Vec<_> = told.iter().map(|problem| problem.key.as_str()).collect();
        let all = [
            "models.m.backends[0].backend",
            "models.m.backends[1].backend",
            "models.m.rescue",
            "users.u.models",
            "users.v.token",
            "users.w.backends",
            "users.w.models[0]",
            "users.w.token_sha256",
            "users.x.token_sha256",
        ];
        assert_eq!(keys, all, "{told:?}");
    }
}
