//! The settings file is watched where the settings want it: what has changed in it is in force soon, whole or not at all.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use crate::support::{
    eventually,
    launch::Launch,
    proxy::{Proxy, hello_at},
    settings::Settings,
    upstream::Upstream,
};

fn watching() -> Settings {
    Settings::new().set("server", "watch_every = \"10ms\"")
}

/// Puts another file in the place of the one in force, in one step: of one that is written in place, a test on a busy machine might
/// see half for long enough.
fn replace(proxy: &Proxy, text: &str) {
    let next = proxy.config().with_extension("next");
    fs::write(&next, text).expect("a temporary file can be written");
    fs::rename(next, proxy.config()).expect("a file can be moved");
}

async fn is_served(proxy: &Proxy, backend: &str) -> bool {
    proxy.chat(hello_at(backend)).await.status() == 200
}

async fn until_served(proxy: &Proxy, backend: &str) {
    eventually("the new backend", async || is_served(proxy, backend).await.then_some(())).await;
}

/// Reloads so far: those that failed and those that did not.
async fn reloads(proxy: &Proxy) -> [String; 2] {
    let page = proxy.get("/metrics").await.text();
    ["failure", "success"].map(|result| {
        let name = format!("greenroom_config_reloads_total{{result=\"{result}\"}} ");
        let value = page.lines().find_map(|line| line.strip_prefix(&name));
        value.unwrap_or_else(|| panic!("no {name} in {page}")).to_owned()
    })
}

async fn until_reloads(proxy: &Proxy, wanted: [&str; 2]) {
    eventually("the count of reloads", async || (reloads(proxy).await == wanted).then_some(())).await;
}

#[tokio::test]
async fn a_changed_file_is_installed_and_a_bad_one_leaves_all_as_it_was() {
    let (one, two) = (Upstream::saying("one").await, Upstream::saying("two").await);
    let proxy = Proxy::start(&watching().backend("one", one.addr)).await;
    let both = watching().backend("one", one.addr).backend("two", two.addr).toml();
    replace(&proxy, &both);
    until_served(&proxy, "two").await;
    proxy.logged(&["the settings file has changed"]).await;
    proxy.logged(&["settings installed: added: backends.two; changed: models.m; kept: "]).await;
    replace(&proxy, "[server]\nbind = 7\n");
    proxy.logged(&["not reloaded: ", "; server.bind: "]).await;
    until_reloads(&proxy, ["1", "1"]).await;
    assert!(is_served(&proxy, "one").await && is_served(&proxy, "two").await);
    // The same again as what is in force: it was refused in between, and the metric is to say that all is well.
    replace(&proxy, &both);
    until_reloads(&proxy, ["1", "2"]).await;
    fs::remove_file(proxy.config()).expect("it is there");
    proxy.logged(&["not reloaded: ", "cannot be read"]).await;
    until_reloads(&proxy, ["2", "2"]).await;
    assert!(is_served(&proxy, "two").await);
}

#[tokio::test]
async fn each_bad_file_is_refused_aloud_though_its_fault_is_that_of_the_one_before() {
    let one = Upstream::saying("one").await;
    let good = watching().backend("one", one.addr);
    let proxy = Proxy::start(&good).await;
    let bad = "[server]\nbind = 7\n";
    for (text, wanted) in [
        (bad.to_owned(), ["1", "0"]),
        (format!("{bad}# the same\n"), ["2", "0"]),
        (format!("{}# good\n", good.toml()), ["2", "1"]),
        (bad.to_owned(), ["3", "1"]),
    ] {
        replace(&proxy, &text);
        until_reloads(&proxy, wanted).await;
    }
    assert_eq!(proxy.log().matches("not reloaded: ").count(), 3, "{}", proxy.log());
}

#[tokio::test]
async fn what_an_operator_has_reloaded_is_not_read_again_and_a_dry_run_keeps_nothing_back() {
    let (one, two) = (Upstream::saying("one").await, Upstream::saying("two").await);
    let quiet = Settings::new().backend("one", one.addr);
    let proxy = Proxy::start(&quiet).await;
    // Off unless asked for; turned on by a reload, it takes effect at once.
    replace(&proxy, &watching().backend("one", one.addr).toml());
    assert_eq!(proxy.post("/admin/reload").await.status(), 200);
    // Nothing has changed but what that reload has read.
    replace(&proxy, &watching().backend("one", one.addr).backend("two", two.addr).toml());
    assert_eq!(proxy.post("/admin/reload?dry_run=true").await.status(), 200);
    until_served(&proxy, "two").await;
    until_reloads(&proxy, ["0", "2"]).await;
    // And off again.
    replace(&proxy, &quiet.toml());
    until_reloads(&proxy, ["0", "3"]).await;
    assert_eq!(proxy.chat(hello_at("two")).await.status(), 400);
}

#[tokio::test]
async fn a_look_that_hangs_is_given_up_and_a_later_one_sees_what_stands_there_then() {
    let (one, two) = (Upstream::saying("one").await, Upstream::saying("two").await);
    let mut proxy = Proxy::start(&watching().backend("one", one.addr)).await;
    // A pipe into which nobody writes: who opens it to read waits.
    let pipe = proxy.config().with_extension("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.is_ok_and(|status| status.success()), "a pipe can be made");
    fs::rename(&pipe, proxy.config()).expect("a pipe can be moved");
    proxy.logged(&["the settings file could not be looked at within 5 s"]).await;
    assert!(is_served(&proxy, "one").await);
    replace(&proxy, &watching().backend("one", one.addr).backend("two", two.addr).toml());
    until_served(&proxy, "two").await;
    // The looks that hang hold up no end.
    proxy.signal("TERM");
    assert_eq!(proxy.ended().await.code(), Some(0));
}

/// A volume as Kubernetes mounts one: the file is a link through `..data`, which is moved to the next version in one step.
fn publish(volume: &Path, version: &str, text: &str) {
    let folder = volume.join(version);
    fs::create_dir(&folder).expect("a folder can be made");
    fs::write(folder.join("greenroom.toml"), text).expect("a temporary file can be written");
    symlink(version, volume.join("..next")).expect("a link can be made");
    fs::rename(volume.join("..next"), volume.join("..data")).expect("a link can be moved");
}

#[tokio::test]
async fn a_config_map_that_kubernetes_has_swapped_is_installed() {
    let (one, two) = (Upstream::saying("one").await, Upstream::saying("two").await);
    let volume = tempfile::tempdir().expect("a temporary directory can be made");
    publish(volume.path(), "..v1", &watching().backend("one", one.addr).toml());
    let launch = Launch::new(&Settings::new());
    let config = launch.config();
    fs::remove_file(&config).expect("it is there");
    symlink(volume.path().join("..data/greenroom.toml"), &config).expect("a link can be made");
    let proxy = launch.start().await;
    publish(volume.path(), "..v2", &watching().backend("one", one.addr).backend("two", two.addr).toml());
    until_served(&proxy, "two").await;
    until_reloads(&proxy, ["0", "1"]).await;
}

#[tokio::test]
async fn where_there_is_no_file_a_wish_to_watch_it_is_answered() {
    let proxy = Launch::demo().env("GREENROOM__SERVER__WATCH_EVERY", "10ms").start().await;
    proxy.logged(&["server.watch_every does nothing", "without a settings file"]).await;
}

#[tokio::test]
async fn a_reload_where_there_is_no_file_is_a_warning_and_no_error() {
    let proxy = Launch::demo().start().await;
    proxy.signal("HUP");
    proxy.logged(&["WARN", "not reloaded", "without a settings file"]).await;
}
