//! Owns telling which answers do not come from an API: redirects, web pages, paths at which nothing is served. Pure.

use crate::wire::Fault;

/// How servers begin to say that they have nothing at a path, in lower case: Go, OpenAI, Express, Kong.
const ROUTERS: [&str; 4] = ["404 page not found", "invalid url (", "cannot post /", "no route matched"];

/// A kind of such answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strange {
    /// It sends elsewhere.
    Redirect,
    /// The server knows no such path.
    NoPath,
    /// For people.
    Page,
}

impl Strange {
    /// What kind an answer is that was read as `fault`; `None`: it may be an API's.
    pub fn of(status: u16, fault: &Fault, body: &[u8]) -> Option<Self> {
        let is_page = is_page(body);
        match status {
            300..400 => Some(Self::Redirect),
            404 | 405 if is_page || has_no_such_path(fault, body) => Some(Self::NoPath),
            _ => is_page.then_some(Self::Page),
        }
    }

    /// In words that repeat nothing of it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Redirect => "a redirect, which is not followed; check base_url",
            Self::NoPath => "nothing is served at this path; check base_url",
            Self::Page => "a web page",
        }
    }
}

/// How a status says that there is nothing: frameworks, Azure, llama.cpp.
const NOTHING: [&str; 4] = ["not found", "method not allowed", "resource not found", "file not found"];

/// How servers say it of a model that they have: Google in one sentence with that they may not have it, OpenAI of completions.
const UNSUPPORTED: [&str; 2] = [" is not supported for ", "not supported in the v1/"];

/// How servers say it with a 500: Ollama of a model that chats, `LocalAI` of an endpoint that is switched off. Reports of their users
/// have these words (chunkhound#41, LocalAI#1617).
const UNABLE: [&str; 2] = ["this model does not support embeddings", "endpoint disabled for this model"];

/// How LM Studio begins to say that it has nothing there, under a 200.
const UNEXPECTED: &str = "unexpected endpoint or method";

/// Whether a server says that it does not have this endpoint, or not for this model. Not every server of a protocol has every
/// endpoint. Beside strange answers, some servers send only a status, and llama.cpp says that it was started without it.
pub fn lacks_endpoint(status: u16, strange: Option<Strange>, fault: &Fault, body: &[u8]) -> bool {
    let said = String::from_utf8_lossy(said(fault, body)).trim_end_matches('.').to_ascii_lowercase();
    match status {
        404 | 405 => {
            // Groq's code; others repeat the status.
            let is_nothing = || {
                let of_status = fault.code.is_empty() || fault.code == status.to_string();
                fault.code == "unknown_url" || of_status && NOTHING.contains(&&*said)
            };
            let is_unsupported = || UNSUPPORTED.iter().any(|words| said.contains(words));
            strange == Some(Strange::NoPath) || said.is_empty() || is_nothing() || is_unsupported()
        }
        // OpenAI's, of a model that chats.
        403 => said.contains("not allowed to generate embeddings"),
        500 => UNABLE.iter().any(|words| said.starts_with(words)),
        501 => true,
        _ => said.starts_with(UNEXPECTED),
    }
}

/// A page in place of an answer means that something else answers at this address.
pub const PAGE: &str = "it answered with a web page; check base_url";

/// Whether a body is a page for people.
pub fn is_page(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"<")
}

/// What it says; text that is no JSON has no message.
fn said<'a>(fault: &'a Fault, body: &'a [u8]) -> &'a [u8] {
    if fault.message.is_empty() { body.trim_ascii() } else { fault.message.as_bytes() }
}

