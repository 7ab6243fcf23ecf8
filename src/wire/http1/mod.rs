//! Owns HTTP/1 as both sides of the proxy speak it: header lines, read without a map, where a body ends, unpacking, `Retry-After`.

mod coding;
mod ends;
mod framing;
mod lines;
mod retry_after;
mod unpack;

pub use self::{
    coding::Coding,
    ends::Ends,
    framing::{Chunk, Framing, Garbled},
    lines::{LONGEST_HEAD, Lines, MOST_LINES, is_list_with, length},
    retry_after::parse_retry_after,
    unpack::Unpacker,
};
