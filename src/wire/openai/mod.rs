//! Owns OpenAI chat completions: reading and writing requests, replies and streams.

pub(crate) mod request_in;
pub(crate) mod request_out;
