//! Owns the log: its set-up, the one line a request, the words of a panic.

use std::{any::Any, fmt::Write};

use super::story::{Story, ms};
use crate::error::Error;

/// Log target of the request line.
const TARGET: &str = "greenroom::request";

/// Log target of the audit line of pinned requests.
const PIN_TARGET: &str = "greenroom::pin";

/// Sets up logging from `RUST_LOG`; `info` without it.
pub fn init() {
    // A second call, as in tests, changes nothing.
    let _ = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).try_init();
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
    ::log::info!(target: TARGET, "{line}");
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
