//! Owns the metrics page: read off the vitals of backends and the counts of requests at the moment of a scrape, so that
//! requests pay for nothing but the counting.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, text::encode_registry},
    registry::Registry,
};

use super::{
    counts::Counts,
    exposition::{Page, filled, pair, with, yes},
    phase::Phase,
    rescues,
    sight::Seen,
};
use crate::{
    backend::{Handle, gate::KINDS, state::State},
    error::Class,
    wire::Usage,
};

/// Label of what concerns all models of a backend.
const ALL_MODELS: &str = "*";

/// What the routing table adds to a scrape.
#[derive(Debug)]
pub struct Facts {
    /// All backends, in any order.
    pub handles: Vec<Arc<Handle>>,
    /// Requests waiting for a place, by model.
    pub queues: Vec<(Arc<str>, u32)>,
}

/// The page as text; `weight`: that of a model on a backend, by the names of backend and model.
pub fn page(counts: &Arc<Counts>, mut facts: Facts, weight: impl Fn(&str, &str) -> f64) -> Result<String, fmt::Error> {
    facts.handles.sort_by(|a, b| a.name().cmp(b.name()));
    facts.queues.sort();
    let seen = facts.handles.iter().flat_map(|handle| Seen::all(handle, &weight)).collect();
    let mut registry = Registry::with_prefix("greenroom");
    registry.register_collector(Box::new(Scrape { counts: counts.clone(), facts, seen }));
    let mut text = String::with_capacity(64 << 10);
    encode_registry(&mut text, &registry)?;
    Ok(text)
}

/// The collector of one scrape.
#[derive(Debug)]
struct Scrape {
    counts: Arc<Counts>,
    facts: Facts,
    seen: Vec<Seen>,
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        self.requests(&mut page)?;
        self.special_requests(&mut page)?;
        self.counts.costs.write(&mut page)?;
        self.counts.users.write(&mut page)?;
        self.counts.limited.write(&mut page)?;
        self.attempts(&mut page)?;
        self.backends(&mut page)?;
        self.gates(&mut page)?;
        self.process(&mut page)?;
        self.counts.traces.write(&mut page)
    }
}

impl Scrape {
    fn requests(&self, page: &mut Page<'_>) -> fmt::Result {
        for seen in &self.seen {
            // A series that starts at zero shows its first increase as one.
            self.counts.cells.of_pair(&seen.backend, &seen.lane.model, |_| {});
        }
        let cells = self.counts.cells.sorted();
        page.counters(
            "requests_total",
            "Client requests that have ended.",
            cells.iter().flat_map(|((backend, model), cell)| {
                let worth = |class: &str, outcome: &str, count: u64| {
                    count > 0 || matches!((class, outcome), ("2xx", "success") | ("5xx", "failure"))
                };
                let shown = cell.requests().filter(move |(class, outcome, _, count)| worth(class, outcome, *count));
                shown.map(move |(class, outcome, stream, count)| {
                    let mut labels = pair(backend, model);
                    labels.extend([("status_class", class), ("outcome", outcome), ("stream", yes(stream))]);
                    (labels, count)
                })
            }),
        )?;
        page.histograms(
            "request_duration_seconds",
            "From a request's arrival to the end of its answer.",
            cells.iter().flat_map(|(key, cell)| {
                let of = |stream| (with(key, "stream", yes(stream)), cell.duration[usize::from(stream)].snapshot());
                filled([of(false), of(true)])
            }),
        )?;
        page.histograms(
            "overhead_seconds",
            "Time that Greenroom itself spent on a request.",
            cells.iter().flat_map(|(key, cell)| {
                let of = |phase: Phase| (with(key, "phase", phase.as_str()), cell.overhead[phase as usize].snapshot());
                filled(Phase::ALL.map(of))
            }),
        )?;
        page.histograms(
            "queue_wait_seconds",
            "Time that requests waited for a place while every backend was full.",
            filled(cells.iter().map(|(key, cell)| (pair(&key.0, &key.1), cell.queued.snapshot()))),
        )?;
        page.counters(
            "client_cancelled_total",
            "Clients that left before their answer was complete, before or after its first token.",
            cells.iter().flat_map(|(key, cell)| {
                let left = cell.left().map(|(phase, count)| (with(key, "phase", phase), count));
                left.filter(|(_, count)| *count > 0)
            }),
        )?;
        rescues::write(page, &cells)
    }

