//! Owns reading a backend's stream: when the next frames have to be there, and whether it has ended or broken off.

use std::{pin::pin, rc::Rc, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};

use super::{decode::Decoder, judge::empty, leg::Signs, seam::Seam, watch::Watch};
use crate::{
    error::{Class, Failed},
    upstream::{Answer, BrokenOff},
    wire::{course::Course, naming::renamed_frames, sse},
};

/// If a stream has given its finish and then sends nothing more of its answer, we end it after this time.
const FINISH_GRACE: Duration = Duration::from_secs(5);

/// How long to wait for the end of the body after `[DONE]`, so that the connection can be used again. Longer is not worth it.
const LINGER: Duration = Duration::from_millis(50);

/// What the next piece of a stream is.
#[derive(Debug)]
pub(super) enum Step {
    /// Whole frames for the client; may be empty.
    Frames(Bytes),
    /// The end, with what was owed to the client; the reader is done.
    End(Bytes),
}

/// The limits of a stream, and what is changed in it.
pub(super) struct Terms {
    /// Longest pause between two of its frames.
    pub(super) idle: Duration,
    /// Choices that were asked for.
    pub(super) choices: u32,
    /// Token counts were asked for by us, not by the client.
    pub(super) strip_usage: bool,
    /// Public name to put into `model`.
    pub(super) rename: Option<Arc<str>>,
}

/// A backend's stream being read.
pub(super) struct Reader {
    answer: Answer,
    pub(super) decoder: Decoder,
    splitter: sse::Splitter,
    pub(super) terms: Terms,
    pub(super) malformed: u32,
    pub(super) course: Course,
    /// The grace time after its finish is running.
    grace: bool,
    /// The end marker has come.
    pub(super) done: bool,
    /// Not one byte has come.
    empty: bool,
    /// Content has come.
    pub(super) content: bool,
    /// Where its token counts are told.
    pub(super) signs: Rc<Signs>,
    /// Assistant text passed on so far, kept where a rescue may need it.
    pub(super) text: Option<String>,
    /// Something passed that a rescue cannot replay.
    pub(super) intricate: bool,
    /// This answer takes the place of a broken one: only what goes beyond the text that the client has is passed on.
    pub(super) seam: Option<Seam>,
    /// It says something else than the broken answer did.
    pub(super) differs: bool,
    /// Something of it is for the client.
    pub(super) added: bool,
    /// A failure behind frames that were still good. It is reported once those have been passed on.
    pub(super) pending: Option<Failed>,
}

impl Reader {
    pub(super) fn new(answer: Answer, decoder: Decoder, terms: Terms, text: Option<String>, signs: Rc<Signs>) -> Self {
        Self {
            answer,
            splitter: sse::Splitter::up_to(decoder.max_frame()),
            decoder,
            malformed: 0,
            course: Course::new(terms.choices),
            terms,
            grace: false,
            done: false,
            empty: true,
            content: false,
            signs,
            text,
            intricate: false,
            seam: None,
            differs: false,
            added: false,
            pending: None,
        }
    }

