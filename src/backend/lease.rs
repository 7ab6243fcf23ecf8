//! Owns the lease: the right to send one request to one backend, counted exactly while it exists.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use super::{
    Handle,
    entry::{Entry, Probes, Want},
    gate::Gate,
    load,
    messages::{Observed, SILENT, Verdict},
    vitals::{Lane, LastError},
};
use crate::{
    clock,
    error::{Class, Failed, Owner, Weight},
    upstream::Endpoint,
    wire::Usage,
};

/// How an attempt ended.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// With a complete answer.
    Success,
    /// With a failure.
    Failed(&'a Failed),
    /// The client left.
    Cancelled,
    /// Another attempt was quicker, or ended the request.
    Beaten,
    /// The client's own deadline passed, or the client did not read: the backend did not get a fair amount of time.
    Hurried,
    /// What ended it was none of the backend's doing, or it could not be sent.
    LetGo,
}

/// One request's place at a backend. Dropping it without `finish` is a cancellation; every way out gives the place back.
#[derive(Debug)]
pub struct Lease {
    handle: Arc<Handle>,
    lane: Arc<Lane>,
    taken: Duration,
    want: Want,
    beside_chat: Option<Endpoint>,
    has_choice: bool,
    first_token: Option<Duration>,
    prompt_tokens: u64,
    /// The work until its first token, at the time when it was taken: its own and all in front of it.
    work: f64,
    /// Which gates this lease probes: the backend's, the model's.
    probes: Probes,
    /// Its first token was told to the actor.
    begun: bool,
    done: bool,
}

impl Lease {
    /// Takes a place, unless `max_in_flight` are taken or the probes' places are.
    pub fn take(handle: &Arc<Handle>, lane: &Arc<Lane>, entry: Entry) -> Option<Self> {
        let Entry { want, beside_chat, has_choice, probes, prompt_tokens, at } = entry;
        let vitals = &handle.vitals;
        if !vitals.load.take(handle.settings.max_in_flight, prompt_tokens) {
            return None;
        }
        if !probes.begin(vitals, lane, at, handle.alone()) {
            vitals.load.give_back(false, prompt_tokens);
            return None;
        }
        lane.places.take(u32::MAX);
        Some(Self {
            handle: handle.clone(),
            lane: lane.clone(),
            taken: at,
            want,
            beside_chat,
            has_choice,
            first_token: None,
            prompt_tokens,
            work: vitals.load.busy().work(),
            probes,
            begun: false,
            done: false,
        })
    }

    /// The backend.
    pub fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    /// Since when it is held.
    pub fn taken(&self) -> Duration {
        self.taken
    }

    /// Time to the first token, once there was one.
    pub fn time_to_first_token(&self) -> Option<Duration> {
        self.first_token.map(|at| at.saturating_sub(self.taken))
    }

    /// The first content of a stream has come.
    pub fn first_token(&mut self, now: Duration) {
        if self.first_token.is_some() {
            return;
        }
        self.first_token = Some(now);
        self.handle.vitals.load.begin_stream(self.prompt_tokens);
        self.lane.places.begin_stream();
        let waited = now.saturating_sub(self.taken);
        self.lane.counts.first_token.record(waited);
        self.lane.estimate.learn(|learner| learner.sample(waited, self.work, now));
        self.lane.in_vain.answered();
        self.lane.blamed.answered();
        if !self.probes.is_none() || !self.is_open() {
            // The backend answers: others need not wait for the end of a long answer to be let in, as its probe or as its ramp
            // goes up.
            self.begun = true;
            self.tell_actor(Verdict::Begun, now);
        }
    }

    fn is_open(&self) -> bool {
        self.handle.vitals.gate.read() == Gate::Open && self.lane.gate.read() == Gate::Open
    }

    /// Failures have come in a row, which an answer ends.
    fn is_failing(&self) -> bool {
        self.handle.vitals.consecutive.load(Relaxed) > 0 || self.lane.consecutive.load(Relaxed) > 0
    }

