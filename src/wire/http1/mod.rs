//! Owns HTTP/1 as both sides of the proxy speak it: header lines read without a map, the end of a body found, a packed one unpacked,
//! a named wait.

mod coding;
mod ends;
mod framing;
mod lines;
mod unpack;
mod wait;

pub use self::{
    coding::Coding,
    ends::Ends,
    framing::{Chunk, Framing, Garbled},
    lines::{LONGEST_HEAD, Lines, MOST_LINES, is_list_with, length},
    unpack::Unpacker,
    wait::wait,
};
