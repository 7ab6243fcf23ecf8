//! Owns HTTP/1 as both sides of the proxy speak it: header lines read without a map, the end of a body found.

mod framing;
mod lines;

pub use self::{
    framing::{Chunk, Framing, Garbled},
    lines::{Lines, MOST_LINES, is_list_with, length},
};
