//! Owns the story of one request: what was tried, who served it, how it ended; told once, in the log line and the headers.

mod attempt;
mod report;
mod route;

use std::{borrow::Cow, cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use smallvec::SmallVec;

pub use self::{
    attempt::AttemptNote,
    report::{CANCELLED, Ending, LET_GO, Millis, SUCCESS, StoryReport, ms},
    route::{RescueOutcome, RouteReason},
};
use super::{phase::Phase, traces::Trace};
use crate::{
    clock,
    error::{Class, Error},
    settings::{Money, User},
    wire::Usage,
};

/// The story so far.
#[derive(Debug, Clone)]
pub struct Story {
    /// `x-request-id`.
    pub id: Arc<str>,
    /// Who asks.
    pub user: Arc<User>,
    /// The public model.
    pub model: Arc<str>,
    /// What was asked, in a word of a closed set.
    pub endpoint: &'static str,
    /// The backend named in the body.
    pub pin: Option<Arc<str>>,
    /// Streamed?
    pub stream: bool,
    /// When it came.
    pub received: Duration,
    /// The head went out before there was a backend to name in it.
    pub early_head: bool,
    /// All attempts.
    pub attempts: SmallVec<[AttemptNote; 1]>,
    /// Index of the attempt that serves the client.
    pub served_by: Option<usize>,
    /// Time to the first content, or to the whole answer.
    pub first_token: Option<Duration>,
    /// Tokens as the provider counted them, or estimated.
    pub usage: Option<Usage>,
    /// They are estimated, as far as the provider has not counted them.
    pub estimated: bool,
    /// The status the client got.
    pub status: u16,
    /// How it ended, if it failed.
    pub class: Option<Class>,
    /// What the client was told, if it failed.
    pub message: Option<String>,
    /// The explanation of a choice that found no backend, if the client may see it.
    pub decision: Option<Box<serde_json::Value>>,
    /// What became of a broken stream's rescue.
    pub rescue: Option<RescueOutcome>,
    /// When it ended.
    pub ended: Option<Duration>,
    /// Time spent waiting for a place while all backends were full, if any was.
    pub queued: Option<Duration>,
    /// Its part in a trace, where there are traces.
    pub trace: Option<Trace>,
    /// Time spent per `Phase`, over all attempts.
    pub spent: [Duration; Phase::ALL.len()],
}

/// Longest message that a story keeps, bytes: some repeat what a client or a provider wrote, and a thousand stories are kept.
const LONGEST_MESSAGE: usize = 512;

/// A message as a story keeps it.
fn remembered(message: String) -> String {
    match shortened(&message, LONGEST_MESSAGE) {
        Cow::Borrowed(_) => message,
        Cow::Owned(short) => short,
    }
}

/// A text cut to so many bytes, which shows.
pub fn shortened(text: &str, most: usize) -> Cow<'_, str> {
    let end = text.floor_char_boundary(most);
    if end == text.len() { text.into() } else { format!("{}…", &text[..end]).into() }
}

/// Is called at each request's end, and may take the story out. It is passed in place, since it is large and there is
/// one for every request.
pub type Listener = Rc<dyn Fn(&mut Option<Story>)>;

/// The story being told. Dropped without an end, it tells that the client left.
#[derive(Clone)]
pub struct Telling(Rc<Inner>);

/// Why a story is always there to be read.
const WHOLE: &str = "a story is taken only when its last teller is gone";

struct Inner {
    /// Taken only when it is over.
    story: RefCell<Option<Story>>,
    listener: Listener,
}

impl Telling {
    /// Begins.
    pub fn new(story: Story, listener: Listener) -> Self {
        Self(Rc::new(Inner { story: RefCell::new(Some(story)), listener }))
    }

    /// Reads the story so far.
    pub fn read<T>(&self, read: impl FnOnce(&Story) -> T) -> T {
        read(self.0.story.borrow().as_ref().expect(WHOLE))
    }

