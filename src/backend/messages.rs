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

/// How an attempt ended, sent by its lease, only when it can move a gate. Dropped, it gives back the probe's places: once it was
/// dealt with, so that no second probe slips in before the gate has moved, and also where nobody is left to deal with it.
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
    /// Whether it has looked behind a gate that is still shut, as its probe or beside one: it came when that was due. A pin may
    /// look early; that it fails is no news, and nobody else waits longer for it.
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
        /// That its answer had begun was told.
        begun: bool,
    },
    /// It answers, though not what was asked of it: told where failures stand in a row.
    Alive,
    /// A probe that was no longer waited for, having said nothing for longer than `first_token_soft`.
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

/// Answered once all that was told before is judged, so that the gates show it. Asked by the exchange before it tells a client
/// when to come back, and by the admin endpoint before it reports.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Settle;

/// Waits, so long at most, until all of these have judged what they were told. Without an answer their gates say what they said
/// before: that is no reason to keep anybody waiting.
pub async fn settled(actors: impl Iterator<Item = &Addr<Backend>>, patience: Duration) {
    join_all(actors.map(|actor| actor.send(Settle).timeout(patience))).await;
}

/// Stop taking requests until `Resume`. Sent by the admin endpoint.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Drain;

/// Take requests again after `Drain`. Sent by the admin endpoint; to start one anew that was given up the Overseer is told.
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