fn has_no_such_path(fault: &Fault, body: &[u8]) -> bool {
    let said = said(fault, body);
    let begins =
        |words: &&str| said.get(..words.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(words.as_bytes()));
    // FastAPI says no more than this, of an unknown path and of a method; so does Anthropic, which names a model that it misses.
    let is_bare = fault.code.is_empty() && matches!(&*fault.kind, "" | "not_found_error");
    let bare = |words: &str| is_bare && said.eq_ignore_ascii_case(words.as_bytes());
    ROUTERS.iter().any(begins) || bare("not found") || bare("method not allowed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Protocol, translate};

    fn of(status: u16, body: &str) -> Option<Strange> {
        Strange::of(status, &translate::fault(Protocol::Openai, status, body.as_bytes()), body.as_bytes())
    }

    #[test]
    fn a_path_that_a_server_does_not_know_is_told_from_a_model() {
        for body in [
            r#"{"error":{"message":"Invalid URL (POST /v1/v1/chat/completions)","type":"invalid_request_error"}}"#,
            r#"{"detail":"Not Found"}"#,
            "404 page not found\n",
            "<html><h1>404 Not Found</h1></html>",
            r#"{"type":"error","error":{"type":"not_found_error","message":"Not found"}}"#,
            r#"{"message":"no Route matched with those values"}"#,
        ] {
            assert_eq!(of(404, body), Some(Strange::NoPath), "{body}");
        }
        assert_eq!(of(405, r#"{"detail":"Method Not Allowed"}"#), Some(Strange::NoPath));
        for body in [
            "",
            r#"{"error":{"message":"The model `m` does not exist","code":"model_not_found"}}"#,
            r#"{"error":{"message":"model 'm' not found, try pulling it first","type":"api_error"}}"#,
            r#"{"error":{"message":"Not Found","code":404}}"#,
            r#"{"error":{"message":"Model not found.","code":"not_found"}}"#,
            r#"{"type":"error","error":{"type":"not_found_error","message":"model: claude-9"}}"#,
        ] {
            assert_eq!(of(404, body), None, "{body}");
        }
    }

    #[test]
    fn an_endpoint_that_a_server_does_not_have_is_told_from_a_model() {
        let unsupported =
            r#"{"error":{"code":501,"message":"This server does not support reranking. Start it with `--reranking`"}}"#;
        let missing = r#"{"error":{"message":"The model `m` does not exist","code":"model_not_found"}}"#;
        let googles = r#"{"error":{"code":404,"message":"models/m is not found for API version v1beta, or is not supported for embedContent.","status":"NOT_FOUND"}}"#;
        for (status, body, want) in [
            (404, r#"{"detail":"Not Found"}"#, true),
            (405, r#"{"detail":"Method Not Allowed"}"#, true),
            (404, "", true),
            (501, unsupported, true),
            (404, googles, true),
            (404, r#"{"error":{"message":"Unknown request URL: POST /v1/rerank.","code":"unknown_url"}}"#, true),
            (404, r#"{"error":{"code":"404","message":"Resource not found"}}"#, true),
            (404, r#"{"error":{"code":404,"message":"File Not Found","type":"not_found_error"}}"#, true),
            (405, r#"{"error":{"code":405,"message":"Method Not Allowed"}}"#, true),
            (
                404,
                r#"{"error":{"message":"This is a chat model and not supported in the v1/completions endpoint.","param":"model"}}"#,
                true,
            ),
            (403, r#"{"error":{"message":"You are not allowed to generate embeddings from this model"}}"#, true),
            (200, r#"{"error":"Unexpected endpoint or method. (POST /v1/rerank)"}"#, true),
            (200, r#"{"error":"The model has crashed."}"#, false),
            (500, r#"{"error":{"message":"this model does not support embeddings","type":"api_error"}}"#, true),
            (
                500,
                r#"{"error":{"code":500,"message":"endpoint disabled for this model by API configuration","type":""}}"#,
                true,
            ),
            (500, r#"{"error":{"message":"failed to generate embedding","type":"api_error"}}"#, false),
            (403, r#"{"error":{"message":"Your project may not use this model."}}"#, false),
            (404, r#"{"error":{"message":"Model not found","code":"404"}}"#, false),
            (404, missing, false),
            (500, "", false),
            (503, "<html></html>", false),
        ] {
            let fault = translate::fault(Protocol::Openai, status, body.as_bytes());
            assert_eq!(lacks_endpoint(status, of(status, body), &fault, body.as_bytes()), want, "{status} {body}");
        }
    }

    #[test]
    fn redirects_and_pages_are_told_from_errors() {
        assert_eq!(of(302, ""), Some(Strange::Redirect));
        assert_eq!(of(403, "\r\n<!DOCTYPE html><html>blocked</html>"), Some(Strange::Page));
        assert_eq!(of(502, "<html>Bad Gateway</html>"), Some(Strange::Page));
        assert_eq!(of(403, r#"{"message":"Forbidden"}"#), None);
        assert_eq!(of(304, "{}"), Some(Strange::Redirect));
    }
}
