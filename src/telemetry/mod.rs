//! Owns what is told of requests: their story, the log line, the ledger.

pub mod ledger;
pub mod log;
pub mod story;
