//! Owns putting the thinking of an assistant's chat message back where it stood, as `reply_out` noted it.

use std::collections::VecDeque;

use serde_json::Value;

use super::super::{anthropic, chat::Part, json::list};

/// Blocks of thinking that have not found their place yet.
#[derive(Debug)]
pub(super) struct Thoughts {
    waiting: VecDeque<Thought>,
    /// Calls so far.
    calls: u64,
    /// Calls in all.
    all_calls: u64,
}

#[derive(Debug)]
struct Thought {
    part: Part,
    /// Bytes of text before it.
    text: u64,
    /// Calls before it.
    calls: u64,
}

impl Thoughts {
    /// Those of a message.
    pub(super) fn of(message: &Value) -> Self {
        let waiting = list(message, "thinking_blocks").iter().map(thought).collect();
        Self { waiting, calls: 0, all_calls: list(message, "tool_calls").len() as u64 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The message's text, with the thinking that came before its calls.
    pub(super) fn among(&mut self, said: Vec<Part>) -> Vec<Part> {
        let (mut out, mut passed) = (Vec::with_capacity(said.len()), 0);
        while let Some(thought) = self.due(1) {
            out.push(thought.part);
        }
        for mut part in said {
            if let Part::Text { text, .. } = &mut part {
                // Each byte is moved once, however many thoughts stand in the text.
                let mut from = 0;
                let before = passed + text.len() as u64;
                while let Some(thought) = self.due(before).or_else(|| self.behind_all_calls(before)) {
                    let at = usize::try_from(thought.text.saturating_sub(passed)).unwrap_or(usize::MAX);
                    let at = text.floor_char_boundary(at).max(from);
                    out.extend(Some(&text[from..at]).filter(|before| !before.is_empty()).map(Part::text));
                    out.push(thought.part);
                    from = at;
                }
                passed += text.len() as u64;
                text.drain(..from);
            }
            out.push(part);
        }
        while let Some(thought) = self.due(u64::MAX) {
            out.push(thought.part);
        }
        out
    }

    /// A call has been read: appends the thinking behind it.
    pub(super) fn after_call(&mut self, out: &mut Vec<Part>) {
        self.calls += 1;
        while let Some(thought) = self.due(u64::MAX) {
            out.push(thought.part);
        }
    }

    /// What names a place beyond the end.
    pub(super) fn rest(&mut self) -> impl Iterator<Item = Part> + '_ {
        self.waiting.drain(..).map(|thought| thought.part)
    }

    /// The next one, if it came behind the last call and before so many bytes of text: here all calls follow the text, and a thought
    /// behind them would be the last.
    fn behind_all_calls(&mut self, text: u64) -> Option<Thought> {
        let all = self.all_calls;
        self.waiting.pop_front_if(|first| first.calls >= all && first.text < text)
    }

    /// The next one, if it came before any further call and before so many bytes of text.
    fn due(&mut self, text: u64) -> Option<Thought> {
        let first = self.waiting.front()?;
        if first.calls <= self.calls && first.text < text { self.waiting.pop_front() } else { None }
    }
}

fn thought(block: &Value) -> Thought {
    let after = |what: &str| block.pointer(what).and_then(Value::as_u64).unwrap_or(0);
    Thought { part: anthropic::request_in::thought(block), text: after("/after/text"), calls: after("/after/calls") }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::json;
    use tokio::time::Instant;

    use super::*;

    #[test]
    fn a_long_text_is_not_copied_for_each_thought_that_stands_in_it() {
        let blocks: Vec<Value> = (1..=100_000).map(|at| json!({"after": {"text": at}})).collect();
        let mut thoughts = Thoughts::of(&json!({"thinking_blocks": blocks}));
        let asked = Instant::now();
        let parts = thoughts.among(vec![Part::text("a".repeat(4 << 20))]);
        assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
        assert_eq!(parts.len(), 200_001);
    }

    proptest! {
        #[test]
        fn no_text_and_no_thought_is_lost_wherever_they_say_they_stood(
            said in proptest::collection::vec("[aä€ ]{0,5}", 0..4),
            places in proptest::collection::vec((0_u64..20, 0_u64..4), 0..5),
        ) {
            let blocks: Vec<Value> = places.iter().enumerate()
                .map(|(n, (text, calls))| json!({"thinking": n.to_string(), "after": {"text": text, "calls": calls}}))
                .collect();
            let mut thoughts = Thoughts::of(&json!({"thinking_blocks": blocks}));
            let mut parts = thoughts.among(said.iter().map(Part::text).collect());
            thoughts.after_call(&mut parts);
            parts.extend(thoughts.rest());
            let (mut text, mut order) = (String::new(), Vec::new());
            for part in parts {
                match part {
                    Part::Text { text: more, .. } => text += &more,
                    Part::Thinking { text, .. } => order.push(text),
                    _ => {}
                }
            }
            prop_assert_eq!(text, said.concat());
            prop_assert_eq!(order, (0..places.len()).map(|n| n.to_string()).collect::<Vec<_>>());
        }
    }
}
