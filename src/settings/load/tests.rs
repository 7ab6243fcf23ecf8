//! Owns the tests of loading: whole files, told of in one run, without a value in any word of it.

use super::*;

const GOOD: &str = r#"
    [backends.a]
    protocol = "openai"
    base_url = "http://127.0.0.1:1/v1"
    [models."GPT-4.1"]
    backends = [{ backend = "a" }]
    [users.u]
    token = "t"
    models = ["*"]
    backends = ["*"]
"#;

#[test]
fn model_names_keep_their_dots_and_capitals() {
    let settings = parse_with("test", GOOD, &|_| None).expect("good settings");
    assert!(settings.models.contains_key("GPT-4.1"));
}

#[test]
fn an_unset_variable_is_named_once_with_its_key() {
    let text = GOOD.replace("\"t\"", "\"${NOPE}\"");
    let bad = parse_with("test", &text, &|_| None).expect_err("unset variable");
    assert_eq!(bad.problems.len(), 1, "{bad}");
    assert_eq!(bad.problems[0].key, "users.u.token");
    assert!(bad.problems[0].text.contains("NOPE"));
}

#[test]
fn problems_of_all_sections_are_reported_together() {
    let text = r#"
        [server]
        bnid = "x"
        [backends.a]
        protocol = "smtp"
        base_url = "ftp://x"
        [models.m]
        backends = [{ backend = "b" }]
        [users.u]
        token = "t"
        models = []
        backends = ["*"]
    "#;
    let bad = parse_with("test", text, &|_| None).expect_err("bad settings").to_string();
    for key in ["server.bnid", "backends.a.protocol", "backends.a.base_url", "models.m.backends[0]", "users.u.models"] {
        assert!(bad.contains(key), "{key} missing in:\n{bad}");
    }
}

