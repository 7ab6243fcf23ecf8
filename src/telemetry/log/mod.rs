//! Owns the log: its set-up, and the one line a request.

mod audit;
mod json;
mod refused;
mod scarce;

use std::{
    cell::RefCell,
    fmt::Write as _,
    io::Write as _,
    sync::OnceLock,
    thread::Thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use unicode_width::UnicodeWidthChar;

pub use self::refused::Refused;
use self::scarce::Scarce;
use super::story::{Millis, Story};
use crate::clock;

/// Log target of the request line.
const TARGET: &str = "greenroom::request";

/// Lines are held back up to this size, bytes, and this time: one system call for many requests.
const BUFFER: usize = 32 << 10;
const HELD: Duration = Duration::from_millis(100);

/// Most bytes held back while nobody reads them: then lines are lost, since a request does not wait for its log.
const MOST: usize = 4 << 20;

/// Longest wait for another thread that writes.
const PATIENCE: Duration = Duration::from_secs(1);

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For people: time, level, target, words.
    Text,
    /// An object a line; of a request with its attempts, and what Greenroom itself took.
    Json,
}

/// Sets up logging from `RUST_LOG`; `info` without it, and warnings only from the frameworks.
pub fn init(form: Form) {
    let default = "info,actix_server=warn";
    let scarce = Scarce::default();
    let logger = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(default))
        .format(move |out, record| {
            scarce.write(record, clock::now(), |record| {
                if form == Form::Json {
                    return json::record(out, record);
                }
                let time = out.timestamp_millis();
                writeln!(out, "{time} {:5} {} {}", record.level(), record.target(), record.args())
            })
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
    let (lines, spare) = (Mutex::default(), Mutex::default());
    let _ = HELD_BACK.set(Buffer { form, lines, spare, writer: writer.thread().clone() });
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        ::log::error!("panicked at {place}: {}", crate::error::panic_words(panic.payload()));
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
    // The date and time to the second, which most lines share with the one before.
    thread_local! {
        static SECOND: RefCell<(u64, String)> = RefCell::default();
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != now.as_secs() {
            *second = now.as_secs();
            *text = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(*second)).to_string();
        }
        let millis = now.subsec_millis() as usize;
        let millis = [millis / 100, millis / 10 % 10, millis % 10].map(|digit| b'0' + digit as u8);
        buffer.add(false, |lines| {
            for part in [
                text.trim_end_matches('Z').as_bytes(),
                b".",
                &millis,
                b"Z INFO  ",
                TARGET.as_bytes(),
                b" ",
                line.as_bytes(),
                b"\n",
            ] {
                lines.extend_from_slice(part);
            }
        });
    });
}

static HELD_BACK: OnceLock<Buffer> = OnceLock::new();

/// Where lines are to be objects: the buffer that takes them.
fn objects() -> Option<&'static Buffer> {
    HELD_BACK.get().filter(|buffer| buffer.form == Form::Json)
}

/// Lines on their way to standard error.
struct Buffer {
    form: Form,
    lines: Mutex<Lines>,
    /// The lines before, written out and emptied: room for the next ones. Held while writing, so that lines stay in order;
    /// never by who adds a line.
    spare: Mutex<Vec<u8>>,
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
        let Some(mut spare) = self.spare.try_lock_for(PATIENCE) else { return };
        let bytes = &mut *spare;
        let lost = {
            let mut lines = self.lines.lock();
            std::mem::swap(&mut lines.bytes, bytes);
            std::mem::take(&mut lines.lost)
        };
        if lost > 0 {
            // Writing to a vector cannot fail.
            let _ = writeln!(bytes, "{lost} lines of this log were lost: nobody read them in time");
        }
        if !bytes.is_empty() {
            // Where standard error is gone there is nobody left to tell.
            let _ = std::io::stderr().write_all(bytes);
        }
        bytes.clear();
        // What piled up while nobody read is not kept.
        bytes.shrink_to(2 * BUFFER);
    }
}

/// The logger's way into the buffer.
struct Writer;

impl std::io::Write for Writer {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        // Trouble is told at once; the lines of requests can wait for company.
        let urgent =
            !line.windows(6).take(60).any(|word| matches!(word, b" INFO " | b"DEBUG " | b"\"INFO\"" | b"DEBUG\""));
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
        audit::pin(story);
    }
    if !::log::log_enabled!(target: TARGET, ::log::Level::Info) {
        return;
    }
    if let Some(buffer) = objects() {
        return buffer.add(false, |lines| json::request(lines, story));
    }
    let served = story.served();
    let (mut line, mut digits) = (String::with_capacity(512), itoa::Buffer::new());
    // Pushed word by word: this line is written for every request, and formatting machinery would be half its cost.
    for (name, value) in [("id=", &*story.id), (" user=", &story.user.name), (" model=", "")] {
        line.push_str(name);
        line.push_str(value);
    }
    plain(&story.model, &mut line);
    for (name, value) in [
        (" endpoint=", story.endpoint),
        (" backend=", served.map_or("-", |a| &a.backend)),
        (" route=", served.map_or("-", |a| a.route.as_str())),
        (" attempts=", digits.format(story.attempts.len())),
        (" status=", itoa::Buffer::new().format(story.status)),
        (" class=", story.class_word()),
    ] {
        line.push_str(name);
        line.push_str(value);
    }
    line.push_str(" total_ms=");
    Millis::<1>(story.total()).push_to(&mut line);
    if let Some(first) = story.first_token {
        line.push_str(" ttft_ms=");
        Millis::<1>(first).push_to(&mut line);
    }
    if let Some(usage) = story.usage {
        line.push_str(" tokens_in=");
        line.push_str(digits.format(usage.input));
        line.push_str(" tokens_out=");
        line.push_str(digits.format(usage.output));
    }
    if let Some(cost) = story.cost() {
        // Writing to a string cannot fail.
        let _ = write!(line, " cost_usd={cost}");
    }
    if story.is_estimated() {
        line.push_str(" estimated=true");
    }
    if let Some(rescue) = story.rescue {
        line.push_str(" rescue=");
        line.push_str(rescue.as_str());
    }
    line.push_str(if story.stream { " stream=true" } else { " stream=false" });
    line.push_str(if story.pin.is_some() { " pinned=true" } else { " pinned=false" });
    put(&line);
}

/// A client's text in a log line: nothing in it can begin a new line or a new field, turn the line about or hide in it.
pub fn plain(text: &str, line: &mut String) {
    if text.len() <= 80 && text.bytes().all(|b| b.is_ascii_graphic() && b != b'=') {
        return line.push_str(text);
    }
    let is_seen = |c: char| c.width().is_some_and(|width| width > 0) && !c.is_whitespace() && c != '=';
    line.extend(text.chars().take(80).map(|c| if is_seen(c) { c } else { '_' }));
}
