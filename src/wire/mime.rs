//! Owns the media type of a file, guessed from its name if its sender does not say, and whether that is text.

/// The type of a file of which nothing is said but that it is bytes.
pub(crate) const BYTES: &str = "application/octet-stream";

/// The type of what is known to be a video, and no more.
pub(crate) const VIDEO: &str = "video/*";

/// The type of a file in base64: a PDF, which is what files mostly are, unless its name tells otherwise.
pub(crate) fn of_file(name: Option<&str>) -> &'static str {
    of_name(name).unwrap_or("application/pdf")
}

/// The type of a file, if its name tells.
pub(crate) fn of_name(name: Option<&str>) -> Option<&'static str> {
    name.and_then(by_ending)
}

/// Whether a type is of text, whatever is written in it (RFC 6839 for the suffixes).
pub(crate) fn is_text(mime: &str) -> bool {
    const NAMED: [&str; 8] = ["json", "x-ndjson", "jsonl", "xml", "yaml", "x-yaml", "javascript", "sql"];
    let mime = mime.to_ascii_lowercase();
    let Some(kind) = mime.strip_prefix("application/") else { return mime.starts_with("text/") };
    NAMED.contains(&kind) || kind.ends_with("+json") || kind.ends_with("+xml")
}

/// The type of what a URL leads to, if its path tells.
pub(crate) fn of_url(url: &str) -> Option<&'static str> {
    by_ending(url.split(['?', '#']).next()?.rsplit('/').next()?)
}

fn by_ending(name: &str) -> Option<&'static str> {
    let (_, ending) = name.rsplit_once('.')?;
    Some(match ending.to_ascii_lowercase().as_str() {
        "txt" | "text" | "log" => "text/plain",
        "md" => "text/markdown",
        "csv" => "text/csv",
        "html" | "htm" => "text/html",
        "xml" => "text/xml",
        "json" => "application/json",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "pdf" => "application/pdf",
        "heic" => "image/heic",
        "mp4" => "video/mp4",
        "mov" => "video/quicktime",
        "webm" => "video/webm",
        "mpeg" | "mpg" => "video/mpeg",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_a_url_are_told_by_the_same_endings() {
        for (ending, want) in
            [("md", "text/markdown"), ("CSV", "text/csv"), ("pdf", "application/pdf"), ("heic", "image/heic")]
        {
            assert_eq!(of_file(Some(&format!("a.b.{ending}"))), want);
            assert_eq!(of_url(&format!("https://x.test/v1.0/a.{ending}?b=c.png#d.png")), Some(want));
        }
        assert_eq!(of_file(Some("a")), "application/pdf");
        for url in ["https://x.test", "https://x.test/a.csv/b", "https://x.test/a.unknown", ""] {
            assert_eq!(of_url(url), None, "{url}");
        }
    }
}
