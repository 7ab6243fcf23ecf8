//! Owns how a scrape sees the models of a backend: state, score and cooldown, all taken at one moment.

use std::{sync::Arc, time::Duration};

use super::exposition::{LabelSet, pair};
use crate::{
    backend::{
        Handle,
        gate::GateCell,
        load,
        state::{Standing, State, states},
        vitals::Lane,
    },
    clock,
};

/// A model on a backend as seen by this scrape.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) backend: Arc<str>,
    pub(super) lane: Arc<Lane>,
    pub(super) state: State,
    /// Cost of one more request.
    pub(super) score: f64,
    /// Seconds to expect to the first token.
    pub(super) first_token: f64,
    /// Until the gate lets a probe pass.
    pub(super) cooldown: Duration,
}

impl Seen {
    /// All models of a backend; `weight`: what the routing table says of them, by the names of backend and model.
    pub(super) fn all(handle: &Handle, weight: impl Fn(&str, &str) -> f64) -> Vec<Self> {
        let (vitals, settings) = (&handle.vitals, &handle.settings);
        let (now, lanes) = (clock::now(), vitals.lanes());
        let (whole, own) = states(vitals, &lanes, now);
        let is_shut = !vitals.gate.read().takes();
        let cooldown = |gate: &GateCell| gate.read().reopens_in(now).unwrap_or_default();
        let of = |(lane, own): (&Arc<Lane>, Standing)| {
            let estimate = lane.estimate.at(now, settings.expected_first_token);
            Self {
                backend: vitals.name.clone(),
                lane: lane.clone(),
                // A backend that is shut as a whole is shut for each of its models.
                state: if is_shut { whole.state } else { own.state },
                score: load::cost(estimate, vitals.load.busy(), settings.slots, weight(&vitals.name, &lane.model)).line,
                first_token: estimate.seconds,
                cooldown: cooldown(&vitals.gate).max(cooldown(&lane.gate)),
            }
        };
        lanes.iter().zip(own).map(of).collect()
    }

    pub(super) fn labels(&self) -> LabelSet<'_> {
        pair(&self.backend, &self.lane.model)
    }

    pub(super) fn labels_and(&self, name: &'static str, value: &'static str) -> LabelSet<'_> {
        let mut labels = self.labels();
        labels.push((name, value));
        labels
    }
}
