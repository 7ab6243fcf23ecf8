//! Owns OpenAI Responses as a client's dialect: reading requests, writing replies and streams.

pub(crate) mod answer_out;
mod calls_out;
pub(crate) mod failure;
mod message_out;
pub(crate) mod reply_out;
pub(crate) mod request_in;
pub(crate) mod tools_in;

/// What stands in for the encrypted content of reasoning that its provider did not sign: it tells that the item came from
/// here, so that it is not sent to a provider that would look for it.
pub(crate) const UNSIGNED: &str = "greenroom:unsigned";
