//! Owns what Greenroom records of requests (story, log line, ledger, metrics, history, traces) and of its actors.

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
