//! Owns how the proxy under test is started: the real binary, its settings file, its surroundings.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use tempfile::TempDir;

use super::{
    eventually,
    process::{Process, Said, Text, collect, finish},
    proxy::Proxy,
    settings::Settings,
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
        let config = config(&launch.dir);
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
    pub(crate) fn files(self, most: usize) -> Self {
        self.limited(&format!("--nofile={most}:{most}"))
    }

    /// Lets it have no more than so many bytes of addresses.
    pub(crate) fn addresses(self, most: usize) -> Self {
        self.limited(&format!("--as={most}:{most}"))
    }

    fn limited(mut self, limit: &str) -> Self {
        let mut limited = Command::new("prlimit");
        limited.arg(limit).arg(self.command.get_program()).args(self.command.get_args());
        limited.current_dir(self.dir.path());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => limited.env(name, value),
                None => limited.env_remove(name),
            };
        }
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
        let (child, addr) = (Process::of(child), ([127, 0, 0, 1], 0).into());
        let mut proxy = Proxy { child, addr, said, log, dir: self.dir };
        eventually("the first words of the proxy", async || {
            let ended = proxy.child.status();
            assert!(ended.is_none(), "the proxy ended instead of listening: {ended:?}");
            proxy.said().contains('\n').then_some(())
        })
        .await;
        proxy.addr = proxy.announced("greenroom listening on http://").await;
        proxy
    }

    /// Starts it and waits until it has ended by itself.
    pub(crate) async fn until_ended(self) -> Said {
        finish(self.command, self.dir.path(), "").await
    }

    /// The settings file that it will read.
    pub(crate) fn config(&self) -> PathBuf {
        config(&self.dir)
    }

    fn write(&self, settings: &Settings) {
        std::fs::write(config(&self.dir), settings.toml()).expect("a temporary file can be written");
    }
}

/// The settings file of a proxy that runs in this folder.
pub(super) fn config(dir: &TempDir) -> PathBuf {
    dir.path().join("greenroom.toml")
}