    /// A header of the answer.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.answer.header(name)
    }

    /// Whether it does not consist of events: all bytes are passed on.
    pub(super) fn is_unread(&self) -> bool {
        matches!(self.decoder, Decoder::Unread)
    }

    /// Largest frame that it may have, bytes.
    pub(super) fn max_frame(&self) -> usize {
        self.decoder.max_frame()
    }

    /// Whether the end of the body is its end.
    pub(super) fn has_no_finish(&self) -> bool {
        matches!(self.decoder, Decoder::Unread | Decoder::MediaEvents { .. })
    }

    /// Whether all that the client has of a broken answer has been repeated, or is continued.
    fn is_sewn(&self) -> bool {
        self.seam.as_ref().is_none_or(Seam::is_closed)
    }

    /// Whether it continues a broken answer, as it was asked to, as far as is known.
    pub(super) fn resumes(&self) -> bool {
        self.seam.as_ref().is_some_and(|seam| !seam.repeats())
    }

    /// Whether it is known what the client gets of it: a stream that was asked to continue a text has to show first whether it
    /// does.
    pub(super) fn is_clear(&self) -> bool {
        !self.resumes() || self.is_sewn()
    }

    /// Whether it is known to have failed behind what it has given so far.
    pub(super) fn has_failed(&self) -> bool {
        self.pending.is_some()
    }

    /// The text that the client has, if another answer may be sewn onto it: nothing but text has come, and no finish has gone
    /// out, after which there can be no more. A translated stream holds its finish back to the end.
    pub(super) fn sewable(&self) -> Option<&str> {
        let finish_is_out = self.course.has_finish() && !matches!(self.decoder, Decoder::Translated(_));
        self.text.as_deref().filter(|_| !self.intricate && !finish_is_out)
    }

    /// The next piece, within the watch's limit.
    pub(super) async fn step(&mut self, watch: &mut Watch) -> Result<Step, Failed> {
        if let Some(failed) = self.pending.take() {
            return self.broken(failed);
        }
        // Before the first content the limit runs from the start of the attempt: a role frame is not progress.
        if self.content {
            self.pace(watch);
        }
        if self.done {
            return Ok(Step::End(Bytes::new()));
        }
        let chunk = watch.guard(pin!(self.answer.chunk())).await;
        match chunk {
            Ok(Some(Ok(chunk))) => {
                self.empty = false;
                if self.is_unread() {
                    self.content = true;
                    return Ok(Step::Frames(chunk));
                }
                let whole = self.splitter.push(chunk).map_err(|too_long| {
                    let text = format!("one of its frames is longer than {} bytes", too_long.limit);
                    Failed::new(Class::ProviderInvalid, text)
                });
                match whole.and_then(|whole| self.read(whole)) {
                    Ok(frames) => Ok(Step::Frames(frames)),
                    Err(failed) => self.broken(failed),
                }
            }
            Ok(None) => self.last(),
            Ok(Some(Err(BrokenOff(why)))) => self.broken(Failed::new(Class::ProviderStreamCut, why)),
            Err(timeout) => self.broken(timeout),
        }
    }

    /// The last step, when the body has ended in order: its last frame need not be closed by an empty line.
    fn last(&mut self) -> Result<Step, Failed> {
        let rest = self.splitter.rest();
        if rest.trim_ascii().is_empty() {
            return self.end().map(Step::End);
        }
        if self.has_no_finish() && is_torn(&rest) {
            return self.broken(Failed::new(Class::ProviderStreamCut, "its stream ended within an event"));
        }
        let mut last = BytesMut::from(&rest[..]);
        last.extend_from_slice(b"\n\n");
        let frames = match self.read(last.freeze()) {
            Ok(frames) => frames,
            Err(failed) => return self.broken(failed),
        };
        match self.end() {
            Ok(tail) => Ok(Step::End([frames, tail].concat().into())),
            // What came is passed on first: a backend that takes over goes on behind it.
            Err(failed) => {
                self.pending.get_or_insert(failed);
                Ok(Step::Frames(frames))
            }
        }
    }

    /// Sets the time limit for the next frame. Every frame restarts it, also a comment: some backends send those while their
    /// model thinks. After the finish nothing restarts it, because nothing is worth waiting for.
    fn pace(&mut self, watch: &mut Watch) {
        let settled = self.course.is_settled();
        if settled && self.grace {
            watch.note_held_up();
            return;
        }
        self.grace = settled;
        let limit = if settled { FINISH_GRACE.min(self.terms.idle) } else { self.terms.idle };
        watch.limit(limit, Class::ProviderTimeoutIdle);
    }

    /// Reads what follows the end marker of a good answer, only so that the pool gets its connection back.
    pub(super) async fn linger(&mut self) {
        let rest = async { while let Some(Ok(_)) = self.answer.chunk().await {} };
        let _ = tokio::time::timeout(LINGER, rest).await;
        self.answer.accept();
    }

    /// What is owed to the client at the end of the body; an error if the answer was not complete by then.
    fn end(&mut self) -> Result<Bytes, Failed> {
        if self.done {
            return Ok(Bytes::new());
        }
        if self.course.is_finished()
            && let Some(owed) = self.close()
        {
            return Ok(owed);
        }
        if self.empty {
            return Err(Failed::new(Class::ProviderInvalid, "its stream was empty"));
        }
        if !self.content {
            return Err(empty());
        }
        let owes_picture = matches!(self.decoder, Decoder::MediaEvents { draft: true });
        // What was wrong with its last event is told behind it.
        if self.has_no_finish() && !owes_picture && self.pending.is_none() {
            self.done = true;
            return Ok(Bytes::new());
        }
        Err(Failed::new(Class::ProviderStreamCut, "its stream ended before it was complete"))
    }

    /// It has broken off, stalled or failed. An answer that was whole before that stays whole.
    fn broken(&mut self, failed: Failed) -> Result<Step, Failed> {
        // An end marker does not make an answer good that differs from the broken one.
        if self.done && !self.differs {
            return Ok(Step::End(Bytes::new()));
        }
        if self.course.is_whole()
            && let Some(owed) = self.close()
        {
            log::debug!("behind a finish it failed: {} {}", failed.class, failed.message);
            return Ok(Step::End(owed));
        }
        Err(failed)
    }

    /// What is owed to the client of a stream that has given its finish.
    fn close(&mut self) -> Option<Bytes> {
        if self.differs || !self.is_sewn() {
            return None;
        }
        let owed = self.decoder.closing()?;
        self.done = true;
        Some(self.named(owed))
    }

    /// Frames of ours with the model's public name, where that is wanted.
    pub(super) fn named(&self, frames: Vec<u8>) -> Bytes {
        match &self.terms.rename {
            Some(name) => renamed_frames(&frames, name),
            None => frames.into(),
        }
    }
}

/// Whether a last event that lacks its blank line lacks more than that. Clients pass over it either way (HTML standard, 9.2.6), so
/// only what is known to be whole is ended with one.
fn is_torn(rest: &[u8]) -> bool {
    let is_whole = |data: &[u8]| data == b"[DONE]" || serde_json::from_slice::<serde::de::IgnoredAny>(data).is_ok();
    sse::frames(rest).any(|frame| frame.data.map_or_else(|| !frame.raw.starts_with(b":"), |data| !is_whole(&data)))
}
