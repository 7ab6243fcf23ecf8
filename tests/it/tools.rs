//! The operators' subcommands against a real proxy: exit codes, who is named, what a webhook hears, what a terminal shows.

use std::{
    fs::{File, read_to_string},
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    eventually,
    launch::Launch,
    process::Said,
    proxy::Proxy,
    script::Answer,
    settings::{Settings, TOKEN},
    sse,
    upstream::Upstream,
};

pub(super) const BINARY: &str = env!("CARGO_BIN_EXE_greenroom");

/// A command under way, speaking into files. Dropped, it is killed.
pub(super) struct Tool {
    child: Child,
    dir: TempDir,
}

impl Tool {
    pub(super) fn start(program: &str, args: &[&str], env: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let file = |name: &str| File::create(dir.path().join(name)).expect("a temporary file can be made");
        let mut command = Command::new(program);
        for name in ["GREENROOM_URL", "GREENROOM_TOKEN", "NO_COLOR", "LANG", "LC_MESSAGES", "LC_ALL"] {
            command.env_remove(name);
        }
        command.args(args).envs(env.iter().copied());
        command.stdin(Stdio::null()).stdout(file("out")).stderr(file("err"));
        Self { child: command.spawn().expect("the program starts"), dir }
    }

    fn read(&self, name: &str) -> String {
        read_to_string(self.dir.path().join(name)).expect("it speaks UTF-8")
    }

    fn interrupt(&self) {
        let sent = Command::new("sh").arg("-c").arg(format!("kill -INT {}", self.child.id())).status();
        assert!(sent.is_ok_and(|status| status.success()), "Ctrl-C could not be sent");
    }

    pub(super) async fn ended(mut self) -> Said {
        let status = eventually("the end of the command", async || self.child.try_wait().expect("it is ours")).await;
        Said { code: status.code(), out: self.read("out"), err: self.read("err") }
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a subcommand against a proxy until it ends.
pub(super) async fn tool(proxy: &Proxy, token: &str, args: &[&str]) -> Said {
    let url = format!("http://{}", proxy.addr);
    Tool::start(BINARY, args, &[("GREENROOM_URL", &url), ("GREENROOM_TOKEN", token)]).ended().await
}

/// Runs a subcommand against the demo.
async fn demo(args: &[&str]) -> Said {
    tool(&Launch::demo().start().await, "your-token", args).await
}

/// Lines of a table that hold `word`, by the first word of each.
fn names<'a>(text: &'a str, word: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.contains(word)).filter_map(|line| line.split_whitespace().next()).collect()
}

const THREE: [&str; 3] = ["anthropic_claude", "google_gemini", "openai_official"];

#[tokio::test]
async fn a_check_names_exactly_the_backend_that_fails_and_its_exit_code_tells() {
    let said = demo(&["check"]).await;
    assert_eq!((said.code, names(&said.out, " failing ")), (Some(1), vec!["problematic_backend"]), "{said:?}");
    assert_eq!(names(&said.out, " healthy "), THREE, "{said:?}");
    assert!(!said.out.contains('\x1b'), "no colours into a file: {said:?}");
    let said = demo(&[&["check", "--streaming", "--serial", "--json", "--backends"][..], &THREE].concat()).await;
    let answers: Vec<Value> = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!((said.code, answers.len()), (Some(0), 3), "{said:?}");
    for answer in &answers {
        assert!(answer["healthy"] == true && answer["status"] == 200, "{answer}");
        assert!(answer["first_token_seconds"].as_f64() <= answer["seconds"].as_f64(), "{answer}");
        assert!(answer["first_token_seconds"].as_f64() > Some(0.0), "{answer}");
    }
}

#[tokio::test]
async fn a_check_of_a_backend_that_is_not_there_says_so() {
    let said = demo(&["check", "--backends", "nobody"]).await;
    assert!(said.code == Some(2) && said.out.contains("backend_not_found"), "{said:?}");
    let said = Tool::start(BINARY, &["check", "--url", "127.0.0.1:3000"], &[]).ended().await;
    assert!(said.code == Some(2) && said.err.contains("http://127.0.0.1:3000"), "{said:?}");
}

