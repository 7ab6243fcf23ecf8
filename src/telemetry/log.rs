//! Owns the log: its set-up, the one line a request, the words of a panic.

use std::{
    any::Any,
    fmt::Write as _,
    io::Write as _,
    sync::{Arc, OnceLock},
    time::Duration,
};

use parking_lot::Mutex;

use super::story::{Story, ms};
use crate::error::Error;

/// Log target of the request line.
const TARGET: &str = "greenroom::request";

/// Log target of the audit line of pinned requests.
const PIN_TARGET: &str = "greenroom::pin";

/// Lines are held back up to this size, bytes, and this time: one system call for many requests.
const BUFFER: usize = 32 << 10;
const HELD: Duration = Duration::from_millis(100);

/// Sets up logging from `RUST_LOG`; `info` without it, and warnings only from the frameworks.
pub fn init() {
    let buffer = HELD_BACK.get_or_init(Buffer::default).clone();
    let default = "info,actix_server=warn";
    let logger = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(default))
        .format(|out, record| {
            let time = out.timestamp_millis();
            writeln!(out, "{time} {:5} {} {}", record.level(), record.target(), record.args())
        })
        .target(env_logger::Target::Pipe(Box::new(buffer.clone())))
        .write_style(env_logger::WriteStyle::Never)
        .try_init();
    // A second call, as in tests, changes nothing.
    if logger.is_ok() {
        std::thread::spawn(move || {
            loop {
                std::thread::park_timeout(HELD);
                buffer.write_out();
            }
        });
    }
}

/// Writes out the lines held back: before the process ends, and after a line that must not get lost.
pub fn flush() {
    if let Some(buffer) = HELD_BACK.get() {
        buffer.write_out();
    }
}

/// Puts a request's line among those held back; the same form as all others, without the logger's detours.
fn put(line: &str) {
    let Some(buffer) = HELD_BACK.get() else {
        ::log::info!(target: TARGET, "{line}");
        return;
    };
    let mut lines = buffer.0.lock();
    let now = humantime::format_rfc3339_millis(std::time::SystemTime::now());
    // Writing to a vector cannot fail.
    let _ = writeln!(lines, "{now} INFO  {TARGET} {line}");
    if lines.len() >= BUFFER {
        drop(lines);
        buffer.write_out();
    }
}

static HELD_BACK: OnceLock<Buffer> = OnceLock::new();

/// Lines on their way to standard error.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn write_out(&self) {
        let mut lines = self.0.lock();
        if !lines.is_empty() {
            // Where standard error is gone there is nobody left to tell.
            let _ = std::io::stderr().write_all(&lines);
            lines.clear();
        }
    }
}

impl std::io::Write for Buffer {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let mut lines = self.0.lock();
        lines.extend_from_slice(line);
        // Trouble is told at once; the lines of requests can wait for company.
        let urgent = !line.windows(6).take(40).any(|word| word == b" INFO " || word == b"DEBUG ");
        let full = lines.len() >= BUFFER;
        drop(lines);
        if urgent || full {
            self.write_out();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.write_out();
        Ok(())
    }
}

/// Writes the line of a request that has ended.
pub fn request(story: &Story) {
    if story.pin.is_some() {
        pin(story);
    }
    if !::log::log_enabled!(target: TARGET, ::log::Level::Info) {
        return;
    }
    let served = story.served();
    let mut line = String::with_capacity(256);
    let dash = "-";
    // Writing to a string cannot fail.
    let _ = write!(
        line,
        "id={} user={} model={} backend={} route={} attempts={} status={} class={} total_ms={:.1}",
        story.id,
        story.user.name,
        Plain(&story.model),
        served.map_or(dash, |a| &a.backend),
        served.map_or(dash, |a| a.route.as_str()),
        story.attempts.len(),
        story.status,
        story.class.map_or("none", |class| class.as_str()),
        ms(story.total()),
    );
    if let Some(first) = story.first_token {
        let _ = write!(line, " ttft_ms={:.1}", ms(first));
    }
    if let Some(usage) = story.usage {
        let _ = write!(line, " tokens_in={} tokens_out={}", usage.input, usage.output);
    }
    if let Some(rescue) = story.rescue {
        let _ = write!(line, " rescue={rescue}");
    }
    let _ = write!(line, " stream={} pinned={}", story.stream, story.pin.is_some());
    put(&line);
}

/// Writes the line of a request that was refused before it had a story.
pub fn refused(id: &str, user: Option<&str>, error: &Error) {
    let status = error.face().status.as_u16();
    ::log::info!(
        target: TARGET,
        "id={id} user={} model=- backend=- route=- attempts=0 status={status} class={}",
        user.unwrap_or("-"),
        error.class(),
    );
}

/// The audit line: who pinned where, and what came of it.
fn pin(story: &Story) {
    let pin = story.pin.as_deref().unwrap_or_default();
    let outcome = match (story.class, story.message.as_deref()) {
        (None, _) => "served",
        (Some(_), Some(message)) => message,
        (Some(class), None) => class.as_str(),
    };
    ::log::info!(
        target: PIN_TARGET,
        "event=pin id={} user={} backend={} status={} outcome={outcome:?}",
        story.id,
        story.user.name,
        Plain(pin),
        story.status,
    );
}

/// A client's text in a log line: nothing in it can begin a new line or a new field.
struct Plain<'a>(&'a str);

impl std::fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars().take(80) {
            f.write_char(if c.is_control() || c.is_whitespace() || c == '=' { '_' } else { c })?;
        }
        Ok(())
    }
}

/// The text of a panic.
pub fn panic_words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a message".to_owned())
}
