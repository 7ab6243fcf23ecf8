//! A continuous-batching LLM server, step by step: each step takes a budget of prompt tokens and one token of every
//! sequence that is past its prompt (Orca's iteration-level scheduling, with Sarathi's chunked prefill, as vLLM has both).
//!
//! The figures are those of Llama 3.3 70B, FP8, on two H100: NVIDIA publishes 407 ms to the first token of a 5,000-token
//! prompt and 18.6 ms between tokens at one request, and little more per sequence once prefill is accounted for. Budget
//! and sequences are vLLM's defaults (`max_num_batched_tokens` 2048, `max_num_seqs` 128).

use std::collections::VecDeque;

use crate::trace::{Request, SHARED};

/// What a server can do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Model {
    /// Prompt tokens a second.
    pub prefill: f64,
    /// Seconds of a decode step with one sequence: the time to read all weights.
    pub step: f64,
    /// Seconds that each further sequence adds to a step.
    pub per_sequence: f64,
    /// Prompt tokens taken in one step.
    pub budget: u32,
    /// Sequences in a batch; more wait.
    pub slots: usize,
    /// Prompts kept for reuse, in tokens; 0: none.
    pub cache: u32,
}

impl Model {
    /// See this file's head.
    pub(crate) const LARGE: Self =
        Self { prefill: 12_300.0, step: 0.018, per_sequence: 0.0001, budget: 2048, slots: 128, cache: 0 };

    /// Seconds of server time that a request takes at an ordinary batch size.
    pub(crate) fn work(&self, request: &Request) -> f64 {
        /// Sequences that usually share a step's fixed time.
        const BATCH: f64 = 16.0;
        f64::from(request.prompt) / self.prefill + f64::from(request.answer) * (self.step / BATCH + self.per_sequence)
    }
}

/// How a server's condition changes over the run: points of (share of the run, value), straight lines between them.
#[derive(Clone, Debug)]
pub(crate) struct Course(pub Vec<(f64, f64)>);

impl Course {
    /// The value at `at`, a share of the run.
    pub(crate) fn value(&self, at: f64) -> f64 {
        let after = self.0.partition_point(|point| point.0 <= at);
        match (after.checked_sub(1).map(|i| self.0[i]), self.0.get(after)) {
            (Some((t0, v0)), Some(&(t1, v1))) => v0 + (v1 - v0) * (at - t0) / (t1 - t0),
            (Some((_, v)), None) => v,
            (None, next) => next.map_or(1.0, |next| next.1),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Sequence {
    id: usize,
    group: u32,
    prompt: u32,
    prompt_left: u32,
    answer_left: u32,
    /// Prompt tokens of the step under way.
    taken: u32,
}

/// What happened to a request at a step's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Its first token is out.
    First(usize),
    /// Its last token is out.
    Done(usize),
}

/// One server and the requests it has.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    model: Model,
    /// Speed over the run, 1 is the model's own.
    speed: Course,
    /// Seconds of the whole run.
    span: f64,
    running: Vec<Sequence>,
    queue: VecDeque<Sequence>,
    /// When the step under way ends.
    pub step_end: Option<f64>,
    /// Groups whose common prompt is kept, with its tokens, the latest used last.
    cached: Vec<(u32, u32)>,
}

impl Server {
    pub(crate) fn new(model: Model, speed: Course, span: f64) -> Self {
        let (running, queue, cached) = (Vec::new(), VecDeque::new(), Vec::new());
        Self { model, speed, span, running, queue, step_end: None, cached }
    }

    /// Takes a request; `id` names it in what `finish_step` tells.
    pub(crate) fn push(&mut self, id: usize, request: &Request, now: f64) {
        let (prompt, group) = (request.prompt, request.group);
        let answer_left = request.answer;
        self.queue.push_back(Sequence { id, group, prompt, prompt_left: prompt, answer_left, taken: 0 });
        if self.step_end.is_none() {
            self.start_step(now);
        }
    }

