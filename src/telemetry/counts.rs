//! Owns the counts of whole requests by backend, model and ending, in atomics that no worker waits for. Attempts are
//! counted in the vitals of each backend.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use super::{
    actors::{Actors, Role},
    cell::Cell,
    costs::Costs,
    grown::{Grown, Pair},
    limited::Limited,
    story::{Ending, RouteReason, Story},
    traces::counted::Counted,
    users::Users,
};
use crate::{
    clock,
    error::{Class, Error, Owner},
    settings::{NO_BACKEND, OTHER},
};

/// The labels of a story: configured names, or the words for everything else. Borrowed: an `Arc` copied and dropped is two
/// locked instructions, and there are several to each request.
#[derive(Debug, Clone, Copy)]
pub struct Labels<'a> {
    /// The backend that served it, or was asked last.
    pub backend: &'a Arc<str>,
    /// The public model.
    pub model: &'a Arc<str>,
    /// The backend named in the body.
    pub pin: Option<&'a Arc<str>>,
}

/// A backend's part in another one's failure: from, to, model, reason.
pub(super) type Failover = (Arc<str>, Arc<str>, Arc<str>, &'static str);

/// Everything counted of requests and reloads. One for the process, written by all workers.
#[derive(Debug)]
pub struct Counts {
    pub(super) cells: Grown<Pair, Cell>,
    pub(super) failovers: Grown<Failover, AtomicU64>,
    /// By backend, model, outcome.
    pub(super) pins: Grown<(Arc<str>, Arc<str>, &'static str), AtomicU64>,
    /// Failed, succeeded.
    pub(super) reloads: [AtomicU64; 2],
    pub(super) last_reload_succeeded: AtomicBool,
    /// Seconds since the epoch.
    pub(super) settings_since: AtomicU64,
    /// Restarts of actors.
    pub actors: Actors,
    /// What attempts cost.
    pub costs: Costs,
    /// By user.
    pub users: Users,
    /// By the limit that refused.
    pub limited: Limited,
    /// Attempts that history does not know of, since its queue was full or it could not be written at the end.
    pub dropped: AtomicU64,
    /// Spans of traces.
    pub traces: Counted,
    /// History could not be written when it was last tried.
    pub history_failing: AtomicBool,
    none: Arc<str>,
    other: Arc<str>,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            cells: Grown::default(),
            failovers: Grown::default(),
            pins: Grown::default(),
            reloads: Default::default(),
            last_reload_succeeded: AtomicBool::new(true),
            settings_since: AtomicU64::new(clock::unix()),
            actors: Actors::default(),
            costs: Costs::default(),
            users: Users::default(),
            limited: Limited::default(),
            dropped: AtomicU64::new(0),
            traces: Counted::default(),
            history_failing: AtomicBool::new(false),
            none: NO_BACKEND.into(),
            other: OTHER.into(),
        }
    }
}

