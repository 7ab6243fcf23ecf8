//! The replay of the requests against a fleet, event by event, under one policy. A request that fails is dealt again at once,
//! to another backend, as every rival's original and Greenroom do: else who fails more has less to do.

use std::collections::VecDeque;

use rand::{SeedableRng, rngs::StdRng};

use crate::{
    fleet::{Fleet, Member},
    policies::{Policy, Took, View},
    server::{Progress, Server},
    trace::Request,
};

/// Seconds in which a failing backend answers: less than any good answer, which is what makes it attractive.
const FAILS_IN: f64 = 0.005;

/// What became of one request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    /// Seconds to the first token.
    pub first_token: f64,
    /// Seconds to the last token.
    pub total: f64,
    /// A backend failed it. It was answered by another, unless there was none: then it has no times.
    pub failed: bool,
}

impl Fleet {
    /// Replays `requests` under `policy`.
    pub(crate) fn replay(&self, requests: &[Request], policy: &mut dyn Policy, seed: u64) -> Vec<Outcome> {
        let span = requests.last().map_or(1.0, |last| last.arrival);
        let mut servers: Vec<_> = self.members.iter().map(|m| Server::new(m.model, m.speed.clone(), span)).collect();
        let known: Vec<_> = self.members.iter().map(|m| m.known).collect();
        let mut rng = StdRng::seed_from_u64(seed);
        let mut outcomes = vec![Outcome::default(); requests.len()];
        // When each was sent to the backend that has it.
        let mut sent: Vec<_> = requests.iter().map(|request| request.arrival).collect();
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
            // The request to deal, and who has failed it.
            let mut deal = None;
            if now >= failure {
                let Some((_, backend, id)) = failures.pop_front() else { continue };
                outcomes[id].failed = true;
                policy.failed(backend, &requests[id], now);
                deal = Some((id, Some(backend)));
            } else if now >= at {
                servers[server].finish_step(|progress| match progress {
                    Progress::First(id) => {
                        outcomes[id].first_token = now - requests[id].arrival;
                        policy.first_token(server, now - sent[id], &requests[id], now);
                    }
                    Progress::Done(id) => {
                        outcomes[id].total = now - requests[id].arrival;
                        let streamed = outcomes[id].total - outcomes[id].first_token;
                        policy.done(server, &requests[id], Took { total: now - sent[id], streamed }, now);
                    }
                });
            } else {
                deal = Some((next, None));
                next += 1;
            }
            if let Some((id, tried)) = deal {
                let fails = |m: &Member| m.fails.is_some_and(|(from, to)| (from * span..to * span).contains(&now));
                let failing: Vec<_> = self.members.iter().map(fails).collect();
                let request = &requests[id];
                sent[id] = now;
                match policy.choose(&View { now, request, tried, servers: &servers, failing: &failing }, &mut rng) {
                    None => outcomes[id].failed = true,
                    Some(backend) if failing[backend] => failures.push_back((now + FAILS_IN, backend, id)),
                    Some(backend) => servers[backend].push(id, request, now),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{fleet::fleets, greenroom::Greenroom, policies, trace};

    #[test]
    fn who_is_failed_is_answered_by_another_and_nobody_has_less_to_do_for_it() {
        let fleet = fleets().into_iter().find(|fleet| fleet.name == "one failing fast").expect("it is one of them");
        let paced = fleet.pace(&trace::synthetic(1)[..1500], 0.85);
        let mut all = policies::rivals();
        all.push(Box::new(Greenroom::new(false)));
        for policy in all.iter_mut().filter(|policy| policy.name() != "oracle") {
            let outcomes = fleet.replay(&paced, &mut **policy, 1);
            let failed = outcomes.iter().filter(|outcome| outcome.failed).count();
            assert!(failed > 0, "{}", policy.name());
            assert!(outcomes.iter().all(|outcome| outcome.total > 0.0), "{}", policy.name());
        }
    }
}
