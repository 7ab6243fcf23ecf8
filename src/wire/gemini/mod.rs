//! Owns Gemini `generateContent`: writing requests, reading replies and streams.

mod args;
mod calls_out;
mod chunk;
pub(crate) mod fault;
mod grounding;
mod media;
mod models;
pub(crate) mod reply_in;
pub(crate) mod request_out;
pub(crate) mod stream_in;

/// Whether a model refuses a history in which the first call of a turn has no proof of the thought behind it.
pub(crate) fn wants_proofs(model: &str) -> bool {
    models::Model::of(model).is_third()
}
