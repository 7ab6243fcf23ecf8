//! Owns choosing a backend for a request: it filters and compares the model's backends, and grants a lease.

use std::{sync::Arc, time::Duration};

use arc_swap::Cache;
use rand::{SeedableRng, rngs::SmallRng};

use super::{
    choose::{Bid, choose, favour},
    messages::{Assign, Assignment, Candidate, Decision, Grant, Refusal},
    table::{Installed, Route, Table, Target},
};
use crate::{
    backend::{
        entry::{Entry, Probes, Want},
        gate::{Access, Why},
        lease::Lease,
        load::{self, Cost},
    },
    error::Error,
};

/// What a router decides by.
#[derive(Debug)]
pub(super) struct Assigner {
    /// The table in force, looked at without a locked instruction.
    installed: Cache<Installed, Arc<Table>>,
    rng: SmallRng,
}

impl Assigner {
    /// Decides by the table in force; `seed` makes its choices repeatable.
    pub(super) fn new(installed: Installed, seed: u64) -> Self {
        Self { installed: Cache::new(installed), rng: SmallRng::seed_from_u64(seed) }
    }

    /// Takes a place at a backend for this request, or says why there is none.
    pub(super) fn assign(&mut self, ask: &Assign) -> Assignment {
        let table = self.installed.load();
        let Some(route) = table.routes.get(&*ask.model).filter(|route| route.is_open_to(&ask.user)) else {
            return Err(Refusal::plain(Error::ModelNotFound(ask.model.to_string())));
        };
        match &ask.pin {
            Some(name) => pinned(ask, table, route, name),
            None => routed(ask, route, &mut self.rng),
        }
    }
}

fn pinned(ask: &Assign, table: &Table, route: &Route, name: &Arc<str>) -> Assignment {
    let backend = name.to_string();
    // Permission is checked first: a user without it is not told which names exist.
    if !ask.user.may_pin || !ask.user.backends.allows(name) {
        return Err(Refusal::plain(Error::BackendNotAllowed(backend)));
    }
    if !table.handles.contains_key(&**name) {
        return Err(Refusal::plain(Error::BackendNotFound(backend)));
    }
    let target = route.targets.iter().find(|t| t.handle.name() == name);
    let Some(target) = target.filter(|t| (ask.able)(&t.handle.settings)) else {
        let (model, elsewhere) = (ask.model.to_string(), target.is_some());
        return Err(Refusal::plain(Error::ModelNotOnBackend { backend, model, elsewhere }));
    };
    let explained = |chosen| explain(ask, route, |t| t.handle.name() == name, chosen);
    let error = match gates(ask, target, true) {
        Ok(pass) => {
            // Before the place is taken, as in `routed`.
            let decision = explained(Some(target));
            if let Some(lease) = take(ask, target, pass, false) {
                return Ok(Grant { lease, target: target.clone(), candidates: 1, by_affinity: false, decision });
            }
            Error::PinOverloaded { backend }
        }
        Err((why, until)) => Error::PinUnavailable {
            backend,
            reason: why.words().to_owned(),
            retry_after: until.map(|until| until.saturating_sub(ask.now)),
        },
    };
    Err(Refusal { decision: explained(None), ..Refusal::plain(error) })
}

