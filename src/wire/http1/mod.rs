//! Owns HTTP/1 as both sides of the proxy speak it: header lines read without a map, the end of a body found.

mod ends;
mod framing;
mod lines;

pub use self::{
    ends::Ends,
    framing::{Chunk, Framing, Garbled},
    lines::{LONGEST_HEAD, Lines, MOST_LINES, is_list_with, length},
};