/// What is told of `GOOD` with one line of it replaced, and nothing set in the environment.
fn told(line: &str, other: &str) -> Vec<String> {
    assert_eq!(GOOD.matches(line).count(), 1, "{line}");
    let bad = parse_with("test", &GOOD.replace(line, other), &|_| None).expect_err(other);
    bad.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn a_file_that_is_no_toml_is_told_of_by_place_and_without_its_text() {
    for bad in [
        "api_key = sk-live-secret",
        "api_key = \"sk-live-secret",
        "api_key = 'sk-live-secret\nx = 1",
        "api_key \"sk-live-secret\"",
        "api_key = \"sk-live-secret\" \"sk-live-secret\"",
        "api_key = \"sk-live-secret\"\napi_key = \"sk-live-secret\"",
        "api_key = [\"sk-live-secret\"",
        "api_key = \"\\q sk-live-secret\"",
        "sk-live-secret",
        "[sk-live-secret",
        "protocol.sk-live-secret = 1",
        "timeout = 1sk-live-secret",
        "weight = 99999999999999999999",
        "weight = 1e999",
    ] {
        let told = told("[backends.a]", &format!("[backends.a]\n{bad}"));
        assert_eq!(told.len(), 1, "{bad}: {told:?}");
        assert!(!told[0].contains("sk-live"), "{bad}: {told:?}");
        assert!(told[0].contains("number") || told[0].contains("line ") || told[0].contains("end"), "{bad}: {told:?}");
    }
    let told = told("    token = \"t\"", "    token = 日本\"");
    assert!(told[0].starts_with("file: is not valid TOML: line 8, column 13: "), "{told:?}");
}

#[test]
fn a_value_under_any_key_is_repeated_in_no_words_about_it() {
    for table in ["server", "failover", "history", "traces", "defaults.backend", "defaults.model"] {
        let all: Value = toml::from_str(DEFAULT).expect("the defaults");
        let keys = table.split('.').fold(&all, |value, key| &value[key]).as_object().expect("a table").clone();
        for key in keys.keys() {
            for bad in ["\"sk-live\"", "[\"sk-live\"]", "{ x = \"sk-live\" }", "4242.5", "-4242"] {
                let text = format!("{GOOD}\n[{table}]\n{key} = {bad}\n");
                let told = parse_with("test", &text, &|_| None).map_or_else(|bad| bad.to_string(), |_| String::new());
                assert!(!told.contains("sk-live") && !told.contains("4242"), "{key} = {bad}: {told}");
            }
        }
    }
    for (line, other) in [
        ("protocol = \"openai\"", "protocol = \"sk-live\""),
        ("base_url = \"http://127.0.0.1:1/v1\"", "base_url = \"sk-live\""),
        ("token = \"t\"", "token_sha256 = \"sk-live\""),
        ("token = \"t\"", "token = 4242"),
        ("backends = [{ backend = \"a\" }]", "backends = [{ backend = \"sk-live\" }]"),
        ("backends = [{ backend = \"a\" }]", "backends = [\"sk-live\"]"),
        ("backends = [{ backend = \"a\" }]", "backends = \"sk-live\""),
        ("models = [\"*\"]", "models = [\"sk-live\"]"),
        ("models = [\"*\"]", "models = \"sk-live\""),
        ("protocol = \"openai\"", "protocol = \"openai\"\nheaders = { x = 4242 }"),
    ] {
        let told = told(line, other);
        assert!(told.len() == 1 && !told[0].contains("sk-live") && !told[0].contains("4242"), "{other}: {told:?}");
    }
}

#[test]
fn a_key_is_told_of_once() {
    for (line, other, key) in [
        ("[backends.a]", "[server]\nbind = \"localhost:3000\"\n[backends.a]", "server.bind"),
        ("[backends.a]", "[backends.a]\nweight = \"abc\"", "backends.a.weight"),
        ("[backends.a]", "[backends.a]\nslots = \"abc\"", "backends.a.slots"),
        ("[backends.a]", "[backends.a]\nbackoff_max = \"abc\"", "backends.a.backoff_max"),
        ("[backends.a]", "[failover]\nkeepalive_every = \"abc\"\n[backends.a]", "failover.keepalive_every"),
        ("models = [\"*\"]", "models = [7]", "users.u.models"),
    ] {
        let told = told(line, other);
        assert!(told.len() == 1 && told[0].starts_with(&format!("{key}: ")), "{other}: {told:?}");
    }
}

#[test]
fn what_no_setting_means_is_refused() {
    for (line, other, key) in [
        ("[backends.a]", "[backends.a]\nweight = nan", "backends.a.weight"),
        ("[backends.a]", "[backends.a]\nweight = inf", "backends.a.weight"),
        ("[backends.a]", "[backends.a]\ntotal_timeout = \"500000000000y\"", "backends.a.total_timeout"),
        ("[backends.a]", "[failover]\ndeadline = \"101y\"\n[backends.a]", "failover.deadline"),
        ("{ backend = \"a\" }", "{ backend = \"a\", weight = nan }", "models.GPT-4.1.backends[0].weight"),
        ("[backends.a]", "[server]\nbind = \"[::]:1\"\nadmin_bind = \"[::]:1\"\n[backends.a]", "server.admin_bind"),
        ("[backends.a]", "[failover]\nkeepalive_every = \"9ms\"\n[backends.a]", "failover.keepalive_every"),
        (
            "[backends.a]",
            "[defaults.model]\nqueue = 1\nqueue_timeout = \"0s\"\n[backends.a]",
            "defaults.model.queue_timeout",
        ),
        ("[backends.a]", "[backends.a]\nheaders = { X-A = \"1\", x-a = \"2\" }", "backends.a.headers.x-a"),
        ("[backends.a]", "[backends.a]\napi_key = \" k\"", "backends.a.api_key"),
        ("[backends.a]", "[backends.a]\napi_key = \"k \"", "backends.a.api_key"),
        (
            "[backends.a]",
            "[backends.a]\napi_key = \"k\"\nheaders = { Authorization = \"Bearer other\" }",
            "backends.a.headers.Authorization",
        ),
        ("[models.\"GPT-4.1\"]", "[models.\"\"]", "models.\"\""),
        ("[users.u]", "[users.\"u status=200\"]", "users.u status=200"),
        ("[users.u]", "[users.\"u\\nv\"]", "users.u\u{fffd}v"),
        ("[users.u]", "[users.\"\"]", "users."),
        ("http://127.0.0.1:1/v1", "http://127.0.0.1:65536/v1", "backends.a.base_url"),
        ("http://127.0.0.1:1/v1", "http://127.0.0.1:0/v1", "backends.a.base_url"),
        ("http://127.0.0.1:1/v1", "http://127.0.0.1:1/v1/chat/completions/", "backends.a.base_url"),
        ("[backends.a]", "[server]\nworkers = 513\n[backends.a]", "server.workers"),
        ("[backends.a]", "[server]\nbody_limit = 1073741825\n[backends.a]", "server.body_limit"),
        ("[backends.a]", "[server]\ncors_origins = [\"https://a.example/\"]\n[backends.a]", "server.cors_origins"),
        (
            "[backends.a]",
            "[server]\ncors_origins = [\"*\", \"https://a.example\"]\n[backends.a]",
            "server.cors_origins",
        ),
        ("[backends.a]", "[history]\nqueue = 9223372036854775807\n[backends.a]", "history.queue"),
        ("{ backend = \"a\" }", "{ backend = \"a\", context_window = 0 }", "models.GPT-4.1.backends[0].context_window"),
        ("[models.\"GPT-4.1\"]", "[models.\"*\"]", "models.*"),
        ("[models.\"GPT-4.1\"]", "[models.\"a\\u0000b\"]", "models.a\u{fffd}b"),
        (
            "[backends.a]",
            "[backends.\".\"]\nprotocol = \"openai\"\nbase_url = \"http://h\"\n[backends.a]",
            "backends..",
        ),
        (
            "[backends.a]",
            "[backends.\"..\"]\nprotocol = \"openai\"\nbase_url = \"http://h\"\n[backends.a]",
            "backends...",
        ),
        (
            "[backends.a]",
            "[backends.a]\nheaders = { Accept-Encoding = \"gzip\" }",
            "backends.a.headers.Accept-Encoding",
        ),
    ] {
        let told = told(line, other);
        assert!(told.len() == 1 && told[0].starts_with(&format!("{key}: ")), "{other}: {told:?}");
    }
}

#[test]
fn a_user_may_be_called_as_the_table_is() {
    let settings = parse_with("test", &GOOD.replace("[users.u]", "[users.\"users.x\"]"), &|_| None);
    assert_eq!(settings.expect("good settings").users["users.x"].name, "users.x");
}

#[test]
fn what_depends_on_an_unset_variable_is_told_as_unset_and_not_found_fault_with() {
    let example = include_str!("../../../settings/example.toml");
    let bad = parse_with("example", example, &|_| None).expect_err("nothing is set");
    let variables = example.lines().filter(|line| !line.starts_with('#')).filter(|line| line.contains("${")).count();
    assert_eq!(bad.problems.len(), variables, "{bad}");
    assert!(bad.problems.iter().all(|problem| problem.text.contains("not set in the environment")), "{bad}");
    // Wherever one may stand.
    let text = GOOD
        .replace("\"openai\"", "\"${A}\"\nstyle = \"azure\"\napi_version = \"1\"")
        .replace("http://127.0.0.1:1/v1", "${B}\"\nweight = \"${C}\"\nheaders = { x = \"${D}\" }\nprobe = \"${E}")
        .replace("{ backend = \"a\" }", "{ backend = \"${F}\", weight = \"${G}\" }")
        .replace("token = \"t\"", "token_sha256 = \"${H}\"\nmay_pin = \"${I}\"")
        .replace("models = [\"*\"]", "models = [\"GPT-4.1\", \"${J}\"]");
    let bad = parse_with("test", &text, &|_| None).expect_err("nothing is set");
    let named: std::collections::BTreeSet<&str> = bad
        .problems
        .iter()
        .filter_map(|p| p.text.split_once("export ")?.1.split_once('=').map(|(name, _)| name))
        .collect();
    assert_eq!((bad.problems.len(), named.len()), (10, 10), "{bad}");
}

#[test]
fn problems_come_in_the_same_order_and_of_the_same_entries_every_time() {
    let one = |n: usize| {
        format!(
            "[backends.b{n}]\nprotocol = \"smtp\"\nheaders = {{ X = \"1\", x = \"2\" }}\n\
             [users.u{n}]\ntoken = \"same\"\nmodels = [\"*\"]\nbackends = [\"*\"]\n"
        )
    };
    let text: String = (0..8).map(one).collect();
    let told = || parse_with("test", &text, &|_| None).expect_err("bad settings").to_string();
    let first = told();
    for _ in 0..20 {
        assert_eq!(told(), first);
    }
}

#[test]
fn the_largest_of_what_is_bounded_is_taken() {
    let text = "[server]\nworkers = 512\nbody_limit = 1073741824\n[history]\nqueue = 1000000\n[failover]\nmax_attempts = 100\n[backends.a]\n\
                headers = { accept-encoding = \"identity\" }\n";
    let settings = parse_with("test", &GOOD.replace("[backends.a]", text), &|_| None).expect("good settings");
    assert_eq!(settings.server.workers, 512);
    let unsaid = parse_with("test", GOOD, &|_| None).expect("good settings").server.workers;
    assert!((1..=512).contains(&unsaid), "{unsaid}");
}

#[test]
fn what_is_wrong_among_the_defaults_is_told_there_and_once() {
    let more = |n: usize| format!("[backends.b{n}]\nprotocol = \"openai\"\nbase_url = \"http://127.0.0.1:1/v1\"\n");
    let text = GOOD.to_owned() + &(0..9).map(more).collect::<String>() + "[models.m]\n";
    let inherits = "[defaults.model]\nbackends = [{ backend = \"nobody\" }]";
    let own = "[models.m]\nbackends = [{ backend = \"a\" }]";
    for (defaults, keys) in [
        ("[defaults.backend]\nweigth = 2", &["defaults.backend.weigth"][..]),
        (
            "[defaults.backend]\nweight = 0\nidle_timeout = 7",
            &["defaults.backend.idle_timeout", "defaults.backend.weight"],
        ),
        ("[defaults.backend]\napi_key = \"${NOPE}\"", &["defaults.backend.api_key"]),
        ("[defaults.backend]\nheaders = { x = 7 }", &["defaults.backend.headers.x"]),
        ("[defaults.backend]\nstyle = \"azure\"", &["defaults.backend.api_version"]),
        ("[defaults.backend]\nbackoff_min = \"2m\"", &["defaults.backend.backoff_max"]),
        ("[defaults]\nbackend = 3\nmodel = \"x\"", &["defaults.backend", "defaults.model"]),
        (inherits, &["defaults.model.backends[0].backend"]),
    ] {
        let text = if defaults == inherits { text.clone() } else { text.replace("[models.m]", own) };
        let bad = parse_with("test", &format!("{text}{defaults}\n"), &|_| None).expect_err(defaults);
        let told: Vec<&str> = bad.problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(told, keys, "{bad}");
    }
    let bad = parse_with("test", &format!("defaults = 3\n{GOOD}"), &|_| None).expect_err("no table");
    assert_eq!(bad.problems.iter().map(|problem| problem.key.as_str()).collect::<Vec<_>>(), ["defaults"], "{bad}");
}

#[test]
fn a_backend_at_odds_with_a_default_is_told_itself_unless_the_default_cannot_be_read() {
    let told_of = |defaults: &str| {
        let own = format!("[defaults.backend]\n{defaults}\n[backends.a]\nbackoff_min = \"2m\"");
        told("[backends.a]", &own)
            .iter()
            .filter_map(|told| told.split_once(':'))
            .map(|(key, _)| key.to_owned())
            .collect()
    };
    let told: [Vec<String>; 2] = ["slots = 3", "backoff_max = 3"].map(told_of);
    assert_eq!(told, [["backends.a.backoff_max"], ["defaults.backend.backoff_max"]]);
}