fn routed(ask: &Assign, route: &Route, rng: &mut SmallRng) -> Assignment {
    route.tell_usual(ask.now);
    let bid = |target: &Target| match eligibility(ask, target) {
        // A backend whose time shut is over is probed at once: one request finds out for all others whether it is back.
        Eligibility::Can(pass) if !pass.probes.is_none() => Some(Bid { reluctant: false, cost: Cost::default() }),
        Eligibility::Can(pass) => Some(Bid { reluctant: pass.reluctant, cost: cost(ask, target) }),
        _ => None,
    };
    for tier in &route.tiers {
        let targets = &route.targets[tier.clone()];
        // Another worker may take the last place, or the probe's, meanwhile: the next round sees that. Each round rules one
        // out.
        for _ in 0..targets.len() {
            if route.spent(ask.now, &ask.user, ask.able).is_some_and(|spent| spent.from <= tier.start) {
                return Err(refusal(ask, route));
            }
            let Some(cheapest) = choose(targets.len(), |n| bid(&targets[n]), rng) else { break };
            let index = ask.affinity.map_or(cheapest, |affinity| {
                favour(cheapest, targets.len(), affinity, |n| targets[n].hash, |n| bid(&targets[n]))
            });
            let target = &targets[index];
            let Eligibility::Can(pass) = eligibility(ask, target) else { continue };
            let by_affinity = index != cheapest;
            // Before the place is taken, so that the decision shows the backends as they were compared, without this request.
            let decision =
                explain(ask, route, |_| true, Some(target)).map(|decision| Decision { by_affinity, ..decision });
            let could = |t: &Arc<Target>| !Arc::ptr_eq(t, target) && matches!(eligibility(ask, t), Eligibility::Can(_));
            let has_choice = targets.iter().any(could);
            if let Some(lease) = take(ask, target, pass, has_choice) {
                // Only whether there was another matters, so counting stops at two.
                let candidates = 1 + u32::from(has_choice || route.targets.iter().any(could));
                return Ok(Grant { lease, target: target.clone(), candidates, by_affinity, decision });
            }
        }
    }
    Err(refusal(ask, route))
}

/// Why no backend can take the request, and when one may.
fn refusal(ask: &Assign, route: &Route) -> Refusal {
    let spent = route.spent(ask.now, &ask.user, ask.able);
    let mut soonest = spent.and_then(|spent| spent.until);
    let (mut full, mut out) = (false, Vec::new());
    for target in &route.targets[..spent.map_or(route.targets.len(), |spent| spent.from)] {
        match eligibility(ask, target) {
            Eligibility::Shut(why, until) => {
                out.push((target.handle.name().clone(), why.words()));
                soonest = soonest.into_iter().chain(until).min();
            }
            // If it can take it by now, it was full a moment ago.
            Eligibility::Full | Eligibility::Can(_) => full = true,
            Eligibility::Barred(_) => {}
        }
    }
    let model = ask.model.to_string();
    let retry_after = soonest.map(|until| until.saturating_sub(ask.now));
    if !route.targets.iter().any(|target| target.is_for(&ask.user, ask.able)) {
        let message = format!("No backend of the model '{model}' serves this endpoint.");
        return Refusal::plain(Error::invalid("model", message));
    }
    let shut = !out.is_empty();
    if !ask.user.may_see_backends {
        out.clear();
    }
    // A place comes free sooner than most gates open.
    let error = if full {
        Error::Overloaded { model, retry_after: None }
    } else {
        Error::NoHealthyBackend { model, retry_after, spent: spent.is_some(), out: out.into() }
    };
    Refusal { error, soonest, full, shut, decision: explain(ask, route, |_| true, None) }
}

/// How a choice came about, for a client that asked and for the debug log.
fn explain(
    ask: &Assign,
    route: &Route,
    which: impl Fn(&Target) -> bool,
    chosen: Option<&Arc<Target>>,
) -> Option<Decision> {
    if !ask.explain && !log::log_enabled!(log::Level::Debug) {
        return None;
    }
    let spent = route.spent(ask.now, &ask.user, ask.able).filter(|_| ask.pin.is_none());
    let stands_in =
        |t: &Target| spent.is_some_and(|spent| t.settings.priority >= route.targets[spent.from].settings.priority);
    let candidate = |t: &Arc<Target>| {
        let (busy, estimate) = (t.handle.vitals.load.busy(), t.estimate(ask.now));
        Candidate {
            backend: t.handle.name().to_string(),
            upstream_model: t.upstream_model.to_string(),
            excluded: eligibility(ask, t)
                .excluded()
                .or_else(|| {
                    stands_in(t).then(|| "another's account has no quota left, and quota_failover is off".to_owned())
                })
                .filter(|_| chosen.is_none_or(|c| !Arc::ptr_eq(c, t))),
            cost: cost(ask, t).line,
            first_token_s: estimate.seconds,
            serial: estimate.serial,
            token_s: estimate.pace,
            waiting: busy.waiting,
            waiting_tokens: busy.waiting_tokens,
            streaming: busy.streaming,
            weight: t.weight,
            priority: t.settings.priority,
        }
    };
    let decision = Decision {
        // A user is told of no backend that is not on the user's list.
        candidates: route
            .targets
            .iter()
            .filter(|t| which(t) && ask.user.backends.allows(t.handle.name()))
            .map(candidate)
            .collect(),
        chosen: chosen.map(|t| t.handle.name().to_string()),
        by_affinity: false,
    };
    log::debug!("choice for {}: {decision:?}", ask.model);
    ask.explain.then_some(decision)
}