    /// Adds to it.
    pub fn write<T>(&self, write: impl FnOnce(&mut Story) -> T) -> T {
        write(self.0.story.borrow_mut().as_mut().expect(WHOLE))
    }

    /// Time from the request's arrival to this moment.
    pub fn after_arrival(&self, at: Duration) -> Duration {
        at.saturating_sub(self.read(|s| s.received))
    }

    /// A phase that began at `began` is over; returns when that was.
    pub fn phase_ended(&self, phase: Phase, began: Duration) -> Duration {
        let now = clock::now();
        self.write(|story| story.spent[phase as usize] += now.saturating_sub(began));
        now
    }

    /// An attempt begins; returns its number.
    pub fn attempt_begun(&self, note: AttemptNote) -> usize {
        self.write(|story| {
            story.attempts.push(note);
            story.attempts.len() - 1
        })
    }

    /// An attempt ended.
    pub fn attempt_ended(
        &self,
        number: usize,
        outcome: &'static str,
        status: Option<u16>,
        message: Option<String>,
        now: Duration,
    ) {
        self.write(|story| {
            if let Some(note) = story.attempts.get_mut(number)
                && note.outcome.is_none()
            {
                note.duration = Some(now.saturating_sub(story.received + note.started));
                note.outcome = Some(outcome);
                note.status = status;
                note.message = message.map(remembered);
            }
        });
    }

    /// Adds to what is known of an attempt.
    pub fn note(&self, number: usize, add: impl FnOnce(&mut AttemptNote)) {
        self.write(|story| story.attempts.get_mut(number).map(add));
    }

    /// The end, good or bad. Only the first counts.
    pub fn end(&self, status: u16, error: Option<&Error>, now: Duration) {
        self.write(|story| {
            if story.ended.is_none() {
                story.ended = Some(now);
                story.status = status;
                story.class = error.map(Error::class);
                story.message = error.map(|e| remembered(e.face().message));
            }
        });
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let told = self.story.get_mut();
        let Some(story) = told else { return };
        if story.ended.is_none() {
            story.ended = Some(clock::now());
            story.status = 499;
            story.class = Some(Class::CallerCancelled);
            story.rescue = story.rescue.map(|_| RescueOutcome::Cancelled);
        }
        (self.listener)(told);
    }
}

impl Story {
    /// The story of a request that has just come.
    pub fn begun(
        id: Arc<str>,
        user: Arc<User>,
        model: Arc<str>,
        endpoint: &'static str,
        pin: Option<Arc<str>>,
        stream: bool,
        received: Duration,
    ) -> Self {
        Self {
            id,
            user,
            model,
            endpoint,
            pin,
            stream,
            received,
            early_head: false,
            attempts: SmallVec::new(),
            served_by: None,
            first_token: None,
            usage: None,
            estimated: false,
            status: 0,
            class: None,
            message: None,
            decision: None,
            rescue: None,
            ended: None,
            queued: None,
            trace: None,
            spent: [Duration::ZERO; Phase::ALL.len()],
        }
    }

    /// The attempt that served the client, else the last one.
    pub fn served(&self) -> Option<&AttemptNote> {
        self.served_by.and_then(|n| self.attempts.get(n)).or(self.attempts.last())
    }

    /// The label of its failure, `none` where there is none.
    pub fn class_word(&self) -> &'static str {
        self.class.map_or("none", Class::as_str)
    }

    /// Whether its stream broke off and was completed by another backend.
    pub fn is_rescued(&self) -> bool {
        self.rescue.is_some() && self.class.is_none()
    }

    /// What all attempts cost, as far as that is known of any.
    pub fn cost(&self) -> Option<Money> {
        self.attempts.iter().filter_map(|attempt| attempt.cost).reduce(Money::plus)
    }

    /// Time from arrival to end.
    pub fn total(&self) -> Duration {
        self.ended.unwrap_or_else(clock::now).saturating_sub(self.received)
    }
}
