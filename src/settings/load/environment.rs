//! Owns telling what of settings is environment variables' doing, which lie over the file: problems, and keys that one was meant
//! to set and does not.

use serde_json::Value;

use super::{
    super::{
        Problem,
        section::{Tables, is_in, join},
    },
    ENV_PREFIX,
};

/// Names the variable in each problem that one of `variables` has made in the settings of `file`. One that sets nothing, since
/// its underscores stand otherwise than they must, is a problem of the key that it was meant for, unless the file itself has a
/// use for it.
pub(super) fn blame(problems: &mut Vec<Problem>, variables: impl Iterator<Item = String>, file: &str, tables: &Tables) {
    let written = toml::from_str(file).unwrap_or(Value::Null);
    let (mut keys, mut astray) = (Vec::new(), Vec::new());
    for name in variables.filter(|name| !is_of_a_service(name)) {
        match key(&name) {
            Some(key) => keys.push((key, name)),
            None if file.contains(&name) => {}
            None => astray.extend(meant(&name, tables).map(|key| (key, name))),
        }
    }
    for problem in &mut *problems {
        if let Some((key, name)) = keys.iter().find(|(key, _)| has_made(key, &problem.key, &written)) {
            problem.text.extend(["; see the variable ", name]);
            if let Some(other) = meant(name, tables).filter(|other| other != key) {
                problem.text.extend([", and call it ", &variable(&other)]);
            }
        }
    }
    problems.extend(astray.into_iter().map(|(key, name)| {
        let text = format!("is not set by the variable {name}; call that {}", variable(&key));
        Problem { key, text }
    }));
    problems.sort_by(|a, b| a.key.cmp(&b.key));
}

/// The keys that Kubernetes sets by variables of a service of our name, which mean nothing to us.
pub(super) fn of_services(variables: impl Iterator<Item = String>) -> impl Iterator<Item = String> {
    variables.filter(|name| is_of_a_service(name)).filter_map(|name| key(&name))
}

/// Whether Kubernetes makes a variable of this name of each service, whose name begins as our variables do.
fn is_of_a_service(variable: &str) -> bool {
    // In a table that `__` ends it would be meant for us.
    if key(variable).is_some_and(|key| key.contains('.')) {
        return false;
    }
    let is_name = |name: &str| name.ends_with(|last: char| last.is_ascii_alphanumeric());
    let is_port = |(at, found): (usize, &str)| {
        is_name(&variable[..at]) && variable[at + found.len()..].starts_with(|first: char| first.is_ascii_digit())
    };
    ["_SERVICE_HOST", "_PORT"].iter().any(|end| variable.strip_suffix(end).is_some_and(is_name))
        || variable.contains("_SERVICE_PORT_")
        || variable.match_indices("_PORT_").any(is_port)
}

/// The key that a variable sets.
fn key(variable: &str) -> Option<String> {
    Some(after_prefix(variable)?.strip_prefix("__")?.replace("__", "."))
}

/// The variable that sets a key.
fn variable(key: &str) -> String {
    format!("{ENV_PREFIX}__{}", key.replace('.', "__").to_ascii_uppercase())
}

/// What stands behind the prefix, in small letters as keys are.
fn after_prefix(variable: &str) -> Option<String> {
    let name = variable.to_ascii_lowercase();
    name.strip_prefix(&ENV_PREFIX.to_ascii_lowercase()).map(ToOwned::to_owned)
}

