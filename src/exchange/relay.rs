//! Owns reading a backend's stream: frame by frame, judged as it passes.

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};

use super::{
    decode::Decoder,
    rename::{push, rename, rename_frames},
    rescue::Seam,
    retry::fault_in_stream,
    watch::Watch,
};
use crate::{
    error::{Class, Failed},
    upstream::{Answer, BrokenOff},
    wire::{Observed, Usage, sse},
};

/// A stream that has given its finish and then falls silent is ended for it after this.
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

/// A backend's stream being read.
pub(super) struct Reader {
    answer: Answer,
    decoder: Decoder,
    splitter: sse::Splitter,
    /// Token counts were asked for by us, not by the client.
    strip_usage: bool,
    /// Public name to put into `model`.
    rename: Option<Arc<str>>,
    malformed: u32,
    finished: bool,
    /// The end marker has come.
    pub(super) done: bool,
    /// Not one byte has come.
    empty: bool,
    /// Content has come.
    pub(super) content: bool,
    /// Token counts.
    pub(super) usage: Option<Usage>,
    /// Assistant text passed on so far, kept where a rescue may need it.
    pub(super) text: Option<String>,
    /// Something passed that a rescue cannot replay.
    pub(super) intricate: bool,
    /// This answer takes the place of a broken one.
    seam: Option<Seam>,
    /// It says something else than the broken one did.
    pub(super) differs: bool,
    /// What went wrong behind frames that were still good: told once those have been passed on.
    pending: Option<Failed>,
}

impl Reader {
    pub(super) fn new(
        answer: Answer,
        decoder: Decoder,
        strip_usage: bool,
        rename: Option<Arc<str>>,
        text: Option<String>,
    ) -> Self {
        Self {
            answer,
            decoder,
            splitter: sse::Splitter::default(),
            strip_usage,
            rename,
            malformed: 0,
            finished: false,
            done: false,
            empty: true,
            content: false,
            usage: None,
            text,
            intricate: false,
            seam: None,
            differs: false,
            pending: None,
        }
    }

    /// From now on only what goes beyond `owed`, the text that the client has, is passed on.
    pub(super) fn sew_onto(&mut self, owed: String) {
        self.seam = Some(Seam::new(owed));
    }