    fn start_step(&mut self, now: f64) {
        while self.running.len() < self.model.slots {
            let Some(mut next) = self.queue.pop_front() else { break };
            let reused = self.reuse(next.group, next.prompt);
            // The last token is always computed: it yields the first of the answer.
            next.prompt_left = next.prompt.saturating_sub(reused).max(1);
            self.running.push(next);
        }
        if self.running.is_empty() {
            self.step_end = None;
            return;
        }
        let mut budget = self.model.budget;
        let mut decoding = 0_u32;
        for sequence in &mut self.running {
            sequence.taken = sequence.prompt_left.min(budget);
            budget -= sequence.taken;
            decoding += u32::from(sequence.prompt_left == 0);
        }
        let prefill = f64::from(self.model.budget - budget) / self.model.prefill;
        let seconds = prefill.max(self.model.step) + f64::from(decoding) * self.model.per_sequence;
        self.step_end = Some(now + seconds / self.speed.value(now / self.span).max(0.01));
    }

    /// Ends the step under way and starts the next; `tell` hears what came of it.
    pub(crate) fn finish_step(&mut self, mut tell: impl FnMut(Progress)) {
        let Some(now) = self.step_end else { return };
        self.running.retain_mut(|sequence| {
            if sequence.prompt_left > 0 {
                sequence.prompt_left -= std::mem::take(&mut sequence.taken);
                if sequence.prompt_left > 0 {
                    return true;
                }
                tell(Progress::First(sequence.id));
            }
            sequence.answer_left -= 1;
            if sequence.answer_left == 0 {
                tell(Progress::Done(sequence.id));
            }
            sequence.answer_left > 0
        });
        self.start_step(now);
    }

    /// Prompt tokens of this group that are kept already; keeps the group's from now on.
    fn reuse(&mut self, group: u32, prompt: u32) -> u32 {
        if self.model.cache == 0 {
            return 0;
        }
        let common = (f64::from(prompt) * SHARED) as u32;
        let known = self.cached.iter().position(|entry| entry.0 == group).map(|at| self.cached.remove(at).1);
        self.cached.push((group, known.unwrap_or(0).max(common)));
        let mut kept: u32 = self.cached.iter().map(|entry| entry.1).sum();
        while kept > self.model.cache && self.cached.len() > 1 {
            kept -= self.cached.remove(0).1;
        }
        known.unwrap_or(0).min(common)
    }

    /// What would come of `request` here if nothing else arrived: (seconds to its first token, to its last).
    pub(crate) fn foresee(&self, request: &Request, now: f64) -> (f64, f64) {
        const ID: usize = usize::MAX;
        let mut ahead = self.clone();
        ahead.push(ID, request, now);
        let mut first = f64::INFINITY;
        while let Some(at) = ahead.step_end {
            let mut done = false;
            ahead.finish_step(|progress| match progress {
                Progress::First(ID) => first = at - now,
                Progress::Done(ID) => done = true,
                _ => {}
            });
            if done {
                return (first, at - now);
            }
        }
        (f64::INFINITY, f64::INFINITY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(prompt: u32, answer: u32) -> Request {
        Request { arrival: 0.0, prompt, answer, group: 0 }
    }

    fn server(cache: u32) -> Server {
        Server::new(Model { cache, ..Model::LARGE }, Course(vec![(0.0, 1.0)]), 100.0)
    }

    #[test]
    fn an_idle_server_takes_its_published_times() {
        let (first, last) = server(0).foresee(&request(5000, 101), 0.0);
        assert!((first - 0.407).abs() < 0.02, "first token after {first} s");
        assert!(((last - first) / 100.0 - 0.0186).abs() < 0.001, "{} s a token", (last - first) / 100.0);
    }

    #[test]
    fn every_request_ends_once_after_one_first_token() {
        let mut server = server(0);
        for id in 0..300 {
            server.push(id, &request(10 + 13 * id as u32, 1 + id as u32 % 40), 0.0);
        }
        let (mut firsts, mut ends) = (vec![0; 300], vec![0; 300]);
        while server.step_end.is_some() {
            server.finish_step(|progress| match progress {
                Progress::First(id) => firsts[id] += 1,
                Progress::Done(id) => ends[id] += 1,
            });
        }
        assert_eq!((firsts, ends), (vec![1; 300], vec![1; 300]));
    }

    #[test]
    fn a_prompt_begun_before_is_not_computed_again() {
        let mut server = server(100_000);
        let cold = server.foresee(&request(8000, 1), 0.0).0;
        server.push(0, &request(8000, 1), 0.0);
        while server.step_end.is_some() {
            server.finish_step(|_| ());
        }
        let warm = server.foresee(&request(8000, 1), 1.0).0;
        assert!(warm < cold * 0.5, "{warm} after {cold}");
    }
}
