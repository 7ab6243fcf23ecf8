//! Owns reading JSON with no tree built: what is not asked for is stepped over.

pub(in crate::wire) mod halves;
mod string;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, collections::HashMap};

use memchr::memmem;
use serde_json::value::RawValue;
use smallvec::SmallVec;

use self::string::Ended;

/// A place in a text of JSON. Whatever is read is JSON to the last escape (RFC 8259), or the reading ends with `Malformed`.
#[derive(Debug)]
pub(super) struct Cursor<'t> {
    text: &'t str,
    at: usize,
    /// A string that was read had half a letter in it.
    torn: bool,
}

/// A text that is no JSON, or has another kind of value than was asked for. What is wrong and where is for a slower reader to
/// tell (`why`).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl<'t> Cursor<'t> {
    /// In front of the text's only value.
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: blank(text.as_bytes(), 0), torn: false }
    }

    /// How far the text has been read.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Whether something else stands in the place of what a string says.
    pub(super) fn is_torn(&self) -> bool {
        self.torn
    }

    /// Whether the next value begins with this byte.
    pub(super) fn begins(&self, with: u8) -> bool {
        self.text.as_bytes().get(self.at) == Some(&with)
    }

    /// Reads an object: `member` is told each key, and has to read what stands behind it.
    pub(super) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, &str) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        self.each(b'{', |json| {
            let from = json.at;
            let (key, value) = key(json.text.as_bytes(), from).ok_or(Malformed)?;
            json.at = value;
            member(json, &unquoted(json.text, from, key)?)
        })
    }

    /// Reads a list: `element` has to read each of its values.
    pub(super) fn list(&mut self, element: impl FnMut(&mut Self) -> Result<(), Malformed>) -> Result<(), Malformed> {
        self.each(b'[', element)
    }

    fn each(&mut self, bracket: u8, mut one: impl FnMut(&mut Self) -> Result<(), Malformed>) -> Result<(), Malformed> {
        let bytes = self.text.as_bytes();
        if !self.begins(bracket) {
            return Err(Malformed);
        }
        self.at = blank(bytes, self.at + 1);
        if bytes.get(self.at) == Some(&closing(bracket)) {
            self.at += 1;
            return Ok(());
        }
        loop {
            one(self)?;
            let at = blank(bytes, self.at);
            match bytes.get(at) {
                Some(b',') => self.at = blank(bytes, at + 1),
                Some(end) if *end == closing(bracket) => {
                    self.at = at + 1;
                    return Ok(());
                }
                _ => return Err(Malformed),
            }
        }
    }

    /// Steps over a value of any kind; gives its text.
    pub(super) fn value(&mut self) -> Result<&'t str, Malformed> {
        let (bytes, from) = (self.text.as_bytes(), self.at);
        let end = match bytes.get(from) {
            Some(b'{' | b'[') => nested(bytes, from),
            _ => plain(bytes, from),
        };
        self.at = end.ok_or(Malformed)?;
        Ok(&self.text[from..self.at])
    }

    /// Reads a string, borrowed unless it has escapes. Half a surrogate pair, which stands for no letter, is read as the
    /// replacement character.
    pub(super) fn string(&mut self) -> Result<Cow<'t, str>, Malformed> {
        let (bytes, from) = (self.text.as_bytes(), self.at);
        if !self.begins(b'"') {
            return Err(Malformed);
        }
        let end = string::end(bytes, from + 1).ok_or(Malformed)?;
        self.at = end.at;
        unquoted(self.text, from, end).or_else(|Malformed| self.halved(from))
    }

    /// The string from there on, if halves of letters are all that is wrong with it.
    #[cold]
    fn halved(&mut self, from: usize) -> Result<Cow<'t, str>, Malformed> {
        let replaced = halves::replaced(&self.text.as_bytes()[from..self.at]).ok_or(Malformed)?;
        self.torn = true;
        serde_json::from_slice(&replaced).map(Cow::Owned).map_err(|_| Malformed)
    }

    /// Reads `null` as nothing, and anything else as `read` does.
    pub(super) fn maybe<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        match word(self.text.as_bytes(), self.at, b"null") {
            Some(end) => {
                self.at = end;
                Ok(None)
            }
            None => read(self).map(Some),
        }
    }

    /// Nothing follows.
    pub(super) fn end(self) -> Result<(), Malformed> {
        if blank(self.text.as_bytes(), self.at) == self.text.len() { Ok(()) } else { Err(Malformed) }
    }
}