/// How a backend stands towards a request.
enum Eligibility {
    Can(Pass),
    Shut(Why, Option<Duration>),
    Full,
    Barred(&'static str),
}

impl Eligibility {
    fn excluded(self) -> Option<String> {
        match self {
            Self::Can(_) => None,
            Self::Shut(why, _) => Some(format!("its gate is shut: {}", why.words())),
            Self::Full => Some("it is full".to_owned()),
            Self::Barred(why) => Some(why.to_owned()),
        }
    }
}

/// Permission to pass both gates.
#[derive(Clone, Copy, Default)]
struct Pass {
    reluctant: bool,
    probes: Probes,
}

fn eligibility(ask: &Assign, target: &Target) -> Eligibility {
    if ask.tried.contains(&target.handle.id) {
        return Eligibility::Barred("it was tried for this request");
    }
    if !(ask.able)(&target.handle.settings) {
        return Eligibility::Barred("its protocol has no such endpoint");
    }
    if !ask.user.backends.allows(target.handle.name()) {
        return Eligibility::Barred("the user may not use it");
    }
    if let (Some(above), Some(window)) = (ask.context_above, target.settings.context_window)
        && window <= above
    {
        return Eligibility::Barred("its context window is no larger");
    }
    match gates(ask, target, false) {
        Err((why, until)) => Eligibility::Shut(why, until),
        Ok(_) if target.is_full() => Eligibility::Full,
        Ok(pass) => Eligibility::Can(pass),
    }
}

/// Takes the place.
fn take(ask: &Assign, target: &Target, pass: Pass, has_choice: bool) -> Option<Lease> {
    let entry = Entry {
        want: ask.want,
        beside_chat: ask.beside_chat,
        has_choice,
        probes: pass.probes,
        prompt_tokens: ask.prompt_tokens,
        at: ask.now,
    };
    Lease::take(&target.handle, &target.lane, entry)
}

/// Asks the backend's gate, then the model's.
fn gates(ask: &Assign, target: &Target, pinned: bool) -> Result<Pass, (Why, Option<Duration>)> {
    let mut pass = Pass::default();
    for (backend_wide, answer) in [true, false].into_iter().zip(target.access(ask.now, pinned)) {
        match answer {
            Access::Welcome => {}
            Access::Reluctant => pass.reluctant = true,
            // Counting a prompt proves nothing about a backend, so it goes there only if no other can take it.
            Access::Probe if ask.want == Want::Count => pass.reluctant = true,
            Access::Probe if backend_wide => pass.probes.backend = true,
            Access::Probe => pass.probes.model = true,
            Access::Refused(why, until) => return Err((why, until)),
        }
    }
    Ok(pass)
}

fn cost(ask: &Assign, target: &Target) -> Cost {
    let (slots, mut busy) = (target.handle.settings.slots, target.handle.vitals.load.busy());
    busy.waiting += target.lane.blames(ask.now);
    if ask.want == Want::Whole {
        // As far as is known, they still stand in front.
        busy.waiting += target.lane.in_vain.at(ask.now);
    }
    load::cost(target.estimate(ask.now), busy, slots, target.weight)
}
