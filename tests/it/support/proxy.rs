//! Owns the proxy under test as it runs: what it is asked, its words, its signals, its end.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{Command, ExitStatus},
    thread,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    client::{self, Ask, Connection, Reply},
    eventually,
    launch::{Launch, config},
    process::{Process, Text, line},
    settings::{Settings, TOKEN},
    upstream::Upstream,
};

/// The proxy. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Where clients connect.
    pub(crate) addr: SocketAddr,
    pub(super) child: Process,
    pub(super) said: Text,
    pub(super) log: Text,
    pub(super) dir: TempDir,
}

impl Proxy {
    /// Starts one with these settings.
    pub(crate) async fn start(settings: &Settings) -> Self {
        Launch::new(settings).start().await
    }

    /// Starts one in front of this backend, `one`.
    pub(crate) async fn before(one: &Upstream) -> Self {
        Self::start(&Settings::new().backend("one", one.addr)).await
    }

    /// The settings file.
    pub(crate) fn config(&self) -> PathBuf {
        config(&self.dir)
    }

    /// A chat request of the user `tester`, and the whole answer.
    pub(crate) async fn chat(&self, body: impl Into<Vec<u8>>) -> Reply {
        self.ask(&Ask::chat(body).bearer(TOKEN)).await
    }

    /// Asks the model `m` for a whole answer.
    pub(crate) async fn hello(&self) -> Reply {
        self.chat(HELLO).await
    }

    /// Sends a chat request of the user `tester`; the answer is the caller's to read.
    pub(crate) async fn begin(&self, body: impl Into<Vec<u8>>) -> Connection {
        let mut connection = Connection::open(self.addr).await;
        connection.send(&Ask::chat(body).bearer(TOKEN)).await;
        connection
    }

    /// A request of the user `tester` with a JSON body, and the whole answer.
    pub(crate) async fn send(&self, path: &str, body: &(impl ToString + ?Sized)) -> Reply {
        self.ask(&Ask::post(path, body.to_string()).bearer(TOKEN)).await
    }

    /// Any request on a connection of its own.
    pub(crate) async fn ask(&self, ask: &Ask) -> Reply {
        client::ask(self.addr, ask).await
    }

    /// `GET` as the user `tester`.
    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.ask(&Ask::new("GET", path).bearer(TOKEN)).await
    }

    /// `POST` as the user `tester`.
    pub(crate) async fn post(&self, path: &str) -> Reply {
        self.ask(&Ask::new("POST", path).bearer(TOKEN)).await
    }

    /// What the operators' endpoint says of a backend.
    pub(crate) async fn report(&self, backend: &str) -> Value {
        let reply = self.get(&format!("/admin/backends/{backend}")).await;
        assert_eq!(reply.status(), 200, "{reply:?}");
        reply.json()
    }

    /// Waits until a backend's report is as wanted, and returns it.
    pub(crate) async fn until(&self, backend: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(what, async || Some(self.report(backend).await).filter(&wanted)).await
    }

    /// Everything logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.borrow().clone()
    }

    /// Waits for a log line with all of these words, and returns it.
    pub(crate) async fn logged(&self, words: &[&str]) -> String {
        line(&self.log, words).await
    }

    /// Waits for an address in the words on stdout.
    pub(crate) async fn announced(&self, words: &str) -> SocketAddr {
        let line = line(&self.said, &[words]).await;
        let addr = line.trim_start_matches(words).trim();
        addr.parse().unwrap_or_else(|_| panic!("no address in {line:?}"))
    }

    /// Everything said on stdout so far.
    pub(crate) fn said(&self) -> String {
        self.said.borrow().clone()
    }

    /// Writes another settings file over the one in force; nothing is told to the proxy.
    pub(crate) fn rewrite(&self, text: &str) {
        std::fs::write(self.config(), text).expect("a temporary file can be written");
    }

    /// Sends a signal by name, for example `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.child.id())).status();
        assert!(sent.is_ok_and(|status| status.success()), "signal {name} could not be sent");
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        self.child.ended().await
    }

    /// Files it has open.
    pub(crate) fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("it runs").count()
    }

    /// How many threads of this name it has.
    pub(crate) fn threads(&self, name: &str) -> usize {
        let all = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("the process is there").flatten();
        // Some end meanwhile.
        let names = all.filter_map(|thread| std::fs::read_to_string(thread.path().join("comm")).ok());
        names.filter(|own| own.trim() == name).count()
    }

    /// Resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        self.kib("VmRSS:")
    }

    /// The most that it ever was, in KiB.
    pub(crate) fn peak_kib(&self) -> u64 {
        self.kib("VmHWM:")
    }

    fn kib(&self, of: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(of)).expect("it has memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number of KiB")
    }
}

impl Drop for Proxy {
    #[expect(clippy::print_stderr, reason = "the log of the proxy is what explains a failed test")]
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- log of the proxy ---\n{}", self.log());
        }
    }
}

/// A backend that says `hi`, and a proxy in front of it with these lines of `server`.
pub(crate) async fn stage(server: &str) -> (Upstream, Proxy) {
    let upstream = Upstream::saying("hi").await;
    let proxy = Proxy::start(&Settings::new().set("server", server).backend("one", upstream.addr)).await;
    (upstream, proxy)
}

/// The smallest chat request.
pub(crate) const HELLO: &str = r#"{"model":"m","messages":[{"role":"user","content":"Hello!"}]}"#;

/// The smallest chat request for a stream.
pub(crate) const HELLO_STREAM: &str = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"Hello!"}]}"#;

/// The smallest chat request, pinned.
pub(crate) fn hello_at(backend: &str) -> String {
    json!({"model": "m", "messages": [{"role": "user", "content": "Hello!"}], "backend": backend}).to_string()
}
