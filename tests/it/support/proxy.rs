//! Owns the proxy under test: the real binary as a process of its own, its words, its signals, its end.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    thread,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;

use super::{
    client::{self, Ask, Connection, Reply},
    eventually,
    settings::{Settings, TOKEN},
    within,
};

/// What to start.
#[derive(Debug)]
pub(crate) struct Launch {
    command: Command,
    unread: bool,
    dir: TempDir,
}

impl Launch {
    /// `greenroom serve --config FILE` with these settings, on a free port.
    pub(crate) fn new(settings: &Settings) -> Self {
        let mut launch = Self::bare();
        launch.write(settings);
        let config = launch.config();
        launch.command.args(["serve", "--bind", "127.0.0.1:0", "--config"]).arg(config);
        launch
    }

    /// `greenroom serve --demo` on a free port.
    pub(crate) fn demo() -> Self {
        let mut launch = Self::bare();
        launch.command.args(["serve", "--demo", "--bind", "127.0.0.1:0"]);
        launch
    }

    fn bare() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let mut command = Command::new(env!("CARGO_BIN_EXE_greenroom"));
        command.current_dir(dir.path()).env("RUST_LOG", "info").env_remove("RUST_BACKTRACE");
        Self { command, unread: false, dir }
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Leaves its log to fill the pipe.
    pub(crate) fn unread(mut self) -> Self {
        self.unread = true;
        self
    }

    /// Lets it have no more than this many open files.
    pub(crate) fn files(mut self, most: usize) -> Self {
        let mut limited = Command::new("prlimit");
        limited.arg(format!("--nofile={most}:{most}")).arg(self.command.get_program()).args(self.command.get_args());
        limited.current_dir(self.dir.path()).env("RUST_LOG", "info").env_remove("RUST_BACKTRACE");
        self.command = limited;
        self
    }

    /// Starts it and waits until it listens.
    pub(crate) async fn start(mut self) -> Proxy {
        let mut child = self
            .command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let said = collect(child.stdout.take().expect("stdout is piped"));
        let log = if self.unread { Text::default() } else { collect(child.stderr.take().expect("stderr is piped")) };
        let config = self.config();
        let (child, addr) = (Process(child), ([127, 0, 0, 1], 0).into());
        let mut proxy = Proxy { child, addr, said, log, config, dir: self.dir };
        eventually("the first words of the proxy", async || {
            let ended = proxy.child.0.try_wait().expect("it is our child");
            assert!(ended.is_none(), "the proxy ended instead of listening: {ended:?}");
            proxy.said().contains('\n').then_some(())
        })
        .await;
        proxy.addr = proxy.announced("greenroom listening on http://").await;
        proxy
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("greenroom.toml")
    }

    fn write(&self, settings: &Settings) {
        std::fs::write(self.config(), settings.toml()).expect("a temporary file can be written");
    }
}

/// The proxy. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Where clients connect.
    pub(crate) addr: SocketAddr,
    child: Process,
    said: Text,
    log: Text,
    config: PathBuf,
    dir: TempDir,
}

type Text = Arc<watch::Sender<String>>;

impl Proxy {
    /// Starts one with these settings.
    pub(crate) async fn start(settings: &Settings) -> Self {
        Launch::new(settings).start().await
    }

    /// The settings file.
    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("greenroom.toml")
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
        std::fs::write(&self.config, text).expect("a temporary file can be written");
    }

    /// Sends a signal by name, for example `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.child.0.id())).status();
        assert!(sent.is_ok_and(|status| status.success()), "signal {name} could not be sent");
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        self.child.ended().await
    }

    /// Files it has open.
    pub(crate) fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.0.id())).expect("it runs").count()
    }

    /// Resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.0.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
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

/// The smallest chat request.
pub(crate) const HELLO: &str = r#"{"model":"m","messages":[{"role":"user","content":"Hello!"}]}"#;

/// The smallest chat request for a stream.
pub(crate) const HELLO_STREAM: &str = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"Hello!"}]}"#;

/// The smallest chat request, pinned.
pub(crate) fn hello_at(backend: &str) -> String {
    json!({"model": "m", "messages": [{"role": "user", "content": "Hello!"}], "backend": backend}).to_string()
}

/// What a command that ends by itself had to say.
#[derive(Debug)]
pub(crate) struct Said {
    /// Exit code.
    pub(crate) code: Option<i32>,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

/// Runs `greenroom` with `args` in `dir` until it ends.
pub(crate) async fn run(dir: &Path, args: &[&str], input: &str) -> Said {
    let [given, out, err] = ["stdin", "stdout", "stderr"].map(|name| dir.join(name));
    std::fs::write(&given, input).expect("a temporary file can be written");
    let file = |path: &Path| File::create(path).expect("a temporary file can be made");
    let child = Command::new(env!("CARGO_BIN_EXE_greenroom"))
        .args(args)
        .current_dir(dir)
        .stdin(File::open(&given).expect("it was written a moment ago"))
        .stdout(file(&out))
        .stderr(file(&err))
        .spawn();
    let mut process = Process(child.expect("the binary starts"));
    let status = process.ended().await;
    let text = |path: &Path| std::fs::read_to_string(path).expect("it speaks UTF-8");
    Said { code: status.code(), out: text(&out), err: text(&err) }
}

/// A child that does not outlive its test.
#[derive(Debug)]
struct Process(Child);

impl Process {
    async fn ended(&mut self) -> ExitStatus {
        eventually("the end of the process", async || self.0.try_wait().expect("it is our child")).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn collect(from: impl Read + Send + 'static) -> Text {
    let text = Text::default();
    let sink = text.clone();
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            sink.send_modify(|text| {
                text.push_str(&line);
                text.push('\n');
            });
        }
    });
    text
}

async fn line(text: &Text, words: &[&str]) -> String {
    let found = |text: &str| {
        let line = text.lines().find(|line| words.iter().all(|word| line.contains(word)))?;
        Some(line.to_owned())
    };
    let mut text = text.subscribe();
    let text = within(&format!("a line with {words:?}"), text.wait_for(|text| found(text).is_some())).await;
    text.ok().and_then(|text| found(&text)).expect("it was found a moment ago")
}
