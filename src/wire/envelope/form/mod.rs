//! Owns what Greenroom reads of a form (RFC 7578): its few words, in one pass that steps over the file in it.
//!
//! What two readers could take in two ways is refused, as a key is that stands twice: a backend could hear of another model than the
//! one that its client may use.

#[cfg(test)]
mod tests;

use memchr::{memchr2_iter, memmem};

use super::{Envelope, Member, Pin, Stream, Unreadable};

/// Longest boundary there may be (RFC 2046, 5.1.1).
const LONGEST: usize = 70;

/// Reads the parts of a form of this content type that decide something.
pub fn read(kind: &str, body: &[u8]) -> Result<Envelope, Unreadable> {
    let line = format!("--{}", boundary(kind).ok_or(Unreadable::NoBoundary)?);
    let mut found = Envelope { is_form: true, ..Envelope::default() };
    // Where the part under way begins: its delimiter, and what is behind that.
    let mut part: Option<(usize, usize)> = None;
    for at in memmem::find_iter(body, line.as_bytes()) {
        match body[..at] {
            [] | [.., b'\r', b'\n'] => {}
            [.., b'\r' | b'\n'] => return Err(Unreadable::NotForm("its boundary stands within one of its parts")),
            _ => continue,
        }
        match part {
            Some((from, inside)) => found.part(body, from, inside, at)?,
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
        let head = memmem::find(part, b"\r\n\r\n").ok_or(HEADLESS)?;
        let at = inside + head + 4;
        let name = name(&part[..head]).ok_or(HEADLESS)?;
        let text = std::str::from_utf8(&part[head + 4..]).ok();
        let member = |end| Member { from, first: false, value: at..end };
        match name {
            b"model" => {
                self.model = text.map(str::to_owned);
                once("model", self.model_at.replace(member(next - 2)))
            }
            b"backend" => {
                self.pin = text.filter(|name| !name.is_empty()).map_or(Pin::Bad, |name| Pin::To(name.to_owned()));
                // Cut out up to the next delimiter.
                once("backend", self.backend_at.replace(member(next)))
            }
            b"stream" => {
                // As frameworks write and read truth in forms.
                self.stream = match text.map(str::to_ascii_lowercase).as_deref() {
                    Some("true" | "1") => Stream::On,
                    Some("false" | "0" | "") => Stream::Off,
                    _ => Stream::Bad,
                };
                once("stream", self.stream_at.replace(member(next - 2)))
            }
            _ => Ok(()),
        }
    }
}

fn once(key: &'static str, before: Option<Member>) -> Result<(), Unreadable> {
    before.map_or(Ok(()), |_| Err(Unreadable::Twice(key)))
}

/// The boundary in a form's content type, if there is one that all readers take alike.
fn boundary(kind: &str) -> Option<&str> {
    let (kind, parameters) = kind.split_once(';')?;
    let mut all = parameters.split(';').filter_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let name = name.trim();
        name.get(..8)?.eq_ignore_ascii_case("boundary").then(|| (name.len(), value.trim()))
    });
    let (8, value) = all.next().filter(|_| kind.trim().eq_ignore_ascii_case("multipart/form-data"))? else {
        return None;
    };
    let value = value.strip_prefix('"').map_or(Some(value), |value| value.strip_suffix('"'))?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_-./:=?".contains(&byte);
    let is_good = (1..=LONGEST).contains(&value.len()) && value.bytes().all(is_plain) && all.next().is_none();
    is_good.then_some(value)
}

/// The name in the head of a part.
fn name(head: &[u8]) -> Option<&[u8]> {
    let ends = memmem::find_iter(head, b"\r\n").count();
    if memchr2_iter(b'\r', b'\n', head).count() != 2 * ends {
        return None;
    }
    let mut named = None;
    for line in head.split(|byte| *byte == b'\n') {
        let colon = line.iter().position(|byte| *byte == b':')?;
        // A line that goes on with the one before is none to all readers.
        if line[0].is_ascii_whitespace() {
            return None;
        }
        if line[..colon].trim_ascii().eq_ignore_ascii_case(b"content-disposition")
            && named.replace(parameter(&line[colon + 1..])?).is_some()
        {
            return None;
        }
    }
    named
}

/// The value of the parameter `name`, quoted or not, where that word stands for no more than one.
fn parameter(disposition: &[u8]) -> Option<&[u8]> {
    let lower = disposition.to_ascii_lowercase();
    let mut values = memmem::find_iter(&lower, b"name").filter_map(|at| {
        // Not of `filename`.
        let is_word = at.checked_sub(1).is_none_or(|before| !lower[before].is_ascii_alphanumeric());
        let rest = disposition[at + 4..].trim_ascii_start();
        (is_word && matches!(rest.first(), Some(b'=' | b'*'))).then_some(rest)
    });
    let value = values.next().filter(|_| values.next().is_none())?.strip_prefix(b"=")?.trim_ascii();
    let Some(quoted) = value.strip_prefix(b"\"") else {
        let end = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
        let name = value[..end].trim_ascii();
        let is_token = |byte: &u8| byte.is_ascii_graphic() && !b"\"\\".contains(byte);
        return name.iter().all(is_token).then_some(name);
    };
    let end = quoted.iter().position(|byte| *byte == b'"')?;
    let (name, rest) = (&quoted[..end], quoted[end + 1..].trim_ascii_start());
    (!name.contains(&b'\\') && matches!(rest.first(), None | Some(b';'))).then_some(name)
}
