//! Owns reading a backend's stream: when the next frames have to be there, and whether it has ended or broken off.

use std::{pin::pin, rc::Rc, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};

use super::{decode::Decoder, judge::empty, leg::Signs, seam::Seam, watch::Watch};
use crate::{
    error::{Class, Failed},
    upstream::{Answer, BrokenOff},
    wire::{course::Course, naming::renamed_frames, sse},
};

/// A stream that has given its finish and then nothing more of its answer is ended for it after this.
const FINISH_GRACE: Duration = Duration::from_secs(5);

/// After `[DONE]`, how long the end of the body is waited for, so that the connection can be used again; longer is not worth it.
const LINGER: Duration = Duration::from_millis(50);

/// What the next piece of a stream is.
#[derive(Debug)]
pub(super) enum Step {
    /// Whole frames for the client; may be empty.
    Frames(Bytes),
    /// The end; with what was owed to the client.
    End(Bytes),
}

/// What a stream has to keep to, and what is made of it.
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
    /// The time behind its finish is running.
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
    /// This answer takes the place of a broken one.
    pub(super) seam: Option<Seam>,
    /// It says something else than the broken one did.
    pub(super) differs: bool,
    /// Something of it is for the client.
    pub(super) added: bool,
    /// What went wrong behind frames that were still good: told once those have been passed on.
    pub(super) pending: Option<Failed>,
}

impl Reader {
    pub(super) fn new(answer: Answer, decoder: Decoder, terms: Terms, text: Option<String>, signs: Rc<Signs>) -> Self {
        Self {
            answer,
            decoder,
            splitter: sse::Splitter::default(),
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

    /// From now on only what goes beyond the text that the client has is passed on.
    pub(super) fn sew_onto(&mut self, seam: Seam) {
        self.seam = Some(seam);
    }

    /// A header of the answer.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.answer.header(name)
    }

    /// Whether it is no events: whatever comes is passed on.
    pub(super) fn is_sound(&self) -> bool {
        matches!(self.decoder, Decoder::Sound)
    }

    /// Whether its end is the end of the body.
    pub(super) fn has_no_finish(&self) -> bool {
        matches!(self.decoder, Decoder::Sound | Decoder::Heard)
    }

    /// Whether all that the client has of a broken answer has been said again, or is gone on with.
    fn is_sewn(&self) -> bool {
        self.seam.as_ref().is_none_or(Seam::is_closed)
    }

    /// Whether it goes on with a broken answer, as it was asked to, as far as is known.
    pub(super) fn resumes(&self) -> bool {
        self.seam.as_ref().is_some_and(|seam| !seam.repeats())
    }

    /// Whether it is known what the client gets of it: a stream that was asked to go on with a text has shown whether it does.
    pub(super) fn is_clear(&self) -> bool {
        !self.resumes() || self.is_sewn()
    }

    /// Whether it is known already that no more than what it has given so far can be had of it.
    pub(super) fn has_failed(&self) -> bool {
        self.pending.is_some()
    }

    /// The text that the client has, if another answer may be sewn onto it: nothing else has come, and no finish has gone out,
    /// behind which there can be no more. A translated one is held back to the end.
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
                if self.is_sound() {
                    self.content = true;
                    return Ok(Step::Frames(chunk));
                }
                let whole = self.splitter.push(chunk).map_err(|_| {
                    Failed::new(
                        Class::ProviderInvalid,
                        format!("one of its frames is longer than {} bytes", sse::MAX_FRAME),
                    )
                });
                match whole.and_then(|whole| self.read(whole)) {
                    Ok(frames) => Ok(Step::Frames(frames)),
                    Err(failed) => self.broken(failed),
                }
            }
            Ok(None) => {
                let rest = self.splitter.rest();
                if rest.trim_ascii().is_empty() {
                    return self.end();
                }
                let mut last = BytesMut::from(&rest[..]);
                last.extend_from_slice(b"\n\n");
                let owed = match self.read(last.freeze()) {
                    Ok(owed) => owed,
                    Err(failed) => return self.broken(failed),
                };
                match self.end() {
                    Ok(Step::End(tail) | Step::Frames(tail)) => Ok(Step::End([owed, tail].concat().into())),
                    // What came is passed on first: whoever takes over goes on behind it.
                    Err(failed) => {
                        self.pending.get_or_insert(failed);
                        Ok(Step::Frames(owed))
                    }
                }
            }
            Ok(Some(Err(BrokenOff(why)))) => self.broken(Failed::new(Class::ProviderStreamCut, why)),
            Err(timeout) => self.broken(timeout),
        }
    }

    /// Sets the limit to the next frame. Any frame starts it anew, comments too: some backends send those for as long as their
    /// model thinks. Behind the finish nothing does, for nothing is worth waiting for.
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

    /// Reads what follows the end marker of a good answer: of interest to nobody but the connection pool.
    pub(super) async fn linger(&mut self) {
        let rest = async { while let Some(Ok(_)) = self.answer.chunk().await {} };
        let _ = tokio::time::timeout(LINGER, rest).await;
        self.answer.accept();
    }

    /// Its body has ended in order: complete if it said so, else cut.
    fn end(&mut self) -> Result<Step, Failed> {
        if self.done {
            return Ok(Step::End(Bytes::new()));
        }
        if self.course.is_finished()
            && let Some(end) = self.close()
        {
            return Ok(end);
        }
        if self.empty {
            return Err(Failed::new(Class::ProviderInvalid, "its stream was empty"));
        }
        if !self.content {
            return Err(empty());
        }
        // What was wrong with its last event is told behind it.
        if self.has_no_finish() && self.pending.is_none() {
            self.done = true;
            return Ok(Step::End(Bytes::new()));
        }
        Err(Failed::new(Class::ProviderStreamCut, "its stream ended before it was complete"))
    }

    /// It has broken off, stalled or failed: that takes nothing from an answer that was whole before.
    fn broken(&mut self, failed: Failed) -> Result<Step, Failed> {
        // An end marker ends nothing that says something else than it had to.
        if self.done && !self.differs {
            return Ok(Step::End(Bytes::new()));
        }
        if self.course.is_whole()
            && let Some(end) = self.close()
        {
            log::debug!("behind a finish it failed: {} {}", failed.class, failed.message);
            return Ok(end);
        }
        Err(failed)
    }

    /// What is owed to the client of a stream that has given its finish.
    fn close(&mut self) -> Option<Step> {
        if self.differs || !self.is_sewn() {
            return None;
        }
        let owed = self.decoder.closing()?;
        self.done = true;
        Some(Step::End(self.named(owed)))
    }

    /// Frames of ours with the model's public name, where that is wanted.
    pub(super) fn named(&self, frames: Vec<u8>) -> Bytes {
        match &self.terms.rename {
            Some(name) => renamed_frames(&frames, name),
            None => frames.into(),
        }
    }
}
