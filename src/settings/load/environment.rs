//! Owns telling which problems of settings are those of environment variables, which lie over the file.

use serde_json::Value;

use super::{
    super::{Problem, section::is_in},
    ENV_PREFIX,
};

/// Names the variable in each problem that one of `variables` has made in the settings of `file`.
pub(super) fn blame(problems: &mut [Problem], variables: impl Iterator<Item = String>, file: &str) {
    let file = toml::from_str(file).unwrap_or(Value::Null);
    let keys: Vec<(String, String)> = variables.filter_map(|name| Some((key(&name)?, name))).collect();
    for problem in problems {
        if let Some((_, name)) = keys.iter().find(|(key, _)| has_made(key, &problem.key, &file)) {
            problem.text.extend(["; see the variable ", name]);
        }
    }
}

/// The key that a variable sets.
fn key(variable: &str) -> Option<String> {
    let name = variable.to_ascii_lowercase();
    let key = name.strip_prefix(&ENV_PREFIX.to_ascii_lowercase())?.strip_prefix("__")?;
    Some(key.replace("__", "."))
}

/// Whether a variable that sets `key` has made a problem of `other`: it is there, in it, or in a table that only the variable has made.
fn has_made(key: &str, other: &str, file: &Value) -> bool {
    let marks = &['.', '['];
    let only_here = |table: &str| table.split('.').try_fold(file, |value, part| value.get(part)).is_none();
    let table = key.rsplit_once('.').map_or(key, |(table, _)| table);
    is_in(other, key, marks)
        || (is_in(key, other, marks) && only_here(other))
        || (is_in(other, table, marks) && only_here(table))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_that_a_variable_has_made_names_it_and_one_of_the_files_does_not() {
        const FILE: &str = "[server]\nbindd = 1\n[backends.one]\nweight = 0\n";
        for (variable, key, is_to_blame) in [
            ("GREENROOM__SERVER__WORKERS", "server.workers", true),
            ("GREENROOM__server__workers", "server.workers", true),
            ("GREENROOM__SERVER__WORKERS", "server.bindd", false),
            ("GREENROOM__SERVR__BIND", "servr", true),
            ("GREENROOM__SERVER__BIND", "server", false),
            ("GREENROOM__USERS__U__MODELS", "users.u.models[0]", true),
            ("GREENROOM__BACKENDS__TWO__API_KEY", "backends.two.base_url", true),
            ("GREENROOM__BACKENDS__ONE__API_KEY", "backends.one.base_url", false),
            ("GREENROOM_SERVER__WORKERS", "server.workers", false),
            ("PATH", "server.workers", false),
        ] {
            let mut problems = [Problem { key: key.to_owned(), text: "is wrong".to_owned() }];
            blame(&mut problems, [variable.to_owned()].into_iter(), FILE);
            assert_eq!(
                problems[0].text.ends_with(&format!("see the variable {variable}")),
                is_to_blame,
                "{variable} {key}"
            );
        }
    }
}