    /// The answer is complete and used this many tokens. `unseen`: how many came before its first content, where nobody
    /// saw them. `held_up`: how long the client did not read what was there.
    pub fn used(&self, usage: Usage, unseen: u64, held_up: Duration, now: Duration) {
        self.lane.add_tokens(usage);
        // The first token came at the beginning of this time, so it is not one of those that filled it.
        let rest = u32::try_from(usage.output.saturating_sub(unseen).saturating_sub(1)).unwrap_or(u32::MAX);
        if let Some(first) = self.first_token
            && rest > 0
        {
            let took = now.saturating_sub(first);
            // What the backend said meanwhile was buffered somewhere, so its pace cannot be known.
            if held_up > took / 10 {
                return;
            }
            let per_token = took / rest;
            self.lane.counts.per_token.record(per_token);
            // Its own place is not given back yet.
            let others = self.handle.vitals.load.busy().streaming.saturating_sub(1);
            let crowd = load::crowd(others, self.handle.settings.slots.into());
            self.lane.estimate.learn(|learner| learner.pace(per_token, rest, crowd, now));
        }
    }

    /// The answer has not come to its end, or was not counted, and used about this many tokens. They tell nothing of a pace.
    pub fn used_without_end(&self, usage: Usage) {
        self.lane.add_tokens(usage);
    }

    /// The attempt is over.
    pub fn finish(mut self, outcome: &Outcome<'_>, now: Duration) {
        self.end(outcome, now);
    }

    fn end(&mut self, outcome: &Outcome<'_>, now: Duration) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        let streamed = self.first_token.is_some();
        self.handle.vitals.load.give_back(streamed, self.prompt_tokens);
        self.lane.places.give_back(streamed);
        match outcome {
            Outcome::Success => self.succeeded(now),
            Outcome::Failed(failed) => self.failed(failed, now),
            Outcome::Cancelled | Outcome::Beaten | Outcome::Hurried | Outcome::LetGo => self.given_up(outcome, now),
        }
    }

    fn succeeded(&mut self, now: Duration) {
        if self.want == Want::Count {
            // Counting a prompt says nothing about a model: it neither ends a row of failures nor weighs against them.
            self.lane.counts.outcomes.counted.fetch_add(1, Relaxed);
            return;
        }
        self.lane.counts.outcomes.success.fetch_add(1, Relaxed);
        self.lane.answered.fetch_add(1, Relaxed);
        if let Some(endpoint) = self.beside_chat {
            self.lane.note_served(endpoint);
        }
        self.lane.in_vain.answered();
        self.lane.blamed.answered();
        self.lane.counts.latency.record(now.saturating_sub(self.taken));
        self.handle.vitals.note_success(now);
        // The counts are enough for an ordinary success. A message is sent only if it can move a gate or has a probe's
        // place to give back.
        if !self.is_open() || !self.probes.is_none() || self.is_failing() {
            let begun = self.begun;
            self.tell_actor(Verdict::Success { begun }, now);
        }
    }

    fn failed(&mut self, failed: &Failed, now: Duration) {
        self.lane.counts.outcomes.count(failed.class);
        let disposition = failed.class.disposition();
        let weight = match disposition.weight {
            // A failed count says nothing about a model, either, and counting has limits of its own.
            weight if self.want == Want::Count && weight != Weight::Backend => Weight::None,
            Weight::Model if failed.retry_after.is_none() && self.is_of_one_endpoint(failed) => Weight::None,
            weight => weight,
        };
        // A request that goes on to the next backend has lost nothing, and a client that has no choice must not take this one from others.
        if weight == Weight::Alive && !disposition.other && self.has_choice && self.first_token.is_none() {
            self.lane.blamed.one_more(now);
        }
        match weight {
            Weight::None => self.let_others_probe(),
            Weight::Alive if !self.probes.is_none() => self.tell_actor(Verdict::Success { begun: false }, now),
            Weight::Alive if self.is_failing() => self.tell_actor(Verdict::Alive, now),
            Weight::Alive => {}
            _ => {
                let (class, retry_after, said) = (failed.class, failed.retry_after, failed.message.clone());
                self.tell_actor(Verdict::Failure { class, retry_after, said }, now);
            }
        }
        if failed.class.owner() == Owner::Backend {
            self.note_error(failed.class, &failed.message, now);
        }
    }