/// The key that a variable was meant to set, if one underscore may stand where two belong. Others that begin as ours do, such as
/// `GREENROOM_URL`, name no key of any table.
fn meant(variable: &str, tables: &Tables) -> Option<String> {
    let name = after_prefix(variable)?;
    let rest = name.strip_prefix("__").or_else(|| name.strip_prefix('_'))?;
    let flat = rest.replace("__", "_");
    let tables = || tables.iter().filter(|(path, _)| !path.is_empty());
    let mut keys = tables().flat_map(|(path, known)| {
        // What an entry may say, the defaults of its kind may.
        let above = match path.split_once('.') {
            Some(("backends", _)) => Some("defaults.backend"),
            Some(("models", name)) if !name.contains('[') => Some("defaults.model"),
            _ => None,
        };
        let paths = above.into_iter().chain([&**path]);
        paths.flat_map(|path| known.iter().map(move |known| join(path, known.key)))
    });
    let named = keys.find(|key| key.replace('.', "_") == flat);
    // The key itself may be misspelt, or of a backend that there would be only with it.
    let is_table = |name: &str| tables().any(|(path, _)| path.split('.').next() == Some(name));
    let in_table = || rest.split_once("__").filter(|(table, _)| is_table(table)).map(|_| rest.replace("__", "."));
    named.or_else(in_table)
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
            let mut problems = vec![Problem { key: key.to_owned(), text: "is wrong".to_owned() }];
            blame(&mut problems, [variable.to_owned()].into_iter(), FILE, &Tables::new());
            assert_eq!(
                problems[0].text.ends_with(&format!("see the variable {variable}")),
                is_to_blame,
                "{variable} {key}"
            );
        }
    }

    #[test]
    fn a_variable_that_was_meant_to_set_a_key_is_told_how_it_is_called_and_any_other_is_none_of_ours() {
        let file = super::super::super::SMALL;
        let tables = super::super::tables(file);
        for (variable, key) in [
            ("GREENROOM_SERVER__BIND", "server.bind"),
            ("GREENROOM_SERVER_BIND", "server.bind"),
            ("greenroom_server_body_limit", "server.body_limit"),
            ("GREENROOM_SERVER__BNID", "server.bnid"),
            ("GREENROOM_BACKENDS_A_API_KEY", "backends.a.api_key"),
            ("GREENROOM_BACKENDS__A_API_KEY", "backends.a.api_key"),
            ("GREENROOM_BACKENDS__NEW__API_KEY", "backends.new.api_key"),
            ("GREENROOM_DEFAULTS_BACKEND_IDLE_TIMEOUT", "defaults.backend.idle_timeout"),
            ("GREENROOM_USERS_U_TOKEN", "users.u.token"),
        ] {
            assert_eq!(meant(variable, &tables).as_deref(), Some(key), "{variable}");
            let mut problems = Vec::new();
            blame(&mut problems, [variable.to_owned()].into_iter(), file, &tables);
            let right = super::variable(key);
            assert!(matches!(&problems[..], [one] if one.key == key && one.text.ends_with(&right)), "{problems:?}");
            assert_eq!(super::key(&right).as_deref(), Some(key));
            let mentions = format!("{file}# ${{{variable}}}");
            problems.clear();
            blame(&mut problems, [variable.to_owned()].into_iter(), &mentions, &tables);
            assert!(problems.is_empty(), "{problems:?}");
        }
        let mut problems = vec![Problem { key: "server_bind".to_owned(), text: "is not a setting".to_owned() }];
        blame(&mut problems, ["GREENROOM__SERVER_BIND".to_owned()].into_iter(), file, &tables);
        assert!(
            problems[0].text.ends_with("GREENROOM__SERVER_BIND, and call it GREENROOM__SERVER__BIND"),
            "{problems:?}"
        );
        for of_a_service in [
            "GREENROOM_SERVICE_HOST",
            "GREENROOM_SERVICE_PORT_HTTP",
            "GREENROOM_SERVER__NEW_SERVICE_HOST",
            "GREENROOM_SERVER__NEW_PORT",
            "GREENROOM_SERVER__NEW_SERVICE_PORT_HTTP",
            "GREENROOM_SERVER__NEW_PORT_80_TCP_ADDR",
            "GREENROOM__NEW_SERVICE_HOST",
        ] {
            let mut problems = Vec::new();
            blame(&mut problems, [of_a_service.to_owned()].into_iter(), file, &tables);
            assert!(problems.is_empty(), "{problems:?}");
            let sets = of_services([of_a_service.to_owned()].into_iter()).next();
            assert_eq!(sets, super::key(of_a_service), "{of_a_service}");
        }
        for ours in ["GREENROOM__SERVER__HTTP_PORT", "GREENROOM_SERVER__PORT", "GREENROOM__BACKENDS__A_PORT_1__API_KEY"]
        {
            assert!(!is_of_a_service(ours), "{ours}");
        }
        // Those that commands, scripts and builds read, and those that Kubernetes makes of a service of our name.
        for other in [
            "GREENROOM_URL",
            "GREENROOM_ADMIN_URL",
            "GREENROOM_TOKEN",
            "GREENROOM_TIMEOUT",
            "GREENROOM_MODEL",
            "GREENROOM_LOG_FORMAT",
            "GREENROOM_BIN",
            "GREENROOM_COMMIT",
            "GREENROOM_FIXTURES",
            "GREENROOM_SERVER",
            "GREENROOM_SERVER_PORT",
            "GREENROOM_SERVER_SERVICE_HOST",
            "GREENROOM_PORT_3000_TCP_ADDR",
            "GREENROOM_OTHER__THING",
            "GREENROOMS_SERVER_BIND",
            "SERVER_BIND",
        ] {
            assert_eq!(meant(other, &tables), None, "{other}");
        }
    }

    #[test]
    fn what_an_entry_of_a_list_may_say_is_no_default_and_problems_of_variables_stand_among_the_others() {
        let file = super::super::super::SMALL;
        let tables = super::super::tables(file);
        assert_eq!(
            meant("GREENROOM_DEFAULTS_MODEL_REWRITE_MODEL", &tables).as_deref(),
            Some("defaults.model.rewrite_model")
        );
        assert_eq!(meant("GREENROOM_DEFAULTS_MODEL_WEIGHT", &tables), None);
        let mut problems = vec![Problem { key: "users.u.token".to_owned(), text: "is wrong".to_owned() }];
        blame(&mut problems, ["GREENROOM_SERVER_BIND".to_owned()].into_iter(), file, &tables);
        let keys: Vec<_> = problems.iter().map(|problem| &*problem.key).collect();
        assert_eq!(keys, ["server.bind", "users.u.token"]);
    }
}
