//! Owns the log: its set-up, the one line a request, the words of a panic.

use std::{any::Any, fmt::Write as _, io::Write as _, sync::OnceLock, thread::Thread, time::Duration};

use parking_lot::Mutex;

use super::story::{Millis, Story};
use crate::error::Error;

/// Log target of the request line.
const TARGET: &str = "greenroom::request";

/// Log target of the audit line of pinned requests.
const PIN_TARGET: &str = "greenroom::pin";

/// Lines are held back up to this size, bytes, and this time: one system call for many requests.
const BUFFER: usize = 32 << 10;
const HELD: Duration = Duration::from_millis(100);

/// Most bytes held back while nobody reads them: then lines are lost, since a request does not wait for its log.
const MOST: usize = 4 << 20;

/// Longest wait for another thread that writes.
const PATIENCE: Duration = Duration::from_secs(1);

/// Sets up logging from `RUST_LOG`; `info` without it, and warnings only from the frameworks.
pub fn init() {
    let default = "info,actix_server=warn";
    let logger = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(default))
        .format(|out, record| {
            let time = out.timestamp_millis();
            writeln!(out, "{time} {:5} {} {}", record.level(), record.target(), record.args())
        })
        .target(env_logger::Target::Pipe(Box::new(Writer)))
        .write_style(env_logger::WriteStyle::Never)
        .try_init();
    // A second call, as in tests, changes nothing.
    if logger.is_err() {
        return;
    }
    let writer = std::thread::spawn(|| {
        loop {
            std::thread::park_timeout(HELD);
            flush();
        }
    });
    // Fails only where it is set already, and this is reached once.
    let _ = HELD_BACK.set(Buffer { lines: Mutex::default(), out: Mutex::default(), writer: writer.thread().clone() });
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        ::log::error!("panicked at {place}: {}", panic_words(panic.payload()));
    }));
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
    let now = humantime::format_rfc3339_millis(std::time::SystemTime::now());
    // Writing to a vector cannot fail.
    buffer.add(false, |lines| drop(writeln!(lines, "{now} INFO  {TARGET} {line}")));
}

static HELD_BACK: OnceLock<Buffer> = OnceLock::new();

/// Lines on their way to standard error.
struct Buffer {
    lines: Mutex<Lines>,
    /// Held while writing, so that lines stay in order; never by who adds a line.
    out: Mutex<()>,
    writer: Thread,
}

#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    lost: u64,
}

impl Buffer {
    fn add(&self, urgent: bool, write: impl FnOnce(&mut Vec<u8>)) {
        let mut lines = self.lines.lock();
        if lines.bytes.len() >= MOST {
            lines.lost += 1;
            return;
        }
        write(&mut lines.bytes);
        let due = urgent || lines.bytes.len() >= BUFFER;
        drop(lines);
        if due {
            self.writer.unpark();
        }
    }

    fn write_out(&self) {
        // Where standard error is stuck, so is who writes: nobody waits for that for long.
        let Some(_alone) = self.out.try_lock_for(PATIENCE) else { return };
        let Lines { mut bytes, lost } = std::mem::take(&mut *self.lines.lock());
        if lost > 0 {
            // Writing to a vector cannot fail.
            let _ = writeln!(bytes, "{lost} lines of this log were lost: nobody read them in time");
        }
        if !bytes.is_empty() {
            // Where standard error is gone there is nobody left to tell.
            let _ = std::io::stderr().write_all(&bytes);
        }
    }
}

/// The logger's way into the buffer.
struct Writer;

impl std::io::Write for Writer {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        // Trouble is told at once; the lines of requests can wait for company.
        let urgent = !line.windows(6).take(40).any(|word| word == b" INFO " || word == b"DEBUG ");
        match HELD_BACK.get() {
            Some(buffer) => buffer.add(urgent, |lines| lines.extend_from_slice(line)),
            None => std::io::stderr().write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        // The logger asks for it after every line; the writing thread knows better when.
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
        "id={} user={} model={} backend={} route={} attempts={} status={} class={} total_ms={}",
        story.id,
        story.user.name,
        Plain(&story.model),
        served.map_or(dash, |a| &a.backend),
        served.map_or(dash, |a| a.route.as_str()),
        story.attempts.len(),
        story.status,
        story.class.map_or("none", |class| class.as_str()),
        Millis(story.total(), 1),
    );
    if let Some(first) = story.first_token {
        let _ = write!(line, " ttft_ms={}", Millis(first, 1));
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
