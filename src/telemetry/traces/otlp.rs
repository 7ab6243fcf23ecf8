//! Owns the JSON of OTLP (opentelemetry-proto 1.x): a span, and what is around many of them. Ids are hexadecimal, 64-bit whole
//! numbers stand in quotes, enumerations are numbers.

use std::time::Duration;

use serde::{Serialize, Serializer};
use smallvec::SmallVec;

use crate::wire::trace_context::{SpanId, TraceId};

/// `Span.flags`: it is known whether the parent is another process's, and that it is.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;
/// `Span.flags`: the flags of `traceparent`, of which one is known.
const SAMPLED: u32 = 1;

/// What a span is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A request that was served.
    Server = 2,
    /// A request to another.
    Client = 3,
}

/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;

/// A span; without a status it is unset, which is what success has.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Span<'a> {
    #[serde(rename = "traceId")]
    pub(super) trace: TraceId,
    #[serde(rename = "spanId")]
    pub(super) id: SpanId,
    #[serde(rename = "parentSpanId", skip_serializing_if = "Option::is_none")]
    pub(super) parent: Option<SpanId>,
    pub(super) flags: u32,
    pub(super) name: Name<'a>,
    #[serde(serialize_with = "number")]
    pub(super) kind: Kind,
    pub(super) start_time_unix_nano: Digits,
    pub(super) end_time_unix_nano: Digits,
    pub(super) attributes: Attributes<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<Status>,
}

/// `{operation} {model}`, or the operation alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name<'a>(pub(super) &'static str, pub(super) Option<&'a str>);

/// How it ended: the class of its failure is an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Status {
    code: u8,
}

impl Status {
    /// The status of a span that failed.
    pub(super) const FAILED: Self = Self { code: ERROR };
}

/// A whole number of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digits(pub(super) u64);

/// A value of an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) enum Value<'a> {
    #[serde(rename = "stringValue")]
    Text(&'a str),
    #[serde(rename = "boolValue")]
    Flag(bool),
    #[serde(rename = "intValue")]
    Count(Digits),
    #[serde(rename = "doubleValue")]
    Measure(f64),
}

/// An attribute.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Attribute<'a> {
    key: &'static str,
    value: Value<'a>,
}

/// The attributes of a span, with room for all that there are.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Attributes<'a>(SmallVec<[Attribute<'a>; 24]>);

impl<'a> Attributes<'a> {
    fn add(&mut self, key: &'static str, value: Value<'a>) {
        self.0.push(Attribute { key, value });
    }

    pub(super) fn text(&mut self, key: &'static str, text: impl Into<Option<&'a str>>) {
        if let Some(text) = text.into() {
            self.add(key, Value::Text(text));
        }
    }

    pub(super) fn flag(&mut self, key: &'static str, flag: bool) {
        self.add(key, Value::Flag(flag));
    }

    pub(super) fn count(&mut self, key: &'static str, count: impl Into<Option<u64>>) {
        if let Some(count) = count.into() {
            self.add(key, Value::Count(Digits(count)));
        }
    }

    pub(super) fn seconds(&mut self, key: &'static str, time: Option<Duration>) {
        self.measure(key, time.map(|time| time.as_secs_f64()));
    }

    pub(super) fn measure(&mut self, key: &'static str, value: Option<f64>) {
        if let Some(value) = value {
            self.add(key, Value::Measure(value));
        }
    }
}

/// `Span.flags` of a sampled span whose parent, if it has one, is another process's or not.
pub(super) fn flags(is_remote: bool) -> u32 {
    SAMPLED | HAS_IS_REMOTE | if is_remote { IS_REMOTE } else { 0 }
}

/// Appends a span to those that wait.
pub(super) fn append(span: &Span<'_>, spans: &mut Vec<u8>) {
    if !spans.is_empty() {
        spans.push(b',');
    }
    // Writing to a vector cannot fail, and plain data always serialises.
    let _ = serde_json::to_writer(spans, span);
}

/// What is around the spans of this process in each request to the collector.
#[derive(Debug, Clone)]
pub(super) struct Envelope(Vec<u8>);

impl Envelope {
    /// `instance` tells this process from others of the same service.
    pub(super) fn new(service: &str, instance: &str) -> Self {
        const VERSION: &str = env!("CARGO_PKG_VERSION");
        let mut resource = Attributes::default();
        resource.text("service.name", service);
        resource.text("service.version", VERSION);
        resource.text("service.instance.id", instance);
        let attributes = serde_json::to_string(&resource).unwrap_or_default();
        let scope = format!(r#"{{"name":"greenroom","version":"{VERSION}"}}"#);
        let before = format!(
            r#"{{"resourceSpans":[{{"resource":{{"attributes":{attributes}}},"scopeSpans":[{{"scope":{scope},"spans":["#
        );
        Self(before.into_bytes())
    }

    /// A whole request with these spans, each of which may be several with commas between.
    pub(super) fn around<'s>(&self, spans: impl Iterator<Item = &'s [u8]> + Clone) -> Vec<u8> {
        const AFTER: &[u8] = b"]}]}]}";
        let size: usize = spans.clone().map(|spans| spans.len() + 1).sum();
        let mut body = Vec::with_capacity(self.0.len() + size + AFTER.len());
        body.extend_from_slice(&self.0);
        for (n, spans) in spans.enumerate() {
            if n > 0 {
                body.push(b',');
            }
            body.extend_from_slice(spans);
        }
        body.extend_from_slice(AFTER);
        body
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn number<S: Serializer>(kind: &Kind, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u8(*kind as u8)
}

impl Serialize for Attributes<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(&self.0)
    }
}

impl Serialize for Digits {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(itoa::Buffer::new().format(self.0))
    }
}

impl Serialize for Name<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self(operation, None) => to.serialize_str(operation),
            Self(operation, Some(model)) => to.collect_str(&format_args!("{operation} {model}")),
        }
    }
}
