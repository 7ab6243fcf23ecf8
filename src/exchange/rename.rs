//! Owns giving an answer the public name of its model, where the backend calls it otherwise.

use bytes::{Bytes, BytesMut};

use crate::wire::{
    envelope::{self, Change},
    sse,
};

/// Whole frames with the public name in `model`.
pub(super) fn rename_frames(run: &[u8], name: &str) -> Bytes {
    let mut out = BytesMut::with_capacity(run.len());
    for frame in sse::frames(run) {
        match frame.data.as_ref().and_then(|data| rename(data, name)) {
            Some(data) => {
                out.extend_from_slice(b"data: ");
                out.extend_from_slice(&data);
                out.extend_from_slice(b"\n\n");
            }
            None => out.extend_from_slice(frame.raw),
        }
    }
    out.freeze()
}

/// `data` with `model` replaced by the public name; `None` where there is none.
pub(super) fn rename(data: &[u8], name: &str) -> Option<Vec<u8>> {
    let envelope = envelope::read(data).ok()?;
    envelope.model.as_ref()?;
    let change = Change { model: Some(name), ask_usage: false, partial: None };
    Some(envelope.edit(&Bytes::copy_from_slice(data), change).concat())
}
