//! Files with keys that cannot be read to their end, or not now: none of them holds up another, the start or a reload.

use std::{
    fs,
    io::Read,
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::{
    keys::{NEW, OLD, key_of, keyed, lines, until_in_use},
    support::{eventually, process::run, proxy::Proxy, settings::Settings, upstream::Upstream, volume::Volume},
};

#[tokio::test]
async fn a_pipe_in_the_place_of_one_key_holds_up_no_other() {
    let (one, two) = (Upstream::saying("hi").await, Upstream::saying("hi").await);
    let [first, second] = [OLD, OLD].map(Volume::with);
    let settings = keyed(&one, &first.file())
        .set("backends.two", &lines(&two, &second.file()))
        .set("models.n", "backends = [{ backend = \"two\" }]");
    let proxy = Proxy::start(&settings).await;
    fs::remove_file(second.file()).expect("it is there");
    let made = Command::new("mkfifo").arg(second.file()).status();
    assert!(made.is_ok_and(|status| status.success()), "a pipe can be made");
    proxy.logged(&["WARN", "backends.two.api_key_file: has to name a regular file"]).await;
    first.publish(NEW);
    proxy.logged(&["settings installed: changed: backends.one"]).await;
    assert_eq!((proxy.hello().await.status(), key_of(&one.last()).as_str()), (200, NEW));
    assert_eq!(proxy.post("/admin/reload").await.status(), 400, "the settings are not in order, and say so at once");
}

#[tokio::test]
async fn a_key_file_that_hangs_holds_up_no_other_and_is_told_of_once_until_it_can_be_read_again() {
    let (one, two) = (Upstream::saying("hi").await, Upstream::saying("hi").await);
    let [first, second] = [OLD, OLD].map(Volume::with);
    let settings = keyed(&one, &first.file())
        .set("backends.two", &lines(&two, &second.file()))
        .set("backends.three", &lines(&two, &second.file()))
        .set("models.n", "backends = [{ backend = \"two\" }, { backend = \"three\" }]");
    let proxy = Proxy::start(&settings).await;
    let hanging = hang(&second.file());
    let late =
        |name| ["WARN", name, "names a file that could not be read within 3 s", "the key read before stays in use"];
    proxy.logged(&late("backends.two.api_key_file")).await;
    proxy.logged(&late("backends.three.api_key_file")).await;
    let fault = proxy.report("two").await["key_fault"].as_str().unwrap_or_default().to_owned();
    assert!(fault.contains("could not be read"), "{fault}");
    assert!(proxy.report("one").await.get("key_fault").is_none());
    for (n, key) in ["second", "third", NEW].into_iter().enumerate() {
        first.publish(key);
        until_in_use(&proxy, n + 1).await;
    }
    assert_eq!((proxy.hello().await.status(), key_of(&one.last()).as_str()), (200, NEW));
    // Whoever asks is told at once which file it is.
    let reply = proxy.post("/admin/reload").await;
    assert_eq!(reply.status(), 400, "{reply:?}");
    let said = reply.error("message");
    assert!(said.contains("backends.two.api_key_file: names a file that could not be read within 3 s"), "{said}");
    let (dir, config) = (tempfile::tempdir().expect("a temporary directory can be made"), proxy.config());
    let started = run(dir.path(), &["serve", "--config", &config.display().to_string()], "").await;
    assert_eq!(started.code, Some(75), "{started:?}");
    assert!(started.err.contains("2 problems") && started.err.contains("backends.three.api_key_file"), "{started:?}");
    eventually("a single thread that hangs", async || (proxy.threads("key") == 1).then_some(())).await;
    drop(hanging);
    proxy.until("two", "a file without fault", |report| report.get("key_fault").is_none()).await;
    let warned = |line: &&str| line.contains("WARN") && line.contains("could not be read within");
    assert_eq!(proxy.log().lines().filter(warned).count(), 2, "{}", proxy.log());
    assert_eq!(proxy.post("/admin/reload").await.status(), 200);
}

#[tokio::test]
async fn a_reload_names_all_files_that_hang_and_installs_nothing_of_settings_that_need_them() {
    let one = Upstream::saying("hi").await;
    let [first, second, third] = [OLD; 3].map(Volume::with);
    let settings = Settings::new().backend("one", one.addr);
    let proxy = Proxy::start(&settings).await;
    let hanging = [&second, &third].map(|volume| hang(&volume.file()));
    let more = keyed(&one, &first.file())
        .set("backends.two", &lines(&one, &second.file()))
        .set("backends.three", &lines(&one, &third.file()))
        .set("models.n", "backends = [{ backend = \"two\" }, { backend = \"three\" }]");
    proxy.rewrite(&more.toml());
    let reply = proxy.post("/admin/reload").await;
    let said = reply.error("message");
    assert!(said.contains("2 problems in the settings"), "{reply:?}");
    for name in ["two", "three"] {
        assert!(said.contains(&format!("backends.{name}.api_key_file: names a file that could not be read")), "{said}");
    }
    assert_eq!((proxy.hello().await.status(), proxy.get("/admin/backends/two").await.status()), (200, 404));
    drop(hanging);
    eventually("both files again", async || (proxy.post("/admin/reload").await.status() == 200).then_some(())).await;
}

#[tokio::test]
async fn a_fault_of_a_file_is_told_no_more_once_the_key_stands_in_the_settings() {
    let one = Upstream::saying("hi").await;
    let volume = Volume::with(OLD);
    let settings = keyed(&one, &volume.file());
    let proxy = Proxy::start(&settings).await;
    fs::remove_file(volume.file()).expect("it is there");
    proxy.until("one", "a file with a fault", |report| !report["key_fault"].is_null()).await;
    let line = format!("api_key_file = \"{}\"", volume.file().display());
    proxy.rewrite(&settings.toml().replace(&line, &format!("api_key = \"{OLD}\"")));
    assert_eq!(proxy.post("/admin/reload").await.status(), 200);
    proxy.until("one", "no fault", |report| report["key_fault"].is_null()).await;
}

/// Makes reading this file wait, as on a network's file system that is away, until what is returned is dropped. The kernel asks whoever
/// holds a lease on a file before others may open it, and waits for three quarters of a minute.
fn hang(file: &Path) -> Child {
    let text = "import fcntl, os, signal, sys\n\
        signal.signal(signal.SIGIO, signal.SIG_IGN)\n\
        fcntl.fcntl(os.open(sys.argv[1], os.O_RDWR), fcntl.F_SETLEASE, fcntl.F_WRLCK)\n\
        print(flush=True)\n\
        sys.stdin.read()";
    let mut command = Command::new("python3");
    command.args(["-c", text]).arg(file).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut holder = command.spawn().expect("Python is there");
    let mut said = [0];
    holder.stdout.take().expect("it is piped").read_exact(&mut said).expect("the lease is taken");
    holder
}
