//! Owns embeddings at providers of Gemini's protocol: requests for several at once (`batchEmbedContents`), and what is answered.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::{Value, json, value::RawValue};

use super::{
    Malformed, Observed, Usage,
    asked::{Asked, members},
    chat::Weight,
    counts,
    gemini::fault,
    json::{invalid, malformed, note, object, push, read, says_nothing},
    members::{take_count, take_text},
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

/// Reads from a body what shows in its answer: how many vectors there have to be, and whether they are packed, as OpenAI's SDKs
/// ask where their user does not.
pub fn asked(body: &[u8]) -> Asked {
    let mut asked = Asked::default();
    members(body, |key, value| match key {
        INPUT => asked.texts = read::<Vec<IgnoredAny>>(value.as_bytes()).map_or(1, |list| list.len()),
        ENCODING => asked.packed = read::<String>(value.as_bytes()).is_ok_and(|encoding| encoding == PACKED),
        _ => {}
    });
    asked
}

#[derive(Deserialize)]
struct Answer<'a> {
    error: Option<Value>,
    #[serde(borrow)]
    embeddings: Option<Vec<Values<'a>>>,
    #[serde(rename = "usageMetadata")]
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct Values<'a> {
    #[serde(borrow)]
    values: &'a RawValue,
}

#[derive(Deserialize)]
struct Counts {
    #[serde(rename = "promptTokenCount", deserialize_with = "counts::maybe", default)]
    prompt: Option<u64>,
}

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Item<'a>>,
    model: &'a str,
    usage: Value,
}

#[derive(Serialize)]
struct Item<'a> {
    object: &'static str,
    index: usize,
    embedding: Vector<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Vector<'a> {
    /// In the provider's own digits.
    Plain(&'a RawValue),
    Packed(String),
}

/// Translates an answer; of a provider's error only `Observed.fault` is given, the bytes being empty. Google's older
/// embedding models count no tokens. Clients are then told zero, since their SDKs need counts, and nothing is counted
/// elsewhere.
pub fn reply(body: &[u8], ctx: &ReplyContext) -> Result<(Vec<u8>, Observed<'static>), Malformed> {
    let answer: Answer<'_> = serde_json::from_slice(body).map_err(|error| malformed(&error))?;
    if let Some(error) = answer.error.filter(|error| !says_nothing(error)) {
        return Ok((Vec::new(), Observed::error(fault::detail(&error))));
    }
    let embeddings = answer.embeddings.ok_or_else(|| Malformed("it has no embeddings".into()))?;
    let (told, texts) = (embeddings.len(), ctx.asked.texts);
    if told != texts {
        return Err(Malformed(format!("embeddings asked for: {texts}, answered: {told}")));
    }
    let item = |(index, Values { values }): (usize, _)| {
        let numbers = numbers(values).ok_or_else(|| Malformed("an embedding is no list of numbers".into()))?;
        let embedding = if ctx.asked.packed { Vector::Packed(packed(numbers)) } else { Vector::Plain(values) };
        Ok(Item { object: "embedding", index, embedding })
    };
    let data = embeddings.into_iter().enumerate().map(item).collect::<Result<_, Malformed>>()?;
    let prompt = answer.usage.and_then(|counts| counts.prompt);
    let tokens = prompt.unwrap_or_default();
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    let mut written = Vec::with_capacity(body.len());
    push(&mut written, &List { object: "list", data, model: &ctx.model, usage });
    let usage = prompt.map(|input| Usage { input, ..Usage::default() });
    Ok((written, Observed { usage, ..Observed::default() }))
}

/// What stands between the brackets of a list of numbers, one at least. Of what is JSON nothing else consists of these bytes.
fn numbers(json: &RawValue) -> Option<&str> {
    let inner = json.get().strip_prefix('[')?.strip_suffix(']')?;
    let belongs = |byte: u8| byte.is_ascii_digit() || b"+-.eE, \t\r\n".contains(&byte);
    (!inner.trim().is_empty() && inner.bytes().all(belongs)).then_some(inner)
}

/// Numbers as OpenAI packs them: each in four bytes, the lowest first, all of them in base64.
fn packed(numbers: &str) -> String {
    // Rust reads every number of JSON.
    let values = numbers.split(',').filter_map(|number| number.trim().parse::<f32>().ok());
    let bytes: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
    BASE64_STANDARD.encode(bytes)
}
