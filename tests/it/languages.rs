//! Which language the operators' subcommands speak.

use crate::{
    support::{launch::Launch, process::Said, proxy::Proxy, script::Answer, settings::TOKEN, upstream::Upstream},
    tools::{BINARY, Tool},
};

const ZH: &str = "zh_CN.UTF-8";

/// Runs a subcommand against the demo under these words of the environment.
async fn said(proxy: &Proxy, args: &[&str], words: &[(&str, &str)]) -> Said {
    let url = format!("http://{}", proxy.addr);
    let env = [&[("GREENROOM_URL", &*url), ("GREENROOM_TOKEN", "your-token")], words].concat();
    Tool::start(BINARY, args, &env).ended().await
}

#[tokio::test]
async fn chinese_is_spoken_where_it_is_asked_for_or_the_environment_says_so() {
    let proxy = Launch::demo().start().await;
    for (args, words) in [
        (&["check"][..], &[("LANG", ZH)][..]),
        (&["check"], &[("LANG", "C"), ("LC_MESSAGES", ZH)]),
        (&["check"], &[("LANG", ZH), ("LC_ALL", ""), ("LC_MESSAGES", "")]),
        (&["check"], &[("LANG", "C"), ("LC_MESSAGES", "C"), ("LC_ALL", ZH)]),
        (&["check", "--lang", "zh"], &[("LC_ALL", "C")]),
        (&["monitor", "--once", "--lang", "zh"], &[]),
        (&["benchmark", "--rounds", "1", "--lang", "zh"], &[]),
    ] {
        let said = said(&proxy, args, words).await;
        assert!(said.out.starts_with("后端") && !said.out.contains("BACKEND"), "{args:?} {words:?}: {said:?}");
    }
    for words in [&[("LANG", ZH), ("LC_ALL", "C")][..], &[("LANG", ZH), ("LC_MESSAGES", "en_GB.UTF-8")]] {
        let said = said(&proxy, &["check"], words).await;
        assert!(said.out.starts_with("BACKEND"), "{words:?}: {said:?}");
    }
}

#[tokio::test]
async fn what_the_tool_itself_has_to_say_of_a_failure_is_said_in_chinese_too() {
    let proxy = Launch::demo().start().await;
    for (args, words, meant) in [
        (&["check", "--url", "http://127.0.0.1:1"][..], "127.0.0.1:1", "无法"),
        (&["check", "--token", "guest-token"], "--backends", "令牌"),
        (&["check", "--token", "nobodys"], "GREENROOM_TOKEN", "令牌"),
    ] {
        let said = said(&proxy, args, &[("LANG", ZH)]).await;
        let all = said.out.clone() + &said.err;
        assert!(all.contains(words) && all.contains(meant), "{args:?}: {said:?}");
    }
}

#[tokio::test]
async fn that_a_backend_does_not_answer_in_time_is_said_in_chinese_too() {
    let hangs = Upstream::always(Answer::new().hang()).await;
    let proxy = Proxy::before(&hangs).await;
    let args = ["check", "--model", "m", "--backends", "one", "--timeout", "0.5", "--token", TOKEN];
    let said = said(&proxy, &args, &[("LANG", ZH)]).await;
    assert!(said.out.contains("没有完整的回答，已等 500ms") && said.code == Some(1), "{said:?}");
}
