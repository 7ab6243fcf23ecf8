//! Owns an attempt's leg: the place at a backend and the entry in the story, which end together on every path.

use std::{
    cell::Cell,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::time::Instant;

use super::{request::Request, surface::Surface};
use crate::{
    backend::lease::{Lease, Outcome},
    clock,
    error::{Class, Failed, Owner},
    router::{messages::Grant, table::Target},
    settings::Price,
    telemetry::{
        story::{AttemptNote, CANCELLED, LET_GO, RouteReason, SUCCESS, Telling},
        traces::Hop,
    },
    wire::{Usage, prompt::BYTES_PER_TOKEN},
};

/// What is seen of an attempt while it runs. Its leg shares this, because the leg may end before the answer does.
#[derive(Debug, Default)]
pub(super) struct Signs {
    /// The soft first-token threshold has passed.
    pub(super) slow: Cell<bool>,
    /// Token counts so far.
    pub(super) usage: Cell<Option<Usage>>,
    /// Bytes of what it has said since its answer was last counted.
    pub(super) uncounted: Cell<u64>,
}

/// Tokens of an answer that tell nothing of a backend's pace, since nobody saw them come one by one.
pub(super) enum Unseen {
    /// None: all came after the first content.
    Nothing,
    /// Those of reasoning, if there were any: they came before the first content and were not shown.
    Reasoning,
    /// All: events of sound and of recordings are no single tokens.
    All,
}

impl Unseen {
    /// Those of an answer whose first content shows reasoning, or does not.
    pub(super) fn of(surface: Surface, shows_reasoning: bool) -> Self {
        match () {
            () if surface.is_raw() => Self::All,
            () if shows_reasoning => Self::Nothing,
            () => Self::Reasoning,
        }
    }
}

/// A lease with its entry in the story: both end together, on every path.
pub(super) struct Leg {
    lease: Option<Lease>,
    telling: Telling,
    pub(super) note: usize,
    /// When it was given its place. Its deadlines count from then.
    pub(super) begun: Instant,
    /// What is seen of it while it runs.
    pub(super) signs: Rc<Signs>,
    /// What its tokens cost.
    price: Option<Price>,
    /// Estimated tokens of its prompt; `None` where an answer is no text, of which no bytes tell how many tokens it has.
    prompt: Option<u64>,
    /// The status of the backend's answer, once there is one, even if that answer is judged a failure.
    pub(super) status: Option<u16>,
    /// A failure is not this backend's fault: its answer is in order, but does not fit the one that it should complete.
    pub(super) blameless: bool,
    /// Which of its tokens nobody saw come.
    pub(super) unseen: Unseen,
    /// How long bytes were ready that the client did not take.
    pub(super) held_up: Duration,
}

impl Leg {
    pub(super) fn begin(request: &Request, grant: Grant, hedged: bool) -> (Self, Arc<Target>) {
        let Grant { lease, target, candidates, by_affinity, decision } = grant;
        let (handle, telling) = (&target.handle, request.telling.clone());
        let (moved, traced) = telling
            .read(|story| (story.attempts.iter().any(|tried| tried.backend != *handle.name()), story.trace.is_some()));
        let route = match () {
            () if hedged => RouteReason::Hedged,
            () if request.pin.is_some() => RouteReason::Pinned,
            () if moved => RouteReason::Failover,
            () if by_affinity => RouteReason::Affinity,
            () if candidates > 1 => RouteReason::LeastLoaded,
            () => RouteReason::OnlyCandidate,
        };
        if request.pin.is_some() {
            handle.vitals.counts.pins.fetch_add(1, Relaxed);
        }
        let note = telling.attempt_begun(AttemptNote {
            backend: handle.name().clone(),
            upstream_model: target.upstream_model.clone(),
            route,
            started: telling.after_arrival(lease.taken()),
            duration: None,
            outcome: None,
            status: None,
            message: None,
            turned_away: false,
            said: None,
            cost: None,
            estimated: false,
            // A decision is plain data and always serialises.
            decision: decision.and_then(|decision| serde_json::to_value(decision).ok()).map(Box::new),
            hop: traced.then(|| Hop::to(handle.settings.clone())),
        });
        let leg = Self {
            begun: clock::instant(lease.taken()),
            lease: Some(lease),
            telling,
            note,
            signs: Rc::default(),
            price: target.settings.price,
            prompt: (!request.surface.is_raw()).then_some(request.prompt_tokens),
            status: None,
            blameless: false,
            unseen: Unseen::Nothing,
            held_up: Duration::ZERO,
        };
        (leg, target)
    }

    /// The first content of a stream has come.
    pub(super) fn first_token(&mut self) {
        if let Some(lease) = &mut self.lease {
            lease.first_token(clock::now());
        }
    }

    pub(super) fn succeeded(mut self, now: Duration) {
        self.telling.attempt_ended(self.note, SUCCESS, self.status, None, now);
        if let Some((lease, usage)) = self.lease.as_ref().zip(self.signs.usage.get()) {
            let unseen = match self.unseen {
                Unseen::Nothing => 0,
                Unseen::Reasoning => usage.reasoning,
                Unseen::All => usage.output,
            };
            lease.used(usage, unseen, self.held_up, now);
        }
        self.end(&Outcome::Success, now);
    }

    /// Gives its place back, and tells what it has used: an attempt that failed, was beaten or was left has to be paid for, too.
    fn end(&mut self, outcome: &Outcome<'_>, now: Duration) {
        let Some(lease) = self.lease.take() else { return };
        let (told, uncounted) = (self.signs.usage.get(), self.signs.uncounted.get());
        let estimate = self.estimate(outcome);
        if let Some((price, usage)) = self.price.zip(estimate.or(told)) {
            self.telling.note(self.note, |note| {
                note.cost = price.of(usage);
                note.estimated = estimate.is_some();
            });
        }
        let is_told = match outcome {
            // Where it was counted, this has been told.
            Outcome::Success => estimate.is_some(),
            Outcome::Beaten => false,
            // Anthropic's streams begin with a count, behind which they may still be refused: that costs no tokens.
            Outcome::Failed(failed) if failed.turned_away && lease.time_to_first_token().is_none() => uncounted > 0,
            _ => uncounted > 0 || told.is_some_and(|usage| usage.output > 0),
        };
        if let Some(usage) = estimate.or(told).filter(|_| is_told) {
            lease.used_without_end(usage);
            self.telling.write(|story| {
                // One that was to complete a broken answer may have said less than the client had had of that.
                if story.served_by == Some(self.note) || usage.total() >= story.usage.and_then(Usage::total) {
                    (story.usage, story.estimated) = (Some(usage), estimate.is_some());
                }
            });
        }
        lease.finish(outcome, now);
    }

    /// What it has used, as far as its provider has not counted it: the prompt and what has come of the answer, by their bytes.
    /// Otherwise who always leaves before the end would never reach a limit. `None`: all was counted, or nothing is known.
    fn estimate(&self, outcome: &Outcome<'_>) -> Option<Usage> {
        let (told, uncounted) = (self.signs.usage.get(), self.signs.uncounted.get());
        // A client that leaves an answer without content has had its prompt read.
        let is_left = matches!(outcome, Outcome::Cancelled) && self.status.is_some_and(|status| status < 400);
        let is_counted = told.is_some() && (uncounted == 0 || matches!(outcome, Outcome::Success));
        let prompt = self.prompt.filter(|_| !is_counted && (uncounted > 0 || is_left))?;
        let told = told.unwrap_or_default();
        let input = if told.input > 0 { told.input } else { prompt };
        Some(Usage { input, output: told.output.saturating_add(uncounted / BYTES_PER_TOKEN), ..told })
    }

    /// Whether the backend had less than its fair time, because the request's own deadline came first or because the client
    /// spent most of the time without reading. Then a failure says nothing about the backend.
    fn was_hurried(&self, failed: &Failed) -> bool {
        let Some(lease) = self.lease.as_ref().filter(|_| failed.class == Class::ProviderTimeoutTotal) else {
            return false;
        };
        let limits = &lease.handle().settings.deadlines;
        // A whole answer shows nothing before its end.
        let is_silent = lease.time_to_first_token().is_none() && self.telling.read(|story| story.stream);
        let fair = if is_silent { limits.first_token_hard } else { limits.total };
        let took = clock::now().saturating_sub(lease.taken());
        took < fair.min(limits.total) || self.held_up > took / 2
    }

    /// What a failure is to the backend.
    fn outcome<'a>(&self, failed: &'a Failed) -> Outcome<'a> {
        match () {
            () if self.blameless => Outcome::LetGo,
            () if self.was_hurried(failed) => Outcome::Hurried,
            () if self.status.is_none() && failed.class.owner() == Owner::Caller => Outcome::LetGo,
            () => Outcome::Failed(failed),
        }
    }

    pub(super) fn failed(mut self, failed: &Failed) {
        let (outcome, now) = (self.outcome(failed), clock::now());
        // The same word as in the backend's own counts.
        let word = if matches!(outcome, Outcome::Failed(_)) { failed.class.as_str() } else { LET_GO };
        let status = failed.status.or(self.status);
        self.telling.attempt_ended(self.note, word, status, Some(failed.message.clone()), now);
        self.telling.note(self.note, |note| {
            note.turned_away = failed.turned_away;
            note.said = failed.said.as_deref().map(Into::into);
        });
        self.end(&outcome, now);
    }
}

impl Drop for Leg {
    fn drop(&mut self) {
        // A leg that has ended has no lease any more.
        if self.lease.is_some() {
            let now = clock::now();
            // If the story has its end already, another attempt was quicker; if not, the client has left.
            let beaten = self.telling.read(|s| s.attempts.get(self.note).is_some_and(|note| note.outcome.is_some()));
            self.telling.attempt_ended(self.note, CANCELLED, None, None, now);
            self.end(if beaten { &Outcome::Beaten } else { &Outcome::Cancelled }, now);
        }
    }
}
