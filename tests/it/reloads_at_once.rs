//! Reloads that are asked for at once, or of a file that cannot be read to its end: what is in force at last is what the file says at
//! last, and nobody else waits for it.

use std::{
    fs::{self, File},
    io::Write,
    process::Command,
    time::Duration,
};

use tokio::{task::spawn_blocking, time::sleep};

use crate::support::{
    client::{Ask, Connection},
    eventually,
    proxy::{Proxy, hello_at},
    settings::{Settings, TOKEN},
    upstream::Upstream,
};

/// Puts a settings file into place whose reader waits for its writer.
fn make_pipe(proxy: &Proxy) {
    fs::remove_file(proxy.config()).expect("it is there");
    assert!(Command::new("mkfifo").arg(proxy.config()).status().is_ok_and(|status| status.success()));
}

/// Puts another settings file into the place of what stands there.
fn replace(proxy: &Proxy, settings: &Settings) {
    let newer = proxy.config().with_extension("new");
    fs::write(&newer, settings.toml()).expect("writable");
    fs::rename(newer, proxy.config()).expect("the same folder");
}

#[tokio::test]
async fn of_two_reloads_at_once_the_one_that_read_first_installs_first() {
    let (one, two) = (Upstream::saying("one").await, Upstream::saying("two").await);
    let older = Settings::new().backend("one", one.addr);
    let proxy = Proxy::start(&older).await;
    make_pipe(&proxy);
    let mut slow = Connection::open(proxy.addr).await;
    slow.send(&Ask::post("/admin/reload", "").bearer(TOKEN)).await;
    let path = proxy.config();
    let opened = spawn_blocking(move || File::options().write(true).open(path));
    let mut writer = opened.await.expect("no panic").expect("it is being read");
    replace(&proxy, &older.clone().backend("two", two.addr));
    proxy.signal("HUP");
    // Nothing tells that it waits; a reload that does not is done by then.
    sleep(Duration::from_millis(500)).await;
    writer.write_all(older.toml().as_bytes()).expect("it is being read");
    drop(writer);
    assert_eq!(slow.reply().await.status(), 200);
    let installed = || proxy.log().matches("settings installed").count();
    eventually("both are installed", async || (installed() == 2).then_some(())).await;
    assert_eq!(proxy.chat(hello_at("two")).await.status(), 200);
}

#[tokio::test]
async fn a_file_that_nobody_can_read_to_its_end_holds_up_neither_operators_nor_the_end() {
    let (one, two) = (Upstream::saying("one").await, Upstream::saying("two").await);
    let settings = Settings::new().backend("one", one.addr);
    let mut proxy = Proxy::start(&settings).await;
    make_pipe(&proxy);
    let mut asking = Connection::open(proxy.addr).await;
    asking.send(&Ask::post("/admin/reload", "").bearer(TOKEN)).await;
    assert_eq!(proxy.report("one").await["state"], "healthy");
    let reply = asking.reply().await;
    assert_eq!((reply.status(), reply.error("code").as_str()), (409, "conflict"), "{reply:?}");
    assert!(reply.error("message").contains("could not be read within 5 s"), "{reply:?}");
    replace(&proxy, &settings.backend("two", two.addr));
    assert_eq!(proxy.post("/admin/reload").await.status(), 200);
    assert_eq!(proxy.chat(hello_at("two")).await.status(), 200);
    make_pipe(&proxy);
    proxy.signal("HUP");
    proxy.signal("TERM");
    assert_eq!(proxy.ended().await.code(), Some(0));
}
