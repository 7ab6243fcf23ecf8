//! Owns which of a backend's frames go out: each is judged as it passes, and may be translated, renamed, sewn on or dropped.

use bytes::{Bytes, BytesMut};

use super::{decode::Decoder, relay::Reader};
use crate::{
    error::{Class, Failed},
    upstream::classify::fault_in_stream,
    wire::{Observed, naming::renamed, peek, prompt::BYTES_PER_TOKEN, sse},
};

/// Longest text that is kept for a rescue, bytes.
const RESCUABLE: usize = 1 << 20;

impl Reader {
    /// Judges whole frames; returns those that are for the client.
    pub(super) fn read(&mut self, mut run: Bytes) -> Result<Bytes, Failed> {
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
                // Before the first content nothing goes out but keepalives of ours. A frame without data that is no comment means
                // nothing, and some clients stumble over it.
                None => self.content && frame.is_comment(),
                Some(data) => match self.judge(frame.event, data) {
                    Ok(keep) => keep,
                    Err(failed) if start == 0 => return Err(failed),
                    Err(failed) => {
                        self.pending = Some(failed);
                        let good = changed.map_or_else(|| run.slice(..start), BytesMut::freeze);
                        return self.sewn(good);
                    }
                },
            };
            let other = match (&self.terms.rename, &frame.data) {
                (Some(name), Some(data)) if keep => renamed(data, name),
                _ => None,
            };
            if (!keep || other.is_some()) && changed.is_none() {
                changed = Some(BytesMut::from(&run[..start]));
            }
            if let Some(out) = &mut changed {
                match other {
                    Some(data) => frame.write_with(&data, out),
                    None if keep => out.extend_from_slice(frame.raw),
                    None => {}
                }
            }
            if self.done {
                // Nothing that follows the end is for the client.
                break;
            }
        }
        run.truncate(at);
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
                Err(_) => wrong = drop_frame(data, &mut self.malformed).err(),
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

    /// The part of these frames that the client does not have yet.
    fn sewn(&mut self, run: Bytes) -> Result<Bytes, Failed> {
        let run = match &mut self.seam {
            Some(seam) if !seam.is_closed() => {
                let new = seam.stitch(&run);
                self.differs = new.is_err();
                new?
            }
            _ => run,
        };
        self.added |= !run.is_empty();
        Ok(run)
    }

    /// Whether a frame with this data goes to the client.
    fn judge(&mut self, event: Option<&str>, data: &[u8]) -> Result<bool, Failed> {
        let Ok(seen) = self.decoder.glance(event, data) else {
            return drop_frame(data, &mut self.malformed).map(|()| false);
        };
        if let Some(fault) = &seen.fault {
            return Err(fault_in_stream(fault));
        }
        // After content it goes to the client as it came.
        if let (Some(gave_up), false) = (seen.gave_up, self.content) {
            return Err(fault_in_stream(&gave_up.fault()));
        }
        self.note(&seen);
        Ok(!(self.terms.strip_usage && seen.usage_only))
    }

    fn note(&mut self, seen: &Observed<'_>) {
        self.content |= seen.content;
        self.course.note(seen.moves);
        self.done |= seen.done;
        self.intricate |= seen.intricate;
        if seen.content {
            // What is no text here is a piece of a call or the like, and most often one token.
            let bytes = if seen.text.is_empty() { BYTES_PER_TOKEN } else { seen.text.len() as u64 };
            self.signs.uncounted.set(self.signs.uncounted.get() + bytes);
        }
        if let Some(usage) = seen.usage {
            self.signs.usage.set(Some(usage.after(self.signs.usage.get())));
            if usage.output > 0 {
                self.signs.uncounted.set(0);
            }
        }
        if let Some(text) = &mut self.text {
            text.push_str(&seen.text);
        }
        // No rescue from here on: the text of a backend that does not stop would fill the memory, and few backends could
        // repeat so much word for word.
        self.text.take_if(|text| text.len() > RESCUABLE);
    }
}

/// Drops the first frame that cannot be read; a second one is a failure. A frame of a tool call is never dropped, because what
/// is left of the call would look whole.
fn drop_frame(data: &[u8], malformed: &mut u32) -> Result<(), Failed> {
    let why = match (peek::names_call(data), *malformed) {
        (false, 0) => {
            *malformed += 1;
            log::debug!("a malformed frame was dropped");
            return Ok(());
        }
        (false, _) => "more than one of its frames is malformed",
        (true, _) => "a frame of a call is malformed",
    };
    Err(Failed::new(Class::ProviderInvalid, why))
}
