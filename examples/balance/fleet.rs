//! The fleets a policy is tried on, and the replay of the requests against one of them.

use std::collections::VecDeque;

use rand::{SeedableRng, rngs::StdRng};

use crate::{
    policies::{Known, Policy, View},
    server::{Course, Model, Progress, Server},
    trace::{self, Request},
};

/// Seconds in which a failing backend answers: less than any good answer, which is what makes it attractive.
const FAILS_IN: f64 = 0.005;
/// Seconds of the run, whatever the trace's own length.
const LEAST_SPAN: f64 = 60.0;

/// One backend of a fleet.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    model: Model,
    speed: Course,
    /// Shares of the run between which it fails every request at once.
    fails: Option<(f64, f64)>,
    /// What an operator would write in the settings.
    known: Known,
}

/// Backends, and what is special about the arrivals.
#[derive(Clone, Debug)]
pub(crate) struct Fleet {
    /// Name in tables.
    pub name: &'static str,
    members: Vec<Member>,
    bursts: bool,
}

/// What became of one request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    /// Seconds to the first token.
    pub first_token: f64,
    /// Seconds to the last token.
    pub total: f64,
    /// No answer.
    pub failed: bool,
}

fn member(model: Model, speed: &[(f64, f64)]) -> Member {
    let known = Known { weight: 1.0, slots: 16 };
    Member { model, speed: Course(speed.to_vec()), fails: None, known }
}

/// All fleets, each with the one thing that is hard about it.
pub(crate) fn fleets() -> Vec<Fleet> {
    let plain = || member(Model::LARGE, &[(0.0, 1.0)]);
    let with = |odd: Member| [vec![odd], vec![plain(); 3]].concat();
    let sized = |speed: f64, slots: usize| {
        let mut one = member(Model { slots, ..Model::LARGE }, &[(0.0, speed)]);
        // Sizes are what the operator bought, so the settings say them.
        one.known = Known { weight: speed, slots: (16.0 * speed) as u32 };
        one
    };
    let caching = member(Model { cache: 200_000, ..Model::LARGE }, &[(0.0, 1.0)]);
    let mut failing = plain();
    failing.fails = Some((0.2, 0.6));
    let fleet = |name, members| Fleet { name, members, bursts: false };
    vec![
        fleet("four equal", vec![plain(); 4]),
        fleet("one at half speed", with(member(Model::LARGE, &[(0.0, 0.5)]))),
        fleet("mixed sizes", vec![sized(0.5, 32), sized(0.5, 32), sized(1.0, 128), sized(2.0, 256)]),
        fleet("one failing fast", with(failing)),
        fleet("one degrading slowly", with(member(Model::LARGE, &[(0.2, 1.0), (0.8, 0.2)]))),
        fleet("one recovering", with(member(Model::LARGE, &[(0.0, 0.2), (0.5, 0.2), (0.5001, 1.0)]))),
        Fleet { name: "bursts", members: vec![plain(); 4], bursts: true },
        fleet("sixteen equal", vec![plain(); 16]),
        fleet("common prompts", vec![caching; 4]),
    ]
}

impl Fleet {
    /// Whether servers keep the beginnings that prompts have in common.
    pub(crate) fn shares_prompts(&self) -> bool {
        self.members.iter().any(|member| member.model.cache > 0)
    }

    /// The requests at the pace at which this fleet is busy for `load` of its time.
    pub(crate) fn pace(&self, requests: &[Request], load: f64) -> Vec<Request> {
        let work: f64 = requests.iter().map(|request| Model::LARGE.work(request)).sum();
        let mean = |course: &Course| (0..100).map(|i| course.value(f64::from(i) / 100.0)).sum::<f64>() / 100.0;
        let power: f64 = self.members.iter().map(|m| mean(&m.speed) * (1.0 - m.fails.map_or(0.0, |f| f.1 - f.0))).sum();
        let mut paced = trace::paced(requests, (work / power / load).max(LEAST_SPAN));
        if self.bursts {
            trace::bursty(&mut paced, 60.0, 0.5);
        }
        paced
    }

    /// Replays `requests` under `policy`.
    pub(crate) fn replay(&self, requests: &[Request], policy: &mut dyn Policy, seed: u64) -> Vec<Outcome> {
        let span = requests.last().map_or(1.0, |last| last.arrival);
        let mut servers: Vec<_> = self.members.iter().map(|m| Server::new(m.model, m.speed.clone(), span)).collect();
        let known: Vec<_> = self.members.iter().map(|m| m.known).collect();
        let mut rng = StdRng::seed_from_u64(seed);
        let mut outcomes = vec![Outcome::default(); requests.len()];
        // Failures due, in order: each comes the same time after its request.
        let mut failures: VecDeque<(f64, usize, usize)> = VecDeque::new();
        policy.begin(&known);
        let mut next = 0;
        loop {
            let arrival = requests.get(next).map_or(f64::INFINITY, |request| request.arrival);
            let failure = failures.front().map_or(f64::INFINITY, |failure| failure.0);
            let (at, server) = servers
                .iter()
                .enumerate()
                .filter_map(|(index, server)| Some((server.step_end?, index)))
                .min_by(|a, b| a.0.total_cmp(&b.0))
                .unwrap_or((f64::INFINITY, 0));
            let now = arrival.min(failure).min(at);
            if now.is_infinite() {
                return outcomes;
            }
            if now >= failure {
                let Some((_, backend, id)) = failures.pop_front() else { continue };
                outcomes[id].failed = true;
                policy.failed(backend, &requests[id], now);
            } else if now >= at {
                servers[server].finish_step(|progress| match progress {
                    Progress::First(id) => {
                        outcomes[id].first_token = now - requests[id].arrival;
                        policy.first_token(server, outcomes[id].first_token, &requests[id], now);
                    }
                    Progress::Done(id) => {
                        outcomes[id].total = now - requests[id].arrival;
                        policy.done(server, outcomes[id].total, now);
                    }
                });
            } else {
                let failing: Vec<_> = self
                    .members
                    .iter()
                    .map(|m| m.fails.is_some_and(|(from, to)| (from * span..to * span).contains(&now)))
                    .collect();
                let request = &requests[next];
                let view = View { now, request, servers: &servers, failing: &failing };
                match policy.choose(&view, &mut rng) {
                    None => outcomes[next].failed = true,
                    Some(backend) if failing[backend] => failures.push_back((now + FAILS_IN, backend, next)),
                    Some(backend) => servers[backend].push(next, request, now),
                }
                next += 1;
            }
        }
    }
}
