//! Owns what is told of requests: their story, the log line.

pub mod log;
pub mod story;
