//! Owns embeddings at providers of Gemini's protocol: requests for several at once (`batchEmbedContents`), and what is answered.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Malformed, Observed, Usage,
    chat::Weight,
    counts,
    gemini::fault,
    json::{Text, invalid, malformed, note, object, push, says_nothing, take_count, take_text},
    translate::{Refused, ReplyContext, Target, Translated},
};

/// Writes a request. What a text is for has no name in OpenAI's API: `task_type` is Google's own, as its SDKs for
/// Python call it.
pub fn request(body: &[u8], target: &Target<'_>) -> Result<Translated, Refused> {
    let mut asked = object(body)?;
    // They name the backend, which this is, and what goes into the URL.
    asked.retain(|member, _| !matches!(member.as_str(), "model" | "backend" | "stream"));
    let texts = texts(asked.remove("input").unwrap_or_default(), target)?;
    let dimensions = take_count(&mut asked, "dimensions")?;
    let task = take_text(&mut asked, "task_type")?;
    match take_text(&mut asked, ENCODING)?.as_deref() {
        None | Some("float" | PACKED) => {}
        Some(_) => return Err(invalid(Some(ENCODING), format!("'{ENCODING}' must be float or {PACKED}"))),
    }
    let mut losses = Vec::new();
    for (member, value) in asked {
        if !value.is_null() {
            note(&mut losses, member, Weight::Hint);
        }
    }
    if let Some(refused) = Refused::of(&losses, target) {
        return Err(refused);
    }
    let one = |text: String| {
        // Each names the model again, as a resource, though the URL has it.
        let mut one = json!({"model": format!("models/{}", target.model), "content": {"parts": [{"text": text}]}});
        if let Some(dimensions) = dimensions {
            one["outputDimensionality"] = dimensions.into();
        }
        if let Some(task) = &task {
            one["taskType"] = task.as_str().into();
        }
        one
    };
    let requests: Vec<Value> = texts.into_iter().map(one).collect();
    let dropped = losses.into_iter().map(|loss| loss.field).collect();
    Ok(Translated { body: json!({"requests": requests}).to_string().into_bytes(), dropped, trials: None })
}

const INPUT: &str = "input";
const ENCODING: &str = "encoding_format";
const PACKED: &str = "base64";

/// The texts of an input: one, or a list. Of tokens only their own model knows what they say.
fn texts(input: Value, target: &Target<'_>) -> Result<Vec<String>, Refused> {
    let wrong = || invalid(Some(INPUT), format!("'{INPUT}' must be a string or a list of strings"));
    match input {
        Value::String(text) => Ok(vec![text]),
        Value::Array(list) => list
            .into_iter()
            .map(|one| match one {
                Value::String(text) => Ok(text),
                Value::Number(_) | Value::Array(_) => Err(tokens(target)),
                _ => Err(wrong()),
            })
            .collect(),
        _ => Err(wrong()),
    }
}

fn tokens(target: &Target<'_>) -> Refused {
    let message = format!(
        "'{INPUT}' of tokens cannot be served by this backend ({}): send texts (from LangChain with \
         check_embedding_ctx_length=False)",
        target.protocol.as_str()
    );
    Refused::Unsupported { param: Some(INPUT.to_owned()), message }
}

/// Whether a request asks for packed vectors, as OpenAI's SDKs do where their user does not.
pub fn wants_packed(body: &[u8]) -> bool {
    let wish: serde_json::Result<Wish<'_>> = serde_json::from_slice(body);
    wish.is_ok_and(|wish| wish.encoding_format.is_some_and(|text| text.0 == PACKED))
}

#[derive(Deserialize)]
struct Wish<'a> {
    #[serde(borrow)]
    encoding_format: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Answer {
    error: Option<Value>,
    embeddings: Option<Vec<Values>>,
    #[serde(rename = "usageMetadata")]
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Values {
    values: Vec<f64>,
}

#[derive(Deserialize)]
struct Counts {
    #[serde(rename = "promptTokenCount", deserialize_with = "counts::maybe", default)]
    prompt: Option<u64>,
}

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Item>,
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Value>,
}

#[derive(Serialize)]
struct Item {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Vector {
    Plain(Vec<f64>),
    Packed(String),
}

/// Translates an answer; of a provider's error only `Observed.fault` is given, the bytes being empty. Google's embedding models
/// of old do not count tokens: then none are told.
pub fn reply(body: &[u8], ctx: &ReplyContext) -> Result<(Vec<u8>, Observed<'static>), Malformed> {
    let answer: Answer = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    if let Some(error) = answer.error.filter(|error| !says_nothing(error)) {
        return Ok((Vec::new(), Observed { fault: Some(fault::detail(&error)), ..Observed::default() }));
    }
    let embeddings = answer.embeddings.ok_or_else(|| Malformed("it has no embeddings".into()))?;
    let vector = |values: Vec<f64>| if ctx.packed { Vector::Packed(packed(&values)) } else { Vector::Plain(values) };
    let data: Vec<Item> = embeddings
        .into_iter()
        .enumerate()
        .map(|(index, one)| Item { object: "embedding", index, embedding: vector(one.values) })
        .collect();
    let prompt = answer.usage.and_then(|counts| counts.prompt);
    let usage = prompt.map(|tokens| json!({"prompt_tokens": tokens, "total_tokens": tokens}));
    let mut written = Vec::with_capacity(body.len());
    push(&mut written, &List { object: "list", data, model: &ctx.model, usage });
    let usage = prompt.map(|input| Usage { input, ..Usage::default() });
    Ok((written, Observed { usage, ..Observed::default() }))
}

/// Numbers as OpenAI packs them: each in four bytes, the lowest first, all of them in base64.
fn packed(values: &[f64]) -> String {
    let bytes: Vec<u8> = values.iter().flat_map(|value| (*value as f32).to_le_bytes()).collect();
    BASE64_STANDARD.encode(bytes)
}
