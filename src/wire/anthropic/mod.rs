//! Owns Anthropic Messages: reading and writing requests, replies and streams.

pub(crate) mod answer_out;
pub(crate) mod binding;
mod blocks_out;
mod event;
pub(crate) mod fault;
mod marks;
mod models;
pub(crate) mod reply_in;
pub(crate) mod reply_out;
pub(crate) mod request_in;
pub(crate) mod request_out;
mod search;
mod sources_in;
pub(crate) mod stream_in;
mod tools_out;
pub(crate) mod usage;

/// Whether a model goes on with a message of the assistant's that stands last. Unknown ones count as current, which do not.
pub(crate) fn takes_prefill(model: &str) -> bool {
    models::Generation::of(model).prefill()
}
