//! Reloads that are asked for at once: what is in force at last is what the file says at last.

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

#[tokio::test]
async fn of_two_reloads_at_once_the_one_that_read_first_installs_first() {
    let (one, two) = (Upstream::saying("one").await, Upstream::saying("two").await);
    let older = Settings::new().backend("one", one.addr);
    let proxy = Proxy::start(&older).await;
    // A settings file whose reader waits for its writer.
    fs::remove_file(proxy.config()).expect("it is there");
    assert!(Command::new("mkfifo").arg(proxy.config()).status().is_ok_and(|status| status.success()));
    let mut slow = Connection::open(proxy.addr).await;
    slow.send(&Ask::post("/admin/reload", "").bearer(TOKEN)).await;
    let path = proxy.config();
    let opened = spawn_blocking(move || File::options().write(true).open(path));
    let mut writer = opened.await.expect("no panic").expect("it is being read");
    let newer = proxy.config().with_extension("new");
    fs::write(&newer, older.clone().backend("two", two.addr).toml()).expect("writable");
    fs::rename(newer, proxy.config()).expect("the same folder");
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
