//! Owns what providers' error messages mean where their codes do not say it.

use super::Fault;

/// Wordings of a prompt that does not fit, alone or with its answer, in lower case: OpenAI, Anthropic, Gemini, vLLM, llama.cpp,
/// xAI, Moonshot, Mistral, text-generation-inference.
const TOO_LONG: [&str; 14] = [
    "context length",
    "context_length",
    "prompt is too long",
    "exceeds the maximum number of tokens",
    "exceed context limit",
    "context window",
    "input token count",
    "cannot be greater than max_model_len",
    "maximum model length",
    "available context size",
    "maximum prompt length",
    "exceeded model token limit",
    "`inputs` must have less than",
    "`inputs` tokens + `max_new_tokens` must be",
];
/// How Anthropic says that an account has no money, in lower case; servers that pass it on say it likewise.
const NO_CREDIT: &str = "your credit balance is too low";
/// How Anthropic says that an account has spent what its owner lets it, in lower case.
const USED_UP: &str = "you have reached your specified api usage limits";
/// How messages begin that tell of an account without money, in lower case: Anthropic and Google, `DeepSeek` and Z.ai, the latter also
/// in Chinese and to Anthropic's clients, `SiliconFlow`, xAI, `LiteLLM`. Only how they begin: further on a message may quote the
/// client, who could shut a backend for everybody with the name of a tool.
const NO_MONEY: [&str; 12] = [
    NO_CREDIT,
    USED_UP,
    "gemini api free tier is not available",
    "this api method requires billing",
    "insufficient quota",
    "insufficient balance",
    "余额不足",
    "[1113][",
    "sorry, your account balance is insufficient",
    "your newly created team",
    "you have run out of credits",
    "budget has been exceeded!",
];
/// How xAI says it of an account that had some, behind the account's name, in lower case.
const SPENT: (&str, &str) = ("your team ", " has either used all available credits ");
/// How messages begin that tell of a key that is not valid, in lower case: Google, at its endpoint for OpenAI's clients too, and xAI.
const BAD_KEY: [&str; 4] = ["api key not valid", "api key expired", "invalid api key", "incorrect api key"];
/// How Anthropic's begin that tell of a key, or of its owner's account that is shut, in lower case.
const SHUT: [&str; 2] = ["invalid x-api-key", "this organization has been disabled"];
/// How a denial tells of a key or of its account, in lower case.
const ACCOUNT: [&str; 9] = [
    "api key",
    "key limit",
    "account",
    "authenticat",
    "authoriz",
    "billing",
    "credential",
    "permission",
    "subscription",
];
/// How OpenAI begins to say that a restricted key may not use this endpoint, in lower case: at others it may serve.
const OUT_OF_SCOPE: &str = "you have insufficient permissions for this operation. missing scopes";
/// What only a client names, in the words in which Google denies it, in lower case.
const CLIENTS: [&str; 2] = ["permission to access the file", "cachedcontent"];
/// How messages begin that say, with a status for something else, that there is no such model, or none for us, in lower case:
/// `DeepSeek`, Alibaba, Bedrock, xAI, Z.ai, the same in Chinese, `SiliconFlow`, Hugging Face's `transformers serve`.
const NO_MODEL: [&str; 11] = [
    "the provided model identifier is invalid",
    "model not exist",
    "access to model denied",
    "model access denied",
    "you don't have access to the model",
    "model not found",
    "unknown model",
    "模型不存在",
    "model does not exist",
    "the selected model requires paid balance",
    "server is pinned to",
];
/// How LM Studio begins to say, with status 400, that it could not load the model, in lower case.
const NOT_LOADED: &str = "failed to load model";
/// Azure's code of a deployment that is not there, or not yet: a new one takes up to five minutes, it says.
const NOT_DEPLOYED: &str = "deploymentnotfound";
/// How Azure begins to say that the settings ask in a version of its API that it does not have, or that does not have the model, in
/// lower case; the braces are its own.
const NO_VERSION: [&str; 2] = ["api version not supported", "model {modelname} is enabled only for api versions"];
/// How messages begin that tell of one request larger than the account's limit for a minute, or than what it can pay, in lower case:
/// OpenAI and Groq, `OpenRouter`.
const OVERSIZED: [&str; 2] = ["request too large", "this request requires more credits, or fewer max_tokens"];
/// How whisper.cpp's server says that it cannot read a recording, or misses it, in lower case: until late in 2025 with status 200. Another
/// server may know more formats, or take an address in place of a file.
const UNHEARD: [&str; 3] = ["failed to read wav file", "failed to read audio data", "no 'file' field in the request"];
/// How Anthropic begins to say, with status 400 and no code of its own, that it keeps an answer back, in lower case.
const FILTERED: &str = "output blocked by content filtering policy";
/// What a "not found" is about if it is about the settings, in lower case.
const CONFIGURED: [&str; 8] = ["model", "models", "deployment", "deployments", "endpoint", "endpoints", "url", "route"];
/// What a "not found" is about if it is about something that the request names, in lower case.
const NAMED: [&str; 18] = [
    "assistant",
    "batch",
    "cachedcontent",
    "container",
    "conversation",
    "document",
    "file",
    "image",
    "item",
    "message",
    "prompt",
    "response",
    "session",
    "skill",
    "store",
    "thread",
    "tool",
    "upload",
];
/// What `OpenRouter` says if a model is there and no server of it takes what the request needs, in lower case.
const UNABLE: &str = "found that support";

