//! Owns telling whether an answer that was to continue a text begins it anew instead. Pure.

use memchr::memmem;

/// An answer that continues a text does not repeat this many letters in a row.
const ENOUGH: usize = 40;

/// White space that may stand in front of an answer without making it another one.
const BLANKS: usize = 8;

/// What an answer does that was to continue a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bearing {
    /// So far it could be either.
    Open,
    /// It continues the text.
    GoesOn,
    /// It repeats the text, word for word so far.
    Repeats,
    /// It does neither, or may repeat the text but not surely enough to decide what goes out.
    Neither,
}

/// What an answer does that was to continue `had`, whose white space at the end is `blank`, and has `said` this so far.
/// `ended`: it says no more.
pub(super) fn bearing(had: &str, blank: &str, said: &str, ended: bool) -> Bearing {
    let (own, text) = (said.trim_start(), had.trim());
    let lead = said.len() - own.len();
    let beginning = text.char_indices().nth(ENOUGH).map_or(text, |(end, _)| &text[..end]);
    if own.starts_with(beginning) {
        // After a short text, or one that contains its own beginning twice, the same words need not be a repetition.
        let is_short = beginning.len() == text.len();
        let recurs = text.as_bytes().get(1..).is_some_and(|rest| memmem::find(rest, beginning.as_bytes()).is_some());
        let is_exact = had.starts_with(&said[..lead + beginning.len()]);
        return if is_exact && !is_short && !recurs { Bearing::Repeats } else { Bearing::Neither };
    }
    if beginning.starts_with(own) && lead <= blank.len() + BLANKS && !ended {
        return Bearing::Open;
    }
    if said.starts_with(blank) { Bearing::GoesOn } else { Bearing::Neither }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "The capital of France is Paris. It lies on the Seine ";

    fn of(had: &str, said: &str) -> Bearing {
        bearing(had, &had[had.trim_end().len()..], said, false)
    }

    #[test]
    fn what_begins_the_text_anew_is_told_from_what_goes_on_by_its_first_words() {
        for (said, is) in [
            ("", Bearing::Open),
            (" ", Bearing::Open),
            (" The capital", Bearing::Open),
            (" The cap", Bearing::Open),
            (" The caps", Bearing::GoesOn),
            (" and has", Bearing::GoesOn),
            ("The caps", Bearing::Neither),
            ("and has", Bearing::Neither),
            (&TEXT[..ENOUGH - 1], Bearing::Open),
            (&TEXT[..ENOUGH], Bearing::Repeats),
            (TEXT, Bearing::Repeats),
            // Not word for word the same, blanks included.
            (&format!("\n{TEXT}"), Bearing::Neither),
        ] {
            assert_eq!(of(TEXT, said), is, "{said:?}");
        }
        assert_eq!(bearing(TEXT, " ", " The cap", true), Bearing::GoesOn);
        assert_eq!(of(TEXT, &" ".repeat(BLANKS + 2)), Bearing::GoesOn, "nobody waits for ever");
    }

    #[test]
    fn what_may_be_more_of_the_same_is_taken_neither_for_that_nor_for_a_repetition() {
        let laughs = "ha".repeat(50);
        for (had, said) in [("", "ha"), ("ha", "ha!"), ("The cat.", "The cat. "), (&laughs, &laughs)] {
            assert_eq!(of(had, said), Bearing::Neither, "{had}");
        }
    }
}