    fn special_requests(&self, page: &mut Page<'_>) -> fmt::Result {
        let failovers = self.counts.failovers.sorted();
        page.counters(
            "failovers_total",
            "Requests taken on to another backend, and the failure that was the reason.",
            failovers.iter().map(|((from, to, model, reason), count)| {
                (vec![("from", &**from), ("to", &**to), ("model", &**model), ("reason", *reason)], get(count))
            }),
        )?;
        let pins = self.counts.pins.sorted();
        page.counters(
            "pinned_requests_total",
            "Requests that named their backend, by what came of it.",
            pins.iter().map(|((backend, model, outcome), count)| {
                (vec![("backend", &**backend), ("model", &**model), ("outcome", *outcome)], get(count))
            }),
        )
    }

    fn attempts(&self, page: &mut Page<'_>) -> fmt::Result {
        page.counters(
            "upstream_attempts_total",
            "Requests sent to backends that have ended, retries and failovers included.",
            self.seen.iter().flat_map(|seen| {
                let outcomes = &seen.lane.counts.outcomes;
                // The loser of a race has not failed; the closed set has no word of its own for it.
                let let_go = ("other", get(&outcomes.let_go));
                let mut counts =
                    vec![("none", outcomes.good()), ("caller_cancelled", get(&outcomes.cancelled)), let_go];
                for class in Class::ALL {
                    // Some classes share a label.
                    match counts.iter_mut().find(|(label, _)| *label == class.as_str()) {
                        Some((_, count)) => *count += outcomes.of(class),
                        None => counts.push((class.as_str(), outcomes.of(class))),
                    }
                }
                let shown = counts.into_iter().filter(|(label, count)| *count > 0 || *label == "none");
                shown.map(|(label, count)| (seen.labels_and("error_class", label), count))
            }),
        )?;
        page.histograms(
            "time_to_first_token_seconds",
            "From the start of an attempt to the first content of its stream.",
            filled(self.seen.iter().map(|seen| (seen.labels(), seen.lane.counts.first_token.read().histogram()))),
        )?;
        page.histograms(
            "time_per_output_token_seconds",
            "Mean time between the tokens of a complete stream, the first one left out.",
            filled(self.seen.iter().map(|seen| (seen.labels(), seen.lane.counts.per_token.snapshot()))),
        )?;
        page.counters(
            "tokens_total",
            "Tokens as providers count them, estimated where a stream ended without its count; cached and reasoning ones are part of input and output.",
            self.seen.iter().flat_map(|seen| {
                let directions = Usage::KINDS.into_iter().zip(&seen.lane.counts.tokens);
                directions.map(|(direction, count)| (seen.labels_and("direction", direction), get(count)))
            }),
        )
    }

