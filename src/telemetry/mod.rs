//! Owns what is told of requests: their story, the log line, the ledger, the metrics, history, traces; and of what became of actors.

pub mod actors;
mod cell;
pub mod costs;
pub mod counts;
pub mod exposition;
mod grown;
mod handing;
pub mod history;
pub mod ledger;
pub mod limited;
pub mod log;
pub mod metrics;
pub mod phase;
mod rescues;
mod sight;
pub mod story;
pub mod traces;
pub mod users;
