//! Owns processes of the binary: what they say, that they end, that none outlives its test.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, ExitStatus},
    sync::Arc,
    thread,
};

use tokio::sync::watch;

use super::{eventually, within};

/// What a process has said so far.
pub(super) type Text = Arc<watch::Sender<String>>;

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
    let mut command = Command::new(env!("CARGO_BIN_EXE_greenroom"));
    command.args(args).current_dir(dir);
    finish(command, dir, input).await
}

/// Runs a command until it ends; what it says is kept in `dir`.
pub(super) async fn finish(mut command: Command, dir: &Path, input: &str) -> Said {
    let [given, out, err] = ["stdin", "stdout", "stderr"].map(|name| dir.join(name));
    std::fs::write(&given, input).expect("a temporary file can be written");
    let file = |path: &Path| File::create(path).expect("a temporary file can be made");
    let child = command
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
pub(super) struct Process(Child);

impl Process {
    pub(super) fn of(child: Child) -> Self {
        Self(child)
    }

    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }

    /// How it ended, if it has.
    pub(super) fn status(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("it is our child")
    }

    pub(super) async fn ended(&mut self) -> ExitStatus {
        eventually("the end of the process", async || self.status()).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a process says, line by line, as it comes.
pub(super) fn collect(from: impl Read + Send + 'static) -> Text {
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

/// Waits for a line with all of these words.
pub(super) async fn line(text: &Text, words: &[&str]) -> String {
    let found = |text: &str| {
        let line = text.lines().find(|line| words.iter().all(|word| line.contains(word)))?;
        Some(line.to_owned())
    };
    let mut text = text.subscribe();
    let text = within(&format!("a line with {words:?}"), text.wait_for(|text| found(text).is_some())).await;
    text.ok().and_then(|text| found(&text)).expect("it was found a moment ago")
}