/// The strings that a quoted key has for values, up to their first quote, wherever they stand: as a look at the bytes finds them.
pub(super) fn texts_of<'b>(body: &'b [u8], key: &'static str) -> impl Iterator<Item = &'b [u8]> {
    memmem::find_iter(body, key).filter_map(move |at| {
        let value = body[at + key.len()..].trim_ascii_start().strip_prefix(b":")?;
        value.trim_ascii_start().strip_prefix(b"\"")?.split(|byte| *byte == b'"').next()
    })
}

/// Bytes as text, or where they cease to be any, in words.
pub(super) fn text(bytes: &[u8]) -> Result<&str, String> {
    // The fast reader of the two does not tell where.
    let read = simdutf8::basic::from_utf8(bytes).or_else(|_| std::str::from_utf8(bytes));
    read.map_err(|error| format!("not UTF-8 ({error})"))
}

/// What is wrong with the text of an object, and where, in words; some are the text's own.
pub(super) fn why(text: &str) -> String {
    fault(text).map_or_else(|| UNEXPECTED.to_owned(), |error| error.to_string())
}

/// What is wrong where nothing is wrong with the text of an object as such.
pub(super) const UNEXPECTED: &str = "one of its members is of an unexpected type";

/// What is wrong with the text of an object as such.
pub(super) fn fault(text: &str) -> Option<serde_json::Error> {
    serde_json::from_str::<HashMap<String, &RawValue>>(text).err()
}

/// What the string that begins `from` there says.
fn unquoted(text: &str, from: usize, Ended { at, escapes }: Ended) -> Result<Cow<'_, str>, Malformed> {
    if escapes {
        return serde_json::from_str(&text[from..at]).map(Cow::Owned).map_err(|_| Malformed);
    }
    Ok(Cow::Borrowed(&text[from + 1..at - 1]))
}

/// In ASCII either closing bracket comes two behind its opening one.
fn closing(bracket: u8) -> u8 {
    bracket + 2
}

// From here on a place in the text is where something begins, and what comes back is where it has ended; none: it is malformed.

/// A value that has no others in it.
fn plain(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at)? {
        b'"' => Some(string::end(bytes, at + 1)?.at),
        b't' => word(bytes, at, b"true"),
        b'f' => word(bytes, at, b"false"),
        b'n' => word(bytes, at, b"null"),
        _ => number(bytes, at),
    }
}

/// A value with all that is in it.
fn nested(bytes: &[u8], mut at: usize) -> Option<usize> {
    // The brackets that will close what is open: on the heap only where it is nested deeper than requests are.
    let mut open = SmallVec::<[u8; 64]>::new();
    loop {
        at = match bytes.get(at)? {
            bracket @ (b'{' | b'[') => {
                let closing = closing(*bracket);
                at = blank(bytes, at + 1);
                if bytes.get(at) == Some(&closing) {
                    at + 1
                } else {
                    open.push(closing);
                    at = if closing == b'}' { key(bytes, at)?.1 } else { at };
                    continue;
                }
            }
            _ => plain(bytes, at)?,
        };
        loop {
            let Some(closing) = open.last() else { return Some(at) };
            at = blank(bytes, at);
            match bytes.get(at)? {
                b',' => {
                    at = blank(bytes, at + 1);
                    at = if *closing == b'}' { key(bytes, at)?.1 } else { at };
                    break;
                }
                bracket if bracket == closing => at += 1,
                _ => return None,
            }
            open.pop();
        }
    }
}

/// A key and its colon: where the key ends, and where the value begins.
fn key(bytes: &[u8], at: usize) -> Option<(Ended, usize)> {
    if bytes.get(at) != Some(&b'"') {
        return None;
    }
    let end = string::end(bytes, at + 1)?;
    let colon = blank(bytes, end.at);
    (bytes.get(colon) == Some(&b':')).then(|| (end, blank(bytes, colon + 1)))
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = at + usize::from(bytes.get(at) == Some(&b'-'));
    at = if bytes.get(at) == Some(&b'0') { at + 1 } else { digits(bytes, at)? };
    if bytes.get(at) == Some(&b'.') {
        at = digits(bytes, at + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        let signed = matches!(bytes.get(at + 1), Some(b'+' | b'-'));
        at = digits(bytes, at + 1 + usize::from(signed))?;
    }
    Some(at)
}

fn digits(bytes: &[u8], at: usize) -> Option<usize> {
    let count = bytes.get(at..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (count > 0).then_some(at + count)
}

fn word(bytes: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    bytes.get(at..)?.starts_with(word).then_some(at + word.len())
}

fn blank(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(at) {
        at += 1;
    }
    at
}
