//! Owns the header lines of a message: kept as they came, with a note of where names and values lie.

use std::borrow::Cow;

use httparse::Header;
use smallvec::SmallVec;

/// Most header lines of a message.
pub const MOST_LINES: usize = 128;

/// Longest head of a message, bytes; those of clients and providers are below 8 KiB. What lies in it is found by 16 bits.
pub const LONGEST_HEAD: usize = 64 << 10;

// A line's end follows even the last value, so that no place is as large as this.
const _: () = assert!(LONGEST_HEAD <= 1 << u16::BITS);

/// Header lines.
#[derive(Debug)]
pub struct Lines {
    /// The whole head, the first line included.
    head: Box<[u8]>,
    /// Begin and end of a name, begin and end of its value.
    places: SmallVec<[[u16; 4]; 12]>,
}

impl Lines {
    /// Copies a head of at most `LONGEST_HEAD` and notes where the parsed `headers`, which borrow from it, lie.
    pub fn of(head: &[u8], headers: &[Header<'_>]) -> Self {
        let place = |line: &Header<'_>| {
            let [a, b] = range(head, line.name.as_bytes());
            // An empty value lies nowhere in particular.
            let [c, d] = if line.value.is_empty() { [b, b] } else { range(head, line.value) };
            [a, b, c, d]
        };
        let places = headers.iter().map(place).collect();
        Self { head: Box::from(head), places }
    }

    /// Names, as they came, and values.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.places.iter().map(move |[a, b, c, d]| (self.part(*a, *b), self.part(*c, *d)))
    }

    /// The value of the first line of this name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        // Most names differ in length already.
        let is = |place: &&[u16; 4]| {
            usize::from(place[1] - place[0]) == name.len()
                && self.part(place[0], place[1]).eq_ignore_ascii_case(name.as_bytes())
        };
        self.places.iter().find(is).map(|place| self.part(place[2], place[3]))
    }

    /// That value as text.
    pub fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.get(name)?).ok()
    }

    /// The values of all lines of this name as one list (RFC 9110, 5.3); `None`: there are none, or they are no text.
    pub fn list(&self, name: &str) -> Option<Cow<'_, str>> {
        // As a rule there is none.
        self.get(name)?;
        let mut values =
            self.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value);
        let first = std::str::from_utf8(values.next()?).ok()?;
        values.try_fold(Cow::Borrowed(first), |list, value| {
            Some(Cow::Owned(format!("{list},{}", std::str::from_utf8(value).ok()?)))
        })
    }

    fn part(&self, from: u16, to: u16) -> &[u8] {
        self.head.get(usize::from(from)..usize::from(to)).unwrap_or_default()
    }
}

/// Where `part` lies in `head`, from which it borrows.
fn range(head: &[u8], part: &[u8]) -> [u16; 2] {
    let at = part.as_ptr() as usize - head.as_ptr() as usize;
    // Heads are at most `LONGEST_HEAD` long.
    [at as u16, (at + part.len()) as u16]
}

/// The number in a `content-length`: digits, and nothing else.
pub fn length(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Whether a list with commas, such as the value of `connection`, has this word.
pub fn is_list_with(list: &[u8], word: &[u8]) -> bool {
    list.split(|b| *b == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_by_its_name_in_any_case_the_first_of_several() {
        let head = b"GET / HTTP/1.1\r\nX-A: 1\r\nx-b: \r\nx-a: 2\r\n\r\n";
        let mut headers = [httparse::EMPTY_HEADER; 4];
        let mut request = httparse::Request::new(&mut headers);
        request.parse(head).expect("a sound head");
        let lines = Lines::of(head, request.headers);
        assert_eq!((lines.text("x-A"), lines.text("x-b"), lines.text("x-c")), (Some("1"), Some(""), None));
        assert_eq!(
            (lines.list("x-A").as_deref(), lines.list("x-b").as_deref(), lines.list("x-c")),
            (Some("1,2"), Some(""), None)
        );
        let values: Vec<&[u8]> = lines.iter().map(|(_, value)| value).collect();
        assert_eq!(values, [&b"1"[..], b"", b"2"]);
    }

    #[test]
    fn a_length_is_digits_and_a_list_has_whole_words() {
        assert_eq!(length(b" 12 "), Some(12));
        for bad in [&b""[..], b"+1", b"-1", b"1, 2", b"0x1", b"99999999999999999999999"] {
            assert_eq!(length(bad), None, "{bad:?}");
        }
        assert!(is_list_with(b"x, Close", b"close") && !is_list_with(b"closed", b"close"));
    }
}