    /// Whether a failure tells of its endpoint alone, at a model that has answered: others show whether that is well. Some servers lack
    /// an endpoint and answer with a 500 in words of their own; one that hangs has it. And a 401 may deny a restricted key just
    /// this endpoint, which the client has chosen.
    fn is_of_one_endpoint(&self, failed: &Failed) -> bool {
        let never = self.beside_chat.is_some_and(|endpoint| !self.lane.has_served(endpoint));
        let out_of_scope = failed.class == Class::ProviderDenied && failed.status == Some(401);
        (out_of_scope || never && failed.status.is_some()) && self.lane.answered.load(Relaxed) > 0
    }

    /// It ended without a verdict of the backend's own.
    fn given_up(&mut self, outcome: &Outcome<'_>, now: Duration) {
        let left = matches!(outcome, Outcome::Cancelled);
        let outcomes = &self.lane.counts.outcomes;
        (if left { &outcomes.cancelled } else { &outcomes.let_go }).fetch_add(1, Relaxed);
        let waited = now.saturating_sub(self.taken);
        if self.first_token.is_none() && self.want == Want::Stream {
            let expected = self.lane.estimate.at(now, self.handle.settings.expected_first_token).seconds;
            self.lane.estimate.learn(|learner| learner.at_least(waited, self.work, expected, now));
        }
        if self.want == Want::Whole && self.was_long(outcome, waited) {
            self.lane.in_vain.one_more(now);
        }
        if self.was_silent(outcome, waited) {
            self.note_error(Class::ProviderTimeoutTtft, SILENT, now);
            self.tell_actor(Verdict::Silence, now);
        } else {
            self.let_others_probe();
        }
    }

    /// Whether it probed a gate and stayed silent for longer than `first_token_soft`. This shuts no open gate: a
    /// backend that is only slower is beaten, too, and a client that leaves or is in a hurry may not wait as long as
    /// the model thinks. Whole answers do not count, since nothing is seen of them until they are complete.
    fn was_silent(&self, outcome: &Outcome<'_>, waited: Duration) -> bool {
        let is_stream = self.want == Want::Stream && !self.probes.is_none();
        is_stream && self.first_token.is_none() && self.was_long(outcome, waited)
    }

    /// Whether its client or Greenroom gave it up only after `first_token_soft`.
    fn was_long(&self, outcome: &Outcome<'_>, waited: Duration) -> bool {
        let given_up = matches!(outcome, Outcome::Beaten | Outcome::Cancelled | Outcome::Hurried);
        given_up && waited >= self.handle.settings.deadlines.first_token_soft
    }

    fn note_error(&self, class: Class, said: &str, at: Duration) {
        let last = LastError { class, message: said.to_owned(), at };
        self.handle.vitals.last_error.store(Some(Arc::new(last)));
    }

    /// Gives the probe's places back without a verdict.
    fn let_others_probe(&self) {
        self.probes.end(&self.handle.vitals, &self.lane, self.taken);
    }

    /// Tells the actor; the probe's places go along.
    fn tell_actor(&mut self, verdict: Verdict, at: Duration) {
        let (vitals, lane, probes) = (self.handle.vitals.clone(), self.lane.clone(), std::mem::take(&mut self.probes));
        self.handle.addr.do_send(Observed { vitals, lane, verdict, probes, since: self.taken, at });
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.done {
            self.end(&Outcome::Cancelled, clock::now());
        }
    }
}
