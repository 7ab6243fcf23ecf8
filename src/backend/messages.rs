//! Owns everything one may tell a Backend actor.

use std::{sync::Arc, time::Duration};

use actix::{Addr, Message};
use futures_util::future::join_all;

use super::{
    Backend,
    diagnose::Step,
    entry::Probes,
    gate::{Gate, GateCell},
    vitals::{Lane, Vitals},
};
use crate::{
    error::{Class, Failed},
    settings,
};

/// How an attempt ended. Its lease sends this only when it can move a gate. Dropping it gives back the probe's places.
/// So no second probe slips in before the gate has moved, and the places come back even if the actor is gone.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Observed {
    /// The backend.
    pub vitals: Arc<Vitals>,
    /// The model on it.
    pub lane: Arc<Lane>,
    /// How it ended.
    pub verdict: Verdict,
    /// Which gates it probed.
    pub probes: Probes,
    /// When it began, on the process clock.
    pub since: Duration,
    /// When it ended.
    pub at: Duration,
}

impl Observed {
    /// Whether its attempt began when a gate that is still shut was due, as its probe or beside one. A pin may come
    /// earlier. That one fails is no news, and makes nobody else wait longer.
    pub(super) fn looked(&self, gate: &GateCell) -> bool {
        matches!(gate.read(), Gate::Shut(until, _) if self.since >= until)
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        self.probes.end(&self.vitals, &self.lane, self.since);
    }
}

/// An attempt's end as the breaker sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The backend answers: the first token of a stream, told while a gate is not fully open.
    Begun,
    /// The backend works.
    Success {
        /// `Begun` was told of it before.
        begun: bool,
    },
    /// It answers, though not with what was asked. Sent only while there are failures in a row.
    Alive,
    /// A probe that was given up after it had said nothing for longer than `first_token_soft`.
    Silence,
    /// It does not work.
    Failure {
        /// Why.
        class: Class,
        /// What it asked to wait.
        retry_after: Option<Duration>,
        /// What happened, in words that may be logged.
        said: String,
    },
}

/// What is told of a silence.
pub(super) const SILENT: &str = "nothing came within first_token_soft";

/// Answered once the actor has judged everything sent before, so that the gates show it. Sent by the exchange before it
/// tells a client when to come back, and by the admin endpoint before it reports.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Settle;

/// Waits until all these actors have judged what they were sent, but no longer than `patience`: a client must not wait
/// for an actor that does not answer.
pub async fn settled(actors: impl Iterator<Item = &Addr<Backend>>, patience: Duration) {
    join_all(actors.map(|actor| actor.send(Settle).timeout(patience))).await;
}

/// Stop taking requests until `Resume`. Sent by the admin endpoint.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Drain;

/// Take requests again after `Drain`. Sent by the admin endpoint. An actor that was given up is started anew by the
/// Overseer instead.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Resume;

/// Forget all failures and open the gates. Sent by the admin endpoint.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ResetBreaker;

/// Ask the provider now whether it is well. Sent by the admin endpoint; answered with what the provider said.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), Failed>")]
pub struct ProbeNow;

/// Try the backend step by step. Sent by the admin endpoint.
#[derive(Debug, Message)]
#[rtype(result = "Vec<Step>")]
pub struct Diagnose;

/// The backend is no longer configured: end. Sent by the Overseer on reload.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Retire;

/// New settings for a backend that stays the same otherwise. Sent by the Overseer on reload.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Adopt(pub Arc<settings::Backend>);

/// Panic, to prove supervision. Sent for the chaos action of the admin endpoint.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Crash;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probes_places_are_given_back_though_nobody_is_left_to_hear_how_it_ended() {
        let vitals = Arc::new(Vitals::new("one"));
        vitals.serve(&[("m", "m")]);
        let lane = vitals.lane("m").expect("it is served");
        let (at, alone) = (Duration::ZERO, Duration::MAX);
        let probes = Probes { backend: true, model: true };
        assert!(probes.begin(&vitals, &lane, at, alone) && !probes.begin(&vitals, &lane, at, alone));
        let verdict = Verdict::Success { begun: false };
        drop(Observed { vitals: vitals.clone(), lane: lane.clone(), verdict, probes, since: at, at });
        assert!(probes.begin(&vitals, &lane, at, alone));
    }
}
