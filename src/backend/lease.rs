//! Owns the lease: the right to send one request to one backend, counted exactly while it exists.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use super::{
    Handle,
    gate::Gate,
    load,
    messages::{Observed, Verdict},
    vitals::{Lane, LastError, Vitals},
};
use crate::{
    clock,
    error::{Failed, Owner, Weight},
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
    /// Another attempt was quicker, or what ended it was none of the backend's doing.
    LetGo,
}

/// One request's place at a backend. Dropping it without `finish` is a cancellation; every way out gives the place back.
#[derive(Debug)]
pub struct Lease {
    handle: Arc<Handle>,
    lane: Arc<Lane>,
    taken: Duration,
    first_token: Option<Duration>,
    prompt_tokens: u64,
    /// Until its first token when it was taken: its own and what was in front of it.
    work: f64,
    /// Which gates this lease probes: the backend's, the model's.
    probe: Probe,
    done: bool,
}

/// The gates that a lease passed as their single probe.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Probe {
    /// The gate of the whole backend.
    pub backend: bool,
    /// The gate of the model on it.
    pub model: bool,
}

impl Probe {
    /// Gives the places back.
    pub(super) fn end(self, backend: &Vitals, lane: &Lane) {
        if self.backend {
            backend.gate.end_probe();
        }
        if self.model {
            lane.gate.end_probe();
        }
    }
}

impl Lease {
    /// Takes a place, unless `max_in_flight` are taken or the probes' places are.
    pub fn take(
        handle: &Arc<Handle>,
        lane: &Arc<Lane>,
        probe: Probe,
        prompt_tokens: u64,
        now: Duration,
    ) -> Option<Self> {
        let vitals = &handle.vitals;
        if !vitals.load.take(handle.settings.max_in_flight, prompt_tokens) {
            return None;
        }
        if probe.backend && !vitals.gate.start_probe() {
            vitals.load.give_back(false, prompt_tokens);
            return None;
        }
        if probe.model && !lane.gate.start_probe() {
            if probe.backend {
                vitals.gate.end_probe();
            }
            vitals.load.give_back(false, prompt_tokens);
            return None;
        }
        lane.places.take(u32::MAX);
        Some(Self {
            handle: handle.clone(),
            lane: lane.clone(),
            taken: now,
            first_token: None,
            prompt_tokens,
            work: vitals.load.busy().work(),
            probe,
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
        self.handle.vitals.load.stream(self.prompt_tokens);
        self.lane.places.stream();
        let waited = now.saturating_sub(self.taken);
        self.lane.first_token.record(waited);
        self.lane.estimate.learn(|learner| learner.sample(waited, self.work, now));
        if self.probe != Probe::default() {
            // The backend answers: others need not wait for the end of a long answer to be let in.
            self.observed(Verdict::Success, now);
        }
    }

    /// The answer is complete and cost this much; for `held_up` of its time the client did not take what was there.
    pub fn used(&self, usage: Usage, held_up: Duration, now: Duration) {
        self.lane.add_tokens(usage);
        // The first token came at the beginning of this time, so it is not one of those that filled it.
        let rest = u32::try_from(usage.output.saturating_sub(1)).unwrap_or(u32::MAX);
        if let Some(first) = self.first_token
            && rest > 0
        {
            let took = now.saturating_sub(first);
            // What the backend said meanwhile waited somewhere: how fast it was nobody knows.
            if held_up > took / 10 {
                return;
            }
            let per_token = took / rest;
            self.lane.per_token.record(per_token);
            let crowd = load::crowd(self.handle.vitals.load.busy().streaming, self.handle.settings.slots.into());
            self.lane.estimate.learn(|learner| learner.pace(per_token, rest, crowd, now));
        }
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
            Outcome::Cancelled | Outcome::LetGo => {
                let outcomes = &self.lane.outcomes;
                let left = matches!(outcome, Outcome::Cancelled);
                (if left { &outcomes.cancelled } else { &outcomes.let_go }).fetch_add(1, Relaxed);
                if !streamed {
                    let waited = now.saturating_sub(self.taken);
                    self.lane.estimate.learn(|learner| learner.at_least(waited, self.work, now));
                }
                self.probe.end(&self.handle.vitals, &self.lane);
            }
        }
    }

    fn succeeded(&mut self, now: Duration) {
        self.lane.outcomes.success.fetch_add(1, Relaxed);
        self.lane.latency.record(now.saturating_sub(self.taken));
        self.handle.vitals.note_success(now);
        let open = self.handle.vitals.gate.read() == Gate::Open && self.lane.gate.read() == Gate::Open;
        // Two counts say all there is to say of an ordinary success; a message only where it can move a gate, or has a probe's
        // place to give back.
        if !open || self.probe != Probe::default() || self.handle.vitals.consecutive.load(Relaxed) > 0 {
            self.observed(Verdict::Success, now);
        }
    }

    fn failed(&mut self, failed: &Failed, now: Duration) {
        self.lane.outcomes.count(failed.class);
        match failed.class.disposition().weight {
            Weight::None => return self.probe.end(&self.handle.vitals, &self.lane),
            Weight::Alive => {
                if self.probe == Probe::default() {
                    return;
                }
                self.observed(Verdict::Success, now);
            }
            _ => {
                let (class, retry_after, said) = (failed.class, failed.retry_after, failed.message.clone());
                self.observed(Verdict::Failure { class, retry_after, said }, now);
            }
        }
        if failed.class.owner() != Owner::Caller {
            let last = LastError { class: failed.class, message: failed.message.clone(), at: now };
            self.handle.vitals.last_error.store(Some(Arc::new(last)));
        }
    }

    /// Tells the actor; the probe's places go along.
    fn observed(&mut self, verdict: Verdict, at: Duration) {
        let (vitals, lane, probe) = (self.handle.vitals.clone(), self.lane.clone(), std::mem::take(&mut self.probe));
        self.handle.addr.do_send(Observed { vitals, lane, verdict, probe, since: self.taken, at });
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.done {
            self.end(&Outcome::Cancelled, clock::now());
        }
    }
}
