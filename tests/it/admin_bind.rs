//! Operators' endpoints on a listener of their own, and the subcommands that need both addresses.

use std::net::SocketAddr;

use crate::support::{
    client::{Ask, ask},
    process::{Said, run},
    proxy::Proxy,
    settings::{Settings, TOKEN},
    upstream::Upstream,
};

/// A proxy with both listeners.
async fn stage() -> (Upstream, Proxy, SocketAddr) {
    let upstream = Upstream::saying("Well.").await;
    let user = "token = \"plain\"\nmodels = [\"*\"]\nbackends = [\"*\"]\nmay_pin = true";
    let settings = Settings::new()
        .backend("a", upstream.addr)
        .backend("b", upstream.addr)
        .set("users.plain", user)
        .set("defaults.backend", "ask_usage = false");
    let proxy = Proxy::start(&settings.set("server", "admin_bind = \"127.0.0.1:0\"")).await;
    let operators = proxy.announced("admin and metrics on http://").await;
    (upstream, proxy, operators)
}

async fn tool(url: SocketAddr, admin: Option<SocketAddr>, token: &str, args: &[&str]) -> Said {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let (url, admin) = (format!("http://{url}"), admin.map(|addr| format!("http://{addr}")));
    let mut args = [args, &["--url", &url, "--token", token]].concat();
    if let Some(admin) = &admin {
        args.extend(["--admin-url", admin]);
    }
    run(dir.path(), &args, "").await
}

const ASKING: [&[&str]; 4] =
    [&["check"], &["monitor", "--once"], &["compare", "--prompt", "Hm?"], &["benchmark", "--rounds", "1"]];

#[tokio::test]
async fn commands_that_need_both_addresses_take_both() {
    let (_upstream, proxy, operators) = stage().await;
    for args in ASKING.into_iter().chain([&["diagnose", "a"][..], &["history"]]) {
        let said = tool(proxy.addr, Some(operators), TOKEN, args).await;
        assert!(said.code == Some(0) && said.err.is_empty(), "{args:?}: {said:?}");
    }
}

#[tokio::test]
async fn a_request_in_the_name_of_two_operators_is_nobodys_there_either() {
    let (_upstream, _proxy, operators) = stage().await;
    for path in ["/admin/backends", "/admin/users"] {
        let get = || Ask::new("GET", path);
        let twice = [get().bearer(TOKEN).bearer("plain"), get().header("x-api-key", TOKEN).header("x-api-key", TOKEN)];
        for twice in twice {
            let reply = ask(operators, &twice).await;
            assert_eq!((reply.status(), reply.error("code").as_str()), (400, "bad_request"), "{reply:?}");
        }
        assert_eq!(ask(operators, &get().bearer(TOKEN)).await.status(), 200);
        assert_eq!(ask(operators, &get().bearer("plain")).await.status(), 403);
        assert_eq!(ask(operators, &get()).await.status(), 401);
    }
}

#[tokio::test]
async fn backends_that_are_named_need_no_second_address() {
    let (_upstream, proxy, _) = stage().await;
    for token in [TOKEN, "plain"] {
        for args in ASKING {
            let said = tool(proxy.addr, None, token, &[args, &["--backends", "a", "b"]].concat()).await;
            assert_eq!(said.code, Some(0), "{args:?}: {said:?}");
        }
    }
}

#[tokio::test]
async fn who_gives_the_wrong_address_or_one_too_few_is_told_which() {
    let (upstream, proxy, operators) = stage().await;
    for args in ASKING {
        let said = tool(proxy.addr, None, TOKEN, args).await;
        let told = ["--admin-url", "server.admin_bind", "--backends"].iter().all(|word| said.err.contains(word));
        assert!(said.code == Some(2) && told, "{args:?}: {said:?}");
        let said = tool(operators, None, TOKEN, args).await;
        let told = ["--admin-url", "server.admin_bind", "--url"].iter().all(|word| said.err.contains(word));
        assert!(said.code == Some(2) && told, "{args:?}: {said:?}");
    }
    assert_eq!(upstream.asked(), 0);
    for args in [&["diagnose", "a"][..], &["history"]] {
        let said = tool(proxy.addr, None, TOKEN, args).await;
        assert!(said.code == Some(2) && said.err.contains("--admin-url"), "{args:?}: {said:?}");
        assert_eq!(tool(operators, None, TOKEN, args).await.code, Some(0), "{args:?}");
    }
}
