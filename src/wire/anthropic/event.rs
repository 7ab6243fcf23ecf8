//! Owns the shape of a Messages stream's events, and of a whole message, as far as a translation reads them.

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{
    super::json::{Text, maybe_text},
    usage::RawUsage,
};

#[derive(Deserialize)]
pub(super) struct Event<'a> {
    #[serde(borrow, default, rename = "type")]
    pub(super) kind: Option<Text<'a>>,
    #[serde(default)]
    pub(super) index: Option<u64>,
    #[serde(borrow, default)]
    pub(super) message: Option<Message<'a>>,
    #[serde(borrow, default)]
    pub(super) content_block: Option<RawBlock<'a>>,
    #[serde(borrow, default)]
    pub(super) delta: Option<Delta<'a>>,
    #[serde(default)]
    pub(super) usage: Option<RawUsage>,
}

/// A message as a stream begins with it, and as a whole answer is; in place of the latter there may be an error.
#[derive(Deserialize, Default)]
pub(super) struct Message<'a> {
    #[serde(borrow, default, rename = "type")]
    pub(super) kind: Option<Text<'a>>,
    #[serde(default)]
    pub(super) error: Option<Value>,
    #[serde(borrow, default)]
    pub(super) content: Option<Vec<RawBlock<'a>>>,
    #[serde(borrow, default)]
    pub(super) stop_reason: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "maybe_text")]
    pub(super) stop_sequence: Option<Text<'a>>,
    #[serde(default)]
    pub(super) stop_details: Value,
    #[serde(borrow, default, deserialize_with = "maybe_text")]
    pub(super) id: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "maybe_text")]
    pub(super) model: Option<Text<'a>>,
    #[serde(default)]
    pub(super) usage: Option<RawUsage>,
}

#[derive(Deserialize)]
pub(super) struct RawBlock<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Text<'a>,
    #[serde(borrow, default)]
    pub(super) text: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) thinking: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "maybe_text")]
    pub(super) signature: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) data: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "maybe_text")]
    pub(super) id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) name: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) input: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "maybe_text")]
    pub(super) tool_use_id: Option<Text<'a>>,
    #[serde(default)]
    pub(super) content: Value,
    #[serde(default)]
    pub(super) citations: Value,
}

#[derive(Deserialize, Default)]
pub(super) struct Delta<'a> {
    #[serde(borrow, default, rename = "type")]
    pub(super) kind: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) text: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) thinking: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) signature: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) partial_json: Option<Text<'a>>,
    #[serde(default)]
    pub(super) citation: Value,
    #[serde(borrow, default)]
    pub(super) stop_reason: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) stop_sequence: Option<Text<'a>>,
    #[serde(default)]
    pub(super) stop_details: Value,
}
