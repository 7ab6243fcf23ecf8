//! Owns where the bytes of an image or a file are, and how that is read.

use base64::{Engine, prelude::BASE64_STANDARD as STANDARD};

use super::mime;

/// Where an image's or file's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Url {
        url: String,
        /// What it leads to, if its sender said; `video/*` where nothing more is known.
        mime: Option<String>,
    },
    /// Base64.
    Data { mime: String, data: String },
    /// Plain text of a document.
    Text(String),
    /// An upload at a provider.
    Id(String),
}

impl Source {
    /// Bytes in base64.
    pub(crate) fn data(mime: &str, data: impl Into<String>) -> Self {
        Self::Data { mime: listed(mime).to_owned(), data: data.into() }
    }

    /// Reads a file's data: a URL, or plain base64. What it is, its name tells where nothing else does.
    pub(crate) fn of_file(data: String, name: Option<&str>) -> Self {
        if !is_url(&data) {
            return Self::data(mime::of_file(name), data);
        }
        match (Self::from_url(&data), mime::of_name(name)) {
            (Self::Data { mime, data }, Some(named)) if mime.eq_ignore_ascii_case(mime::BYTES) => {
                Self::data(named, data)
            }
            (source, _) => source,
        }
    }

    /// Reads an upload's id, in the place of which some clients put a URL.
    pub(crate) fn of_id(id: String) -> Self {
        if is_url(&id) { Self::from_url(&id) } else { Self::Id(id) }
    }

    /// Reads a URL, `data:` ones into their parts.
    pub(crate) fn from_url(url: &str) -> Self {
        let data = url.strip_prefix("data:").and_then(|rest| {
            let (head, data) = rest.split_once(',')?;
            let mime = head.strip_suffix(";base64")?.split(';').next().filter(|mime| !mime.is_empty());
            Some(Self::data(mime.unwrap_or(mime::BYTES), data))
        });
        data.unwrap_or_else(|| Self::Url { url: url.to_owned(), mime: None })
    }

    /// The same, where its sender says what it leads to.
    pub(crate) fn said(self, said: Option<String>) -> Self {
        match self {
            Self::Url { url, mime } => Self::Url { url, mime: said.map(|said| listed(&said).to_owned()).or(mime) },
            other => other,
        }
    }

    /// What is written in it, as far as it is here and is text.
    pub(crate) fn written(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Data { mime, data } if mime::is_text(mime) => String::from_utf8(STANDARD.decode(data).ok()?).ok(),
            _ => None,
        }
    }

    /// The URL that `from_url` reads back; `None` for an upload.
    pub(crate) fn to_url(&self) -> Option<String> {
        match self {
            Self::Url { url, .. } => Some(url.clone()),
            Self::Data { mime, data } => Some(format!("data:{mime};base64,{data}")),
            Self::Text(_) | Self::Id(_) => None,
        }
    }
}

/// Replaces a name for JPEG that some clients use. It is in no list of types, and Gemini and Anthropic refuse it.
fn listed(mime: &str) -> &str {
    if mime.eq_ignore_ascii_case("image/jpg") { "image/jpeg" } else { mime }
}

/// Whether a text has the beginning of a URL. Base64 has no colon, and ids have none.
fn is_url(text: &str) -> bool {
    ["data:", "https://", "http://", "gs://"].iter().any(|scheme| text.starts_with(scheme))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jpeg_goes_by_its_right_name_whoever_names_it() {
        assert_eq!(Source::data("image/JPG", "QUJD"), Source::data("image/jpeg", "QUJD"));
        let url = |said: &str| Source::from_url("https://a.example/b").said(Some(said.to_owned()));
        assert_eq!(url("image/jpg"), url("image/jpeg"));
        assert_eq!(url("image/png").said(None), url("image/png"));
    }
}