    /// A header of the answer.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.answer.header(name)
    }

    /// Whether all that the client has of a broken answer has been said again.
    pub(super) fn is_sewn(&self) -> bool {
        self.seam.as_ref().is_none_or(Seam::is_closed)
    }

    /// The next piece, within the watch's limit.
    pub(super) async fn step(&mut self, watch: &mut Watch) -> Result<Step, Failed> {
        if let Some(failed) = self.pending.take() {
            return Err(failed);
        }
        // Before the first content the limit runs from the start of the attempt: a role frame is not progress.
        if self.content {
            watch.touch();
        }
        if self.done {
            return Ok(Step::End(Bytes::new()));
        }
        let chunk = watch.guard(pin!(self.answer.chunk())).await;
        match chunk {
            Ok(Some(Ok(chunk))) => {
                self.empty = false;
                let whole = self.splitter.push(chunk).map_err(|_| {
                    Failed::new(
                        Class::ProviderInvalid,
                        format!("one of its frames is longer than {} bytes", sse::MAX_FRAME),
                    )
                })?;
                let finished = self.finished;
                let frames = self.read(whole)?;
                if self.finished && !finished {
                    watch.limit(FINISH_GRACE.min(watch.limit), Class::ProviderTimeoutIdle);
                }
                Ok(Step::Frames(frames))
            }
            Ok(None) => {
                let rest = self.splitter.rest();
                if rest.trim_ascii().is_empty() {
                    return self.end(None);
                }
                let mut last = BytesMut::from(&rest[..]);
                last.extend_from_slice(b"\n\n");
                let owed = self.read(last.freeze())?;
                match self.end(None) {
                    Ok(Step::End(tail) | Step::Frames(tail)) => Ok(Step::End([owed, tail].concat().into())),
                    // What came is passed on first: whoever takes over goes on behind it.
                    Err(failed) => {
                        self.pending.get_or_insert(failed);
                        Ok(Step::Frames(owed))
                    }
                }
            }
            Ok(Some(Err(BrokenOff(why)))) => self.end(Some(why)),
            Err(_) if self.finished => self.end(None),
            Err(timeout) => Err(timeout),
        }
    }

    /// Reads what follows the end marker: of interest to nobody but the connection pool.
    pub(super) async fn linger(&mut self) {
        let rest = async { while let Some(Ok(_)) = self.answer.chunk().await {} };
        let _ = tokio::time::timeout(LINGER, rest).await;
    }

    /// The stream is over: complete if it said so, else cut.
    fn end(&mut self, why: Option<String>) -> Result<Step, Failed> {
        if self.done {
            return Ok(Step::End(Bytes::new()));
        }
        if self.finished
            && self.is_sewn()
            && let Some(owed) = self.decoder.closing()
        {
            return Ok(Step::End(self.named(owed)));
        }
        if self.empty && why.is_none() {
            return Err(Failed::new(Class::ProviderInvalid, "its stream was empty"));
        }
        let why = why.unwrap_or_else(|| "its stream ended before it was complete".to_owned());
        Err(Failed::new(Class::ProviderStreamCut, why))
    }

    /// Judges whole frames; returns those that the client shall get.
    fn read(&mut self, run: Bytes) -> Result<Bytes, Failed> {
        if matches!(self.decoder, Decoder::Translated(_)) {
            return self.translate(&run);
        }
        // Untouched frames go out as the upstream's own bytes; a copy is made only from the first one that is changed.
        let mut changed: Option<BytesMut> = None;
        let mut at = 0;
        for frame in sse::frames(&run) {
            let start = at;
            at += frame.raw.len();
            let keep = match &frame.data {
                // Before the first content the keepalives are ours.
                None => self.content || !frame.is_comment(),
                Some(data) => match self.judge(data) {
                    Ok(keep) => keep,
                    Err(failed) if start == 0 => return Err(failed),
                    Err(failed) => {
                        self.pending = Some(failed);
                        let good = changed.map_or_else(|| run.slice(..start), BytesMut::freeze);
                        return self.sewn(good);
                    }
                },
            };
            let renamed = match (&self.rename, &frame.data) {
                (Some(name), Some(data)) if keep => rename(data, name),
                _ => None,
            };
            if (!keep || renamed.is_some()) && changed.is_none() {
                changed = Some(BytesMut::from(&run[..start]));
            }
            if let Some(out) = &mut changed {
                match renamed {
                    Some(data) => push(&frame, &data, out),
                    None if keep => out.extend_from_slice(frame.raw),
                    None => {}
                }
            }
        }
        let run = changed.map_or(run, BytesMut::freeze);
        self.sewn(run)
    }

    /// Translates whole frames; what was translated before a fault is passed on first.
    fn translate(&mut self, run: &[u8]) -> Result<Bytes, Failed> {
        let Decoder::Translated(translator) = &mut self.decoder else { return Ok(Bytes::new()) };
        let mut out = Vec::with_capacity(run.len());
        let mut seen_all = Vec::new();
        let mut wrong = None;
        for frame in sse::frames(run) {
            let Some(data) = &frame.data else { continue };
            match translator.frame(frame.event, data, &mut out) {
                Ok(Observed { fault: Some(fault), .. }) => wrong = Some(fault_in_stream(&fault)),
                Ok(seen) => seen_all.push(seen),
                Err(_) if self.malformed == 0 => self.malformed += 1,
                Err(_) => wrong = Some(Failed::new(Class::ProviderInvalid, "more than one of its frames is malformed")),
            }
            if wrong.is_some() {
                break;
            }
        }
        for seen in &seen_all {
            self.note(seen);
        }
        match wrong {
            Some(failed) if out.is_empty() => return Err(failed),
            wrong => self.pending = wrong,
        }
        let out = self.named(out);
        self.sewn(out)
    }

    /// Frames of ours with the model's public name, where that is wanted.
    fn named(&self, frames: Vec<u8>) -> Bytes {
        match &self.rename {
            Some(name) => rename_frames(&frames, name),
            None => frames.into(),
        }
    }

    /// Of these frames, what the client does not have yet.
    fn sewn(&mut self, run: Bytes) -> Result<Bytes, Failed> {
        match &mut self.seam {
            Some(seam) if !seam.is_closed() => {
                let new = seam.stitch(&run);
                self.differs = new.is_err();
                new
            }
            _ => Ok(run),
        }
    }

    /// Whether a frame with this data goes to the client.
    fn judge(&mut self, data: &[u8]) -> Result<bool, Failed> {
        let seen = match self.decoder.glance(data) {
            Ok(seen) => seen,
            Err(_) if self.malformed == 0 => {
                self.malformed += 1;
                log::debug!("a malformed frame was dropped");
                return Ok(false);
            }
            Err(_) => return Err(Failed::new(Class::ProviderInvalid, "more than one of its frames is malformed")),
        };
        if let Some(fault) = &seen.fault {
            return Err(fault_in_stream(fault));
        }
        self.note(&seen);
        Ok(!(self.strip_usage && seen.usage_only))
    }

    fn note(&mut self, seen: &Observed<'_>) {
        self.content |= seen.content;
        self.finished |= seen.finish;
        self.done |= seen.done;
        self.intricate |= seen.intricate;
        self.usage = seen.usage.map(|usage| usage.after(self.usage)).or(self.usage);
        if let Some(text) = &mut self.text {
            text.push_str(&seen.text);
        }
    }
}
