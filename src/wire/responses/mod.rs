//! Owns OpenAI Responses as a client's dialect: reading requests, writing replies and streams.

pub(crate) mod reply_out;
pub(crate) mod request_in;
pub(crate) mod stream_out;
