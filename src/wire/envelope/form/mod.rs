//! Owns what Greenroom reads of a form (RFC 7578): its few words, in one pass that steps over the file in it.
//!
//! What two readers could take in two ways is refused, as a key is that stands twice: a backend could hear of another model than the
//! one that its client may use.

mod head;
#[cfg(test)]
mod tests;

use memchr::memmem;

use self::head::{Head, is_utf8};
use super::{Envelope, Member, Pin, Room, Stream, Unreadable};
use crate::wire::prompt;

/// Longest boundary there may be (RFC 2046, 5.1.1).
const LONGEST: usize = 70;

/// Most parts there may be; Starlette and Django, on which most servers of models stand, take no more either.
const MOST: usize = 1000;

/// What decides something.
const WORDS: [&str; 3] = ["model", "backend", "stream"];

/// Reads the parts of a form of this content type that decide something.
pub fn read(kind: &str, body: &[u8]) -> Result<Envelope, Unreadable> {
    let line = format!("--{}", boundary(kind).ok_or(Unreadable::NoBoundary)?);
    let mut found = Envelope { is_form: true, usage: Room::Nowhere, ..Envelope::default() };
    // Where the part under way begins: its delimiter, and what is behind that.
    let mut part: Option<(usize, usize)> = None;
    let mut parts = 0;
    for at in memmem::find_iter(body, line.as_bytes()) {
        match body[..at] {
            [] | [.., b'\r', b'\n'] => {}
            [.., b'\r' | b'\n'] => return Err(Unreadable::NotForm("its boundary stands within one of its parts")),
            _ => continue,
        }
        match part {
            Some(_) if parts == MOST => return Err(Unreadable::NotForm("it has more than 1,000 parts")),
            Some((from, inside)) => {
                found.part(body, from, inside, at)?;
                parts += 1;
            }
            None if body[..at].trim_ascii().is_empty() => {}
            None => return Err(Unreadable::NotForm("something stands in front of its first part")),
        }
        let rest = &body[at + line.len()..];
        if let Some(rest) = rest.strip_prefix(b"--") {
            let is_end = rest.trim_ascii().is_empty();
            return if is_end { Ok(found) } else { Err(Unreadable::NotForm("something follows its end")) };
        }
        let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        if !rest[blanks..].starts_with(b"\r\n") {
            return Err(Unreadable::NotForm("its boundary stands within one of its parts"));
        }
        part = Some((at, at + line.len() + blanks + 2));
    }
    Err(Unreadable::NotForm("it has no end: the boundary of its content type does not close it"))
}

impl Envelope {
    /// Takes in a part; `from` and `next`: its delimiter and the one behind it, `inside`: where its head begins.
    fn part(&mut self, body: &[u8], from: usize, inside: usize, next: usize) -> Result<(), Unreadable> {
        const HEADLESS: Unreadable = Unreadable::NotForm("a part of it has no content-disposition with one plain name");
        // The end of line in front of a delimiter is the delimiter's.
        let part = body.get(inside..next - 2).ok_or(HEADLESS)?;
        let end = memmem::find(part, b"\r\n\r\n").ok_or(HEADLESS)?;
        let Head { name, is_plain, length } = head::read(&part[..end]).ok_or(HEADLESS)?;
        let value = &part[end + 4..];
        // OkHttp tells it of each part, and servers on actix-multipart read so many bytes, whatever the boundary says.
        if length.is_some_and(|length| length != value.len().to_string()) {
            return Err(Unreadable::NotForm("a part of it is not as long as its content-length says"));
        }
        self.media += usize::from(!is_plain && prompt::is_medium(value));
        let word = name.split('[').next().unwrap_or_default();
        if word == "_charset_" {
            return Err(Unreadable::NotForm("its character set is named in a part of it"));
        }
        let Some(word) = WORDS.into_iter().find(|known| known.eq_ignore_ascii_case(word)) else { return Ok(()) };
        if name != word || !is_plain {
            return Err(Unreadable::NotForm(
                "'model', 'backend' and 'stream' have to be fields of plain text, in small letters",
            ));
        }
        let text = str::from_utf8(value).ok();
        let member = |end| Member { from, first: false, value: inside..end };
        match word {
            "model" => {
                self.model = text.map(str::to_owned);
                once("model", self.model_at.replace(member(next - 2)))
            }
            "backend" => {
                self.pin = text.filter(|name| !name.is_empty()).map_or(Pin::Bad, |name| Pin::To(name.to_owned()));
                // Cut out up to the next delimiter.
                once("backend", self.backend_at.replace(member(next)))
            }
            _ => {
                // As frameworks write and read truth in forms.
                self.stream = match text.map(str::to_ascii_lowercase).as_deref() {
                    Some("true" | "1") => Stream::On,
                    Some("false" | "0" | "") => Stream::Off,
                    _ => Stream::Bad,
                };
                once("stream", self.stream_at.replace(member(next - 2)))
            }
        }
    }
}

fn once(key: &'static str, before: Option<Member>) -> Result<(), Unreadable> {
    before.map_or(Ok(()), |_| Err(Unreadable::Twice(key)))
}

/// A part that names this model, from its head on; what else its head said was about the name that was there.
pub(super) fn named(model: &str) -> Vec<u8> {
    format!("Content-Disposition: form-data; name=\"model\"\r\n\r\n{model}").into_bytes()
}

/// The boundary in a form's content type, if there is one that all readers take alike.
fn boundary(kind: &str) -> Option<&str> {
    let (kind, parameters) = kind.split_once(';')?;
    let (mut all, mut charsets) = (None, 0);
    for parameter in parameters.split(';') {
        let (name, value) = parameter.split_once('=')?;
        match name.trim() {
            name if name.eq_ignore_ascii_case("boundary") && all.is_none() => all = Some(value.trim()),
            // Some decode names by it.
            name if name.eq_ignore_ascii_case("charset") && charsets == 0 && is_utf8(parameter) => charsets += 1,
            _ => return None,
        }
    }
    let value = all.filter(|_| kind.trim().eq_ignore_ascii_case("multipart/form-data"))?;
    let value = value.strip_prefix('"').map_or(Some(value), |value| value.strip_suffix('"'))?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_-./:=?".contains(&byte);
    let is_good = (1..=LONGEST).contains(&value.len()) && value.bytes().all(is_plain);
    is_good.then_some(value)
}