#[tokio::test]
async fn a_token_that_may_not_list_backends_has_to_name_them_and_is_told_so() {
    let upstream = Upstream::saying("Well.").await;
    let user = "token = \"plain\"\nmodels = [\"*\"]\nbackends = [\"*\"]\nmay_pin = true";
    let proxy = Proxy::start(&Settings::new().backend("a", upstream.addr).set("users.plain", user)).await;
    let said = tool(&proxy, "plain", &["check"]).await;
    assert!(said.code == Some(2) && said.err.contains("--backends"), "{said:?}");
    let said = tool(&proxy, "plain", &["check", "--backends", "a"]).await;
    assert_eq!((said.code, names(&said.out, " healthy ")), (Some(0), vec!["a"]), "{said:?}");
    let said = tool(&proxy, "plain", &["diagnose", "a"]).await;
    assert!(said.code == Some(2) && said.err.contains("admin"), "{said:?}");
    let said = tool(&proxy, "wrong", &["check"]).await;
    assert!(said.code == Some(2) && said.err.contains("GREENROOM_TOKEN"), "{said:?}");
    let url = format!("http://{}", upstream.addr);
    drop(upstream);
    let said = Tool::start(BINARY, &["check", "--url", &url], &[]).ended().await;
    assert!(said.code == Some(2) && said.err.contains(&url), "who cannot be asked is named: {said:?}");
}

