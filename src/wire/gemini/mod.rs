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
