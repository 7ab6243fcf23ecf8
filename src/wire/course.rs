//! Owns the progress of an answer's choices: which ones a frame continues or ends, and whether all have ended.

/// The last bit, which all later choices share. A finish of one of those is not believed; only an end marker ends them.
const BEYOND: u32 = u64::BITS - 1;

/// A finish reason, unless it is empty: some servers send that until there is one.
pub(crate) fn said<T: AsRef<str>>(reason: Option<T>) -> Option<T> {
    reason.filter(|reason| !reason.as_ref().is_empty())
}

/// What a frame does to an answer's choices, a bit for each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moves {
    named: u64,
    says: u64,
    ends: u64,
}

impl Moves {
    /// A frame that names one choice, and says something of it, or ends it, or both.
    pub fn of(index: u32, says: bool, ends: bool) -> Self {
        let bit = 1 << index.min(BEYOND);
        let when = |yes: bool| if yes { bit } else { 0 };
        Self { named: bit, says: when(says), ends: when(ends && index < BEYOND) }
    }

    /// A frame that does this, too.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { named: self.named | other.named, says: self.says | other.says, ends: self.ends | other.ends }
    }
}

/// How far the choices of an answer have come.
#[derive(Debug)]
pub struct Course {
    /// How many choices were asked for.
    asked: u32,
    begun: u64,
    ended: u64,
    /// The latest finish came along with words. Some servers send one with all of them.
    along: bool,
    /// A choice went on behind its finish.
    fickle: bool,
    /// A finish has come, whatever became of it.
    finish: bool,
}

impl Course {
    /// The course of an answer for which this many choices were asked.
    pub fn new(asked: u32) -> Self {
        Self { asked, begun: 0, ended: 0, along: false, fickle: false, finish: false }
    }

    /// Takes note of a frame. What is said behind a finish takes it back.
    pub fn note(&mut self, moves: Moves) {
        let Moves { named, says, ends } = moves;
        self.begun |= named;
        self.fickle |= self.ended & says != 0;
        self.ended = (self.ended & !says) | ends;
        if ends != 0 {
            self.finish = true;
            self.along = ends & says != 0;
        }
    }

    /// Whether any choice was given a finish, even if it was taken back.
    pub fn has_finish(&self) -> bool {
        self.finish
    }

    /// Whether each choice that has begun is finished: enough where the backend itself ends the stream in order.
    pub fn is_finished(&self) -> bool {
        self.ended != 0 && self.begun & !self.ended == 0
    }

    /// Whether nothing can be missing, however the stream ends: no fewer are finished than were asked for, and none went on
    /// behind a finish, after which one means nothing.
    pub fn is_whole(&self) -> bool {
        self.is_finished() && !self.fickle && self.ended.count_ones() >= self.asked
    }

    /// Whether nothing more is to be expected but token counts and an end marker.
    pub fn is_settled(&self) -> bool {
        self.is_whole() && !self.along
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Finished, whole and settled after frames, each of an index, of whether it says something, and of whether it ends.
    fn after(asked: u32, frames: &[(u32, bool, bool)]) -> (bool, bool, bool) {
        let mut course = Course::new(asked);
        for (index, says, ends) in frames {
            course.note(Moves::of(*index, *says, *ends));
        }
        (course.is_finished(), course.is_whole(), course.is_settled())
    }

    #[test]
    fn an_answer_is_finished_when_each_of_its_choices_is() {
        let both = [(0, true, false), (1, true, false), (0, false, true)];
        assert_eq!(after(2, &both), (false, false, false));
        assert_eq!(after(2, &[&both[..], &[(1, false, true)]].concat()), (true, true, true));
        assert_eq!(after(1, &[]), (false, false, false));
        assert_eq!(after(2, &[(0, true, false), (1, false, false), (0, false, true)]), (false, false, false), "named");
        assert_eq!(after(1, &[(1, true, false), (1, false, true)]), (true, true, true), "some count from one");
    }

    #[test]
    fn one_of_which_fewer_came_than_were_asked_for_is_whole_only_if_its_backend_ends_it() {
        assert_eq!(after(2, &[(0, true, false), (0, false, true)]), (true, false, false));
    }

    #[test]
    fn what_is_said_behind_a_finish_takes_it_back() {
        let early = [(0, false, true), (0, true, false)];
        assert_eq!(after(1, &early), (false, false, false));
        assert_eq!(after(1, &[&early[..], &[(0, false, true)]].concat()), (true, false, false));
        assert_eq!(after(1, &[(0, true, true), (0, true, true)]), (true, false, false), "one with all words");
        assert_eq!(after(1, &[(0, true, true)]), (true, true, false));
        assert_eq!(after(1, &[(0, false, true), (0, false, false)]), (true, true, true), "an empty frame says nothing");
    }

    #[test]
    fn choices_beyond_count_are_never_taken_for_finished() {
        let all: Vec<_> = (0..200).map(|index| (index, true, true)).collect();
        assert_eq!(after(200, &all), (false, false, false));
        assert_eq!(after(63, &all[..63]), (true, true, false));
    }
}
