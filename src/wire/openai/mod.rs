//! Owns OpenAI chat completions: reading and writing requests, replies and streams.

pub(crate) mod answer_out;
mod chunk;
mod echo;
mod enforced;
pub(crate) mod fault;
pub(crate) mod messages_in;
mod messages_out;
mod models;
pub(crate) mod prompt;
pub(crate) mod reply_in;
pub(crate) mod reply_out;
pub(crate) mod request_in;
pub(crate) mod request_out;
pub(crate) mod stream_in;
mod thoughts_in;
mod tools_out;
mod typed;

/// Whether the model is one of OpenAI's that reason.
pub(crate) fn reasons(model: &str) -> bool {
    models::Model::of(model).thinks()
}

/// Whether the model is one of Google's.
pub(crate) fn is_googles(model: &str) -> bool {
    models::is_googles(model)
}