impl Counts {
    /// The labels of a story, given what is configured.
    pub fn labels<'a>(
        &'a self,
        story: &'a Story,
        is_model: impl FnOnce(&str) -> bool,
        is_backend: impl FnOnce(&str) -> bool,
    ) -> Labels<'a> {
        let served = story.served();
        // A model that a backend was found for is a configured one.
        let known = served.is_some() || is_model(&story.model);
        Labels {
            backend: served.map_or(&self.none, |attempt| &attempt.backend),
            model: if known { &story.model } else { &self.other },
            pin: story.pin.as_ref().map(|pin| if is_backend(pin) { pin } else { &self.other }),
        }
    }

    /// A request has ended.
    pub fn record(&self, story: &Story, labels: Labels<'_>) {
        self.cells.of_pair(labels.backend, labels.model, |cell| cell.record(story));
        self.costs.record(story, labels.model);
        self.users.record(story, labels.model);
        if let Some(pin) = labels.pin {
            let key = (pin.clone(), labels.model.clone(), pin_outcome(story));
            self.pins.add_one(&key);
        }
        for pair in story.attempts.windows(2) {
            let reason = match pair[1].route {
                RouteReason::Failover => pair[0].outcome.unwrap_or(OTHER),
                RouteReason::Hedged => "slow_first_token",
                _ => continue,
            };
            if pair[0].backend != pair[1].backend {
                let key = (pair[0].backend.clone(), pair[1].backend.clone(), labels.model.clone(), reason);
                self.failovers.add_one(&key);
            }
        }
    }

    /// A request was refused before it had a story; `model`: a configured one, if it got as far as to name one.
    pub fn refused(&self, error: &Error, model: Option<&Arc<str>>) {
        let (class, model) = (Some(error.class()), model.unwrap_or(&self.other));
        self.cells.of_pair(&self.none, model, |cell| {
            cell.count(error.face().status.as_u16(), Ending::of(class), false);
            cell.count_left(class, false);
        });
        if error.is_bad_pin() {
            let key = (self.other.clone(), model.clone(), "denied");
            self.pins.add_one(&key);
        }
    }

    /// Forgets the counts of names that are no longer configured. A request that was under way when a reload removed
    /// its name still counts under it, until the next call.
    pub fn keep(
        &self,
        is_backend: impl Fn(&str) -> bool,
        is_model: impl Fn(&str) -> bool,
        is_user: impl Fn(&str) -> bool,
    ) {
        let is_backend = |name: &str| [NO_BACKEND, OTHER].contains(&name) || is_backend(name);
        let is_model = |name: &str| name == OTHER || is_model(name);
        let is_pair = |(backend, model): &Pair| is_backend(backend) && is_model(model);
        self.cells.keep(is_pair);
        self.costs.keep(is_pair);
        self.failovers.keep(|(from, to, model, _)| is_backend(from) && is_backend(to) && is_model(model));
        self.pins.keep(|(backend, model, _)| is_backend(backend) && is_model(model));
        self.users.keep(|(user, model)| is_user(user) && is_model(model));
    }

    /// Whether history cannot be written, or its recorder was given up.
    pub(super) fn is_history_failing(&self) -> bool {
        self.history_failing.load(Relaxed) || self.actors.has_given_up(Role::Recorder)
    }

    /// Whether the settings could be installed when last read.
    pub fn last_reload_succeeded(&self) -> bool {
        self.last_reload_succeeded.load(Relaxed)
    }

    /// The settings were read again, with or without success.
    pub fn reloaded(&self, success: bool) {
        self.reloads[usize::from(success)].fetch_add(1, Relaxed);
        self.last_reload_succeeded.store(success, Relaxed);
        if success {
            self.settings_since.store(clock::unix(), Relaxed);
        }
    }
}

/// What became of a pin: the backend was asked and answered, or it, the user or the name stood in the way.
fn pin_outcome(story: &Story) -> &'static str {
    let asked = !story.attempts.is_empty();
    match story.class {
        None => "served",
        Some(Class::CallerCancelled) => {
            if story.first_token.is_some() {
                "served"
            } else {
                "cancelled"
            }
        }
        // A refusal of the request is an answer all the same, even if Greenroom tells it for the backend.
        Some(class) if asked && class.owner() == Owner::Caller => "served",
        Some(Class::PolicyPermission | Class::PolicyRatelimit) => "denied",
        Some(Class::CallerInvalid) => "unknown",
        Some(_) => "unavailable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::{Facts, page};

    #[test]
    fn history_that_nobody_writes_any_more_is_shown_as_failing() {
        let counts = Arc::new(Counts::default());
        let is_shown = |sample: &str| {
            let facts = Facts { handles: Vec::new(), queues: Vec::new() };
            page(&counts, facts, |_, _| 1.0).expect("a page").lines().any(|line| line == sample)
        };
        assert!(is_shown("greenroom_history_failing{} 0.0"));
        counts.actors.gave_up(Role::Recorder, "as asked".to_owned());
        assert!(is_shown("greenroom_history_failing{} 1.0"));
    }

    #[test]
    fn a_failover_is_forgotten_with_either_of_its_backends_and_with_its_model() {
        let counts = Counts::default();
        for (from, to, model) in [("a", "b", "m"), ("gone", "b", "m"), ("a", "gone", "m"), ("a", "b", "gone")] {
            counts.failovers.add_one(&(from.into(), to.into(), model.into(), "failover"));
        }
        let is_known = |name: &str| name != "gone";
        counts.keep(is_known, is_known, is_known);
        let left: Vec<_> = counts.failovers.sorted().into_iter().map(|((from, to, ..), _)| (from, to)).collect();
        assert_eq!(left, [("a".into(), "b".into())]);
    }
}
