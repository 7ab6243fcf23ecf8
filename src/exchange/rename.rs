//! Owns giving a stream's frames the public name of their model, where the backend calls it otherwise.

use bytes::{Bytes, BytesMut};

use crate::wire::sse::{self, Frame};

pub(super) use crate::wire::naming::renamed as rename;

/// Whole frames with the public name for their model.
pub(super) fn rename_frames(run: &[u8], name: &str) -> Bytes {
    let mut out = BytesMut::with_capacity(run.len());
    for frame in sse::frames(run) {
        match frame.data.as_ref().and_then(|data| rename(data, name)) {
            Some(data) => push(&frame, &data, &mut out),
            None => out.extend_from_slice(frame.raw),
        }
    }
    out.freeze()
}

/// Appends a frame with other data.
pub(super) fn push(frame: &Frame<'_>, data: &[u8], out: &mut BytesMut) {
    if let Some(event) = frame.event {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(event.as_bytes());
        out.extend_from_slice(b"\n");
    }
    for line in data.split(|byte| *byte == b'\n') {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line);
        out.extend_from_slice(b"\n");
    }
    out.extend_from_slice(b"\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renamed_frame_keeps_its_events_name_and_others_every_byte() {
        let run = concat!(
            ": hello\n\n",
            "event: message_start\r\ndata: {\"message\":\r\ndata: {\"model\":\"m\"}}\r\n\r\n",
            "event:ping\ndata:{\"type\":\"ping\"}\n\n",
        );
        let want = concat!(
            ": hello\n\n",
            "event: message_start\ndata: {\"message\":\ndata: {\"model\":\"public\"}}\n\n",
            "event:ping\ndata:{\"type\":\"ping\"}\n\n",
        );
        assert_eq!(rename_frames(run.as_bytes(), "public"), want);
    }
}