/// How `OpenRouter` says it of a model, behind its name: that may be any words of a client's, and begin as others' messages do.
const NO_ID: &str = " is not a valid model ID";

/// Whether a message begins with one of these, whatever the case of its letters.
fn begins(message: &str, words: &[&str]) -> bool {
    !message.ends_with(NO_ID)
        && words.iter().any(|words| message.get(..words.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(words)))
}

/// Sets code, and status where it misleads, by the message.
pub(crate) fn refine(fault: &mut Fault) {
    let begins = |words: &[&str]| begins(&fault.message, words);
    if begins(&BAD_KEY) || begins(&SHUT) {
        fault.status = Some(401);
        "invalid_api_key".clone_into(&mut fault.code);
    } else if is_out_of_money(fault) && fault.status.is_none_or(|s| s < 500) {
        "insufficient_quota".clone_into(&mut fault.code);
    } else if is_too_long(fault) && fault.status.is_none_or(|s| s == 400 || s == 413 || s == 422) {
        "context_length_exceeded".clone_into(&mut fault.code);
    }
}

/// Whether the prompt does not fit, as far as the words tell.
pub fn is_too_long(fault: &Fault) -> bool {
    let message = fault.message.to_ascii_lowercase();
    TOO_LONG.iter().any(|words| message.contains(words))
}

/// Whether an OpenAI-style server says, with a status that means something else, that it does not take our key. Anthropic's
/// endpoint for OpenAI's clients is one.
pub fn refuses_the_key(fault: &Fault) -> bool {
    begins(&fault.message, &BAD_KEY) || begins(&fault.message, &SHUT)
}

/// Whether the account has no money, as far as the words tell.
pub fn is_out_of_money(fault: &Fault) -> bool {
    begins(&fault.message, &NO_MONEY)
        || (begins(&fault.message, &[SPENT.0]) && fault.message.to_ascii_lowercase().contains(SPENT.1))
}

/// Whether the model that the settings name is not there, told with a status that means something else.
pub fn misses_the_model(fault: &Fault) -> bool {
    begins(&fault.message, &NO_MODEL)
}