#[tokio::test]
async fn a_benchmark_marks_the_fastest_of_the_sound_ones_and_tells_why_the_others_fail() {
    let said = demo(&["benchmark", "--rounds", "2", "--concurrency", "2", "--streaming"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!((names(&said.out, "2/2"), names(&said.out, "0/2")), (THREE.to_vec(), vec!["problematic_backend"]));
    assert!(matches!(&names(&said.out, "fastest")[..], [one] if THREE.contains(one)), "{said:?}");
    assert_eq!(names(&said.out, "upstream_error"), ["problematic_backend:"], "{said:?}");
}

#[tokio::test]
async fn a_comparison_shows_answers_side_by_side_and_exits_1_if_one_is_missing() {
    let said = demo(&["compare", "--prompt", "What is 2+2?", "--stream"]).await;
    let head = said.out.lines().next().unwrap_or_default();
    assert!(said.code == Some(1) && THREE.iter().all(|name| head.contains(name)), "{said:?}");
    let said = demo(&["compare", "--prompt", "What is 2+2?", "--json", "--backends", "openai_official"]).await;
    let answers: Vec<Value> = serde_json::from_str(&said.out).expect("JSON");
    let [answer] = &answers[..] else { panic!("one answer: {said:?}") };
    assert_eq!((said.code, answer["finish_reason"].as_str()), (Some(0), Some("stop")), "{said:?}");
    assert!(answer["tokens_per_second"].as_f64() > Some(0.0) && answer["served_by"].is_string(), "{answer}");
}

#[tokio::test]
async fn a_diagnosis_names_the_first_step_that_fails_with_a_fix_and_no_secret() {
    let proxy = Launch::demo().start().await;
    for name in THREE {
        let said = tool(&proxy, "your-token", &["diagnose", name]).await;
        assert!(said.code == Some(0) && names(&said.out, " failed ").is_empty(), "{said:?}");
    }
    let said = tool(&proxy, "your-token", &["diagnose", "problematic_backend"]).await;
    assert!(said.code == Some(1) && said.out.contains("the server itself fails"), "{said:?}");
    let key = r#"{"error":{"message":"Bad key: sk-very-secret","type":"auth","code":"invalid_api_key"}}"#;
    let refusing = Upstream::always(Answer::json(401, key)).await;
    let whole = |text: &str| Answer::json(200, &crate::support::script::completion(text));
    let cutting =
        Upstream::start(
            move |_, ask| {
                if ask.wants_stream() { Answer::stream().chunk(sse::text("a")).end() } else { whole("b") }
            },
        );
    let cutting = cutting.await;
    let gone = Upstream::saying("gone").await;
    let settings = Settings::new().backend("refusing", refusing.addr).backend("cutting", cutting.addr);
    let proxy = Proxy::start(&settings.backend("gone", gone.addr)).await;
    drop(gone);
    for (name, failed, fix) in [
        ("refusing", &["credentials", "one"][..], "check api_key"),
        ("cutting", &["stream"], "does not stream as it should"),
        ("gone", &["connect"], "check the port"),
    ] {
        let said = tool(&proxy, TOKEN, &["diagnose", name]).await;
        assert_eq!((said.code, &names(&said.out, " failed ")[..]), (Some(1), failed), "{said:?}");
        assert!(said.out.contains(fix) && !said.out.contains("secret"), "{said:?}");
    }
    let reply = proxy.post("/admin/backends/cutting/diagnose").await.json();
    let steps: Vec<_> = reply["steps"].as_array().into_iter().flatten().filter_map(|s| s["step"].as_str()).collect();
    assert_eq!(steps, ["resolve", "connect", "tls", "credentials", "one token", "stream", "tool call", "usage"]);
    assert_eq!(proxy.post("/admin/backends/nobody/diagnose").await.status(), 404);
}

/// A proxy whose backend `shaky` fails for requests number `from` to `to`, never shut off by a breaker.
async fn shaky(from: usize, to: usize) -> (Upstream, Proxy) {
    let answer = move |n, _: &_| if (from..to).contains(&n) { Answer::json(500, "{}") } else { Answer::says("Well.") };
    let upstream = Upstream::start(answer).await;
    let never = "breaker_failures = 0\nbreaker_min_samples = 1000000";
    let settings = Settings::new().backend("shaky", upstream.addr).set("defaults.backend", never);
    // Each check is one request to the backend.
    let proxy = Proxy::start(&settings.set("failover", "max_attempts = 1")).await;
    (upstream, proxy)
}

#[tokio::test]
async fn a_webhook_hears_of_each_change_once_and_ctrl_c_ends_with_a_summary() {
    let (upstream, proxy) = shaky(2, 7).await;
    let receiver = Upstream::always(Answer::json(200, "{}")).await;
    let (url, hook) = (format!("http://{}", proxy.addr), format!("http://{}/hook", receiver.addr));
    let args =
        ["monitor", "--interval", "0.01", "--failures", "3", "--url", &url, "--token", TOKEN, "--webhook", &hook];
    let monitor = Tool::start(BINARY, &args, &[]);
    upstream.until("checks long after the recovery", |seen| seen.requests.len() > 20).await;
    let lines = monitor.read("out");
    assert!(lines.lines().all(|line| line.contains("  shaky  ")), "plain lines into a file: {lines}");
    assert!(lines.contains("  suspect  ") && lines.contains("  failing  "), "{lines}");
    monitor.interrupt();
    let said = monitor.ended().await;
    let summary = said.out.rsplit_once("\n\n").map(|(_, summary)| summary).unwrap_or_default();
    assert!(said.code == Some(0) && summary.starts_with("BACKEND") && summary.contains("healthy"), "{said:?}");
    let heard: Vec<Value> = receiver.seen(|seen| {
        seen.requests.iter().map(|r| serde_json::from_slice(&r.body).expect("the webhook gets JSON")).collect()
    });
    let texts: Vec<&str> = heard.iter().filter_map(|json| json["text"].as_str()).collect();
    assert!(matches!(texts[..], [ill, well] if ill.starts_with("shaky fails") && well.starts_with("shaky recovered")));
}

#[tokio::test]
async fn a_webhook_that_hangs_holds_up_no_check() {
    let (upstream, proxy) = shaky(1, 2).await;
    let receiver = Upstream::always(Answer::new().hang()).await;
    let (url, hook) = (format!("http://{}", proxy.addr), format!("http://{}/hook", receiver.addr));
    let args = ["monitor", "--interval", "0.01", "--url", &url, "--token", TOKEN, "--webhook", &hook];
    let _monitor = Tool::start(BINARY, &args, &[]);
    receiver.until("a change is told", |seen| seen.busy == 1).await;
    let before = upstream.asked();
    upstream.until("further checks", |seen| seen.requests.len() > before + 20).await;
    assert_eq!(receiver.seen(|seen| (seen.busy, seen.requests.len())), (1, 1), "it hangs still");
}

#[tokio::test]
async fn a_watch_that_learned_nothing_calls_nobody_healthy() {
    let silent = Upstream::always(Answer::new().hang()).await;
    let proxy = Proxy::start(&Settings::new().backend("silent", silent.addr)).await;
    let url = format!("http://{}", proxy.addr);
    let monitor = Tool::start(BINARY, &["monitor", "--url", &url, "--token", TOKEN], &[]);
    silent.until("a check under way", |seen| seen.busy == 1).await;
    monitor.interrupt();
    let said = monitor.ended().await;
    assert!(said.code == Some(1) && !said.out.contains("healthy"), "{said:?}");
}

#[tokio::test]
async fn on_a_terminal_the_table_stays_in_place_and_colours_obey_no_color() {
    let (_upstream, proxy) = shaky(1, 2).await;
    let url = format!("http://{}", proxy.addr);
    let watch = format!("stty cols 60; {BINARY} monitor --interval 0.01 --count 3 --url {url} --token {TOKEN}");
    // `script` gives the command a pseudo-terminal.
    let said = Tool::start("script", &["-qec", &watch, "/dev/null"], &[]).ended().await;
    assert_eq!((said.code, said.out.matches("\x1b[H\x1b[2J").count()), (Some(0), 3), "{said:?}");
    assert!(said.out.contains("\x1b[31mfailing\x1b[0m") && said.out.contains("\x1b[32mhealthy\x1b[0m"), "{said:?}");
    let said = Tool::start("script", &["-qec", &watch, "/dev/null"], &[("NO_COLOR", "1")]).ended().await;
    let plain = said.out.replace("\x1b[H\x1b[2J", "");
    assert!(said.code == Some(0) && plain.contains("healthy") && !plain.contains('\x1b'), "{said:?}");
    assert!(plain.lines().all(|line| line.trim_end().chars().count() <= 60), "{plain}");
}

#[tokio::test]
async fn a_reader_that_leaves_ends_the_watch_and_breaks_nothing() {
    let (_upstream, proxy) = shaky(0, 0).await;
    let url = format!("http://{}", proxy.addr);
    let watch = format!("{BINARY} monitor --interval 0.01 --url {url} --token {TOKEN} | head -n 1");
    let said = Tool::start("sh", &["-c", &watch], &[]).ended().await;
    assert!(said.out.lines().count() == 1 && said.err.is_empty(), "{said:?}");
}

#[tokio::test]
async fn completions_are_scripts_that_the_shell_takes() {
    let load = format!("eval \"$({BINARY} completions bash)\" && complete -p greenroom");
    let said = Tool::start("bash", &["-c", &load], &[]).ended().await;
    assert!(said.code == Some(0) && said.out.contains("greenroom"), "{said:?}");
}

#[tokio::test]
async fn what_greenroom_has_no_room_for_is_no_wrong_question() {
    let upstream = Upstream::saying("Well.").await;
    let user =
        "token = \"plain\"\nmodels = [\"*\"]\nbackends = [\"*\"]\nmay_pin = true\nlimits = { requests_per_day = 2 }";
    let proxy = Proxy::start(&Settings::new().backend("a", upstream.addr).set("users.plain", user)).await;
    let check = async || tool(&proxy, "plain", &["check", "--backends", "a"]).await;
    assert_eq!(check().await.code, Some(0));
    assert_eq!(proxy.post("/admin/backends/a/drain").await.status(), 200);
    let (drained, limited) = (check().await, check().await);
    assert!(drained.code == Some(1) && drained.out.contains(" 503 "), "{drained:?}");
    assert!(limited.code == Some(1) && limited.out.contains(" 429 "), "{limited:?}");
}