    fn backends(&self, page: &mut Page<'_>) -> fmt::Result {
        type Value = fn(&Seen) -> f64;
        let gauges: [(&str, &str, Value); 4] = [
            ("backend_inflight", "Requests under way at a backend.", |seen| f64::from(seen.lane.places.in_flight())),
            ("backend_score", "What one more request would cost, in seconds; routers take the lowest.", |seen| {
                seen.score
            }),
            (
                "backend_latency_ewma_seconds",
                "Moving average of the time to first token for an empty prompt.",
                |seen| seen.first_token,
            ),
            (
                "backend_cooldown_remaining_seconds",
                "Until a shut gate lets the next probe pass; 0 for an open one.",
                |seen| seen.cooldown.as_secs_f64(),
            ),
        ];
        for (name, help, value) in gauges {
            page.gauges(name, help, self.seen.iter().map(|seen| (seen.labels(), value(seen))))?;
        }
        page.gauges(
            "backend_queue_depth",
            "Requests waiting for a place at any backend of a model.",
            self.facts.queues.iter().map(|(model, depth)| (vec![("model", &**model)], f64::from(*depth))),
        )?;
        page.gauges(
            "backend_state",
            "1 for the state that a model on a backend is in, 0 for the others.",
            self.seen.iter().flat_map(|seen| {
                let is = move |state: State| (seen.labels_and("state", state.as_str()), flag(state == seen.state));
                State::ALL.into_iter().map(is)
            }),
        )
    }

    fn gates(&self, page: &mut Page<'_>) -> fmt::Result {
        let handles = &self.facts.handles;
        let wholes = handles.iter().map(|handle| (handle.name(), ALL_MODELS, &handle.vitals.gate));
        let lanes = self.seen.iter().map(|seen| (&seen.backend, &*seen.lane.model, &seen.lane.gate));
        page.counters(
            "backend_breaker_transitions_total",
            "Changes of a gate, of one model or of the whole backend, by what it changed to.",
            wholes.chain(lanes).flat_map(|(backend, model, gate)| {
                let counts = KINDS.into_iter().zip(gate.transitions());
                let shown = counts.filter(|(kind, count)| *count > 0 || *kind == "open");
                shown.map(move |(kind, count)| (vec![("backend", &**backend), ("model", model), ("to", kind)], count))
            }),
        )?;
        page.counters(
            "backend_actor_restarts_total",
            "Backend actors rebuilt after a panic.",
            handles.iter().map(|handle| {
                let restarts = handle.vitals.counts.restarts.load(Relaxed);
                (vec![("backend", &**handle.name()), ("reason", "panic")], u64::from(restarts))
            }),
        )
    }

    fn process(&self, page: &mut Page<'_>) -> fmt::Result {
        page.gauges(
            "config_last_reload_successful",
            "Whether the settings file could be installed when it was last read.",
            [(Vec::new(), flag(self.counts.last_reload_succeeded.load(Relaxed)))],
        )?;
        page.gauges(
            "config_last_reload_timestamp_seconds",
            "When the settings in force were installed, as Unix time.",
            [(Vec::new(), get(&self.counts.settings_since) as f64)],
        )?;
        page.counters(
            "config_reloads_total",
            "Reloads of the settings file.",
            ["failure", "success"].into_iter().zip(&self.counts.reloads).map(|(r, n)| (vec![("result", r)], get(n))),
        )?;
        page.counters(
            "history_dropped_total",
            "Attempts that history does not know of: its queue was full, or it could not be written at the end.",
            [(Vec::new(), get(&self.counts.dropped))],
        )?;
        page.gauges(
            "history_failing",
            "1 while history cannot be written.",
            [(Vec::new(), flag(self.counts.is_history_failing()))],
        )?;
        page.counters(
            "actor_restarts_total",
            "Restarts of actors that are no backend's.",
            self.counts.actors.restarts().map(|(actor, n)| (vec![("actor", actor)], n)),
        )?;
        page.gauges(
            "actor_given_up",
            "1 while an actor that is no backend's is given up: it crashed too often.",
            self.counts.actors.given_up().map(|(actor, is)| (vec![("actor", actor)], flag(is))),
        )?;
        let build = vec![("version", env!("CARGO_PKG_VERSION")), ("commit", env!("GREENROOM_COMMIT"))];
        page.gauges("build_info", "The running version.", [(build, 1.0)])
    }
}

/// A gauge that is 1 or 0.
fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

fn get(count: &AtomicU64) -> u64 {
    count.load(Relaxed)
}