/// The same of words in which it has a place, `OpenRouter`'s and `LiteLLM`'s. It has to be the one that was asked for: a client may
/// name others, to be asked in its place.
pub fn misses_this_model(fault: &Fault, model: &str) -> bool {
    // The latter puts an error's type or a path in front.
    let said =
        fault.message.split_once(": ").filter(|(first, _)| !first.contains(' ')).map_or(&*fault.message, |two| two.1);
    let rest = said.strip_prefix("Invalid model name passed in model=").and_then(|rest| rest.strip_prefix(model));
    fault.message.strip_suffix(NO_ID) == Some(model)
        || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(". "))
}

/// Whether a "not found" is about the model, as it says itself: nobody puts it so who only stands in front of the API.
pub fn speaks_of_the_model(fault: &Fault) -> bool {
    !fault.code.eq_ignore_ascii_case(NOT_DEPLOYED) && fault.message.to_ascii_lowercase().contains("model")
}

/// Whether the server could not load the model.
pub fn fails_to_load(fault: &Fault) -> bool {
    begins(&fault.message, &[NOT_LOADED])
}

/// Whether a request depends in vain on a server of tools that it names itself: OpenAI and Groq ask those from where they are.
pub fn is_about_a_tool(fault: &Fault) -> bool {
    fault.kind == "external_connector_error" || fault.message.to_ascii_lowercase().contains("mcp")
}

/// Whether the provider's API has no such version as the settings name.
pub fn misses_the_version(fault: &Fault) -> bool {
    begins(&fault.message, &NO_VERSION)
}

/// Whether this one request is larger than all that the account may ask for in a minute, or can pay: no wait cures that.
pub fn is_oversized(fault: &Fault) -> bool {
    begins(&fault.message, &OVERSIZED)
}

/// Whether a server cannot read the recording that came with the request.
pub fn is_unheard(fault: &Fault) -> bool {
    begins(&fault.message, &UNHEARD)
}

/// Whether an answer was kept back for its content, as far as the words tell.
pub fn is_filtered(fault: &Fault) -> bool {
    begins(&fault.message, &[FILTERED])
}

/// Whether a denial is a moderator's, who found something in the prompt: `OpenRouter`, xAI and guards before models tell it so.
pub fn is_flagged(fault: &Fault) -> bool {
    let said = fault.message.to_ascii_lowercase();
    ["input was flagged", "violates usage guidelines", "blocked by content"].iter().any(|words| said.contains(words))
}

/// Whether a denial is of a key or of its account, as far as the words tell. What is quoted may be the client's own, who could
/// shut a backend for everybody with it: only what stands in front counts.
pub fn denies_the_account(fault: &Fault) -> bool {
    let said = fault.message.to_ascii_lowercase();
    let own = said.split(['"', '`']).next().and_then(|own| own.split(" '").next()).unwrap_or_default();
    !denies_what_is_named(&said) && ACCOUNT.iter().any(|words| own.contains(words))
}

/// Whether a denial is of this endpoint alone, to a key that is good for others.
pub fn is_out_of_scope(fault: &Fault) -> bool {
    fault.message.to_ascii_lowercase().starts_with(OUT_OF_SCOPE)
}

/// Whether a denial, in lower case, is of something of Google's that only a client names.
pub(super) fn denies_what_is_named(said: &str) -> bool {
    CLIENTS.iter().any(|words| said.contains(words))
}

/// Whether a "not found" is about something that the request names (a file, a thread, an earlier answer), and not about the
/// model or the address that the settings name. The first word that tells decides: what stands behind may be the client's own.
pub fn misses_what_is_named(fault: &Fault) -> bool {
    let told = |word: &str| {
        // Google names a model by its path.
        if CONFIGURED.contains(&word) || word.starts_with("models/") {
            Some(false)
        } else {
            NAMED.contains(&word).then_some(true)
        }
    };
    let (code, message) = (fault.code.to_ascii_lowercase(), fault.message.to_ascii_lowercase());
    if message.contains(UNABLE) {
        return true;
    }
    let words = message.split_ascii_whitespace().map(|word| word.trim_end_matches([':', ',', '.', ';']));
    code.strip_suffix("_not_found").into_iter().chain(words).find_map(told).unwrap_or(false)
}
