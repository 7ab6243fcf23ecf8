//! Owns getting an answer: attempts until one has content, with waits where waiting helps.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use actix::MailboxError;
use tokio::time::sleep;

use super::{Exchange, attempt::Opened, budget::Extra, patience::wait_before_retry, queue};
use crate::{
    clock,
    error::{Class, Error, Failed},
    router::{
        messages::{Assign, Assignment, Refusal},
        table::{Route, Target},
    },
    telemetry::phase::Phase,
};

/// A backend that failed for this request.
pub(super) struct Fallen {
    pub(super) id: u64,
    tries: u32,
    /// When it failed.
    at: Duration,
    pub(super) failed: Failed,
}

/// When a backend that failed may be asked again.
struct Due {
    id: u64,
    /// How long from now.
    wait: Duration,
    /// Its provider has named that time.
    named: bool,
}

/// Gates are published in whole milliseconds by another thread. This much later they are surely open.
const GATE_MARGIN: Duration = Duration::from_millis(5);

impl Exchange {
    /// Makes attempts until one has content, or until no more may be made.
    pub(super) async fn acquire(&mut self) -> Result<Opened, Error> {
        // Each round makes an attempt or waits. There are at most two waits for each attempt: until the backend may be asked
        // again, and until its gate opens. So a bound on the rounds bounds the waits, too.
        let mut rounds = 3 * self.max_attempts();
        if self.attempts == 0 && self.request.time_left().is_zero() {
            // The client used up the request's time by sending it.
            return Err(Error::Slow);
        }
        loop {
            rounds = rounds.saturating_sub(1);
            let answer = self.assign_or_queue().await;
            if answer.is_err() && !self.fallen.is_empty() {
                // What a backend said helps the client more than the news that no other had a place in time.
                return Err(Box::pin(self.give_up(None)).await);
            }
            let refusal = match answer? {
                Ok(grant) => match self.race(grant).await {
                    Ok(opened) => return Ok(opened),
                    Err(fell) if ends_the_request(&fell.failed) => return Err(Error::Upstream(Box::new(fell.failed))),
                    Err(fell) => {
                        let was_asked = self.note_fallen(&fell.target, fell.failed);
                        if !was_asked || self.pay_for_another() {
                            continue;
                        }
                        return Err(Box::pin(self.give_up(None)).await);
                    }
                },
                Err(refusal) => refusal,
            };
            if !self.avoided.is_empty() {
                let avoided = std::mem::take(&mut self.avoided);
                self.tried.retain(|id| !avoided.contains(id));
                continue;
            }
            if self.fallen.is_empty() || rounds == 0 || !Box::pin(self.wait(&refusal)).await {
                return Err(Box::pin(self.give_up(Some(refusal))).await);
            }
        }
    }

    /// The most attempts that may be made.
    pub(super) fn max_attempts(&self) -> u32 {
        if self.request.pin.is_some() { 1 } else { self.request.failover.max_attempts }
    }

    /// Pays for another attempt after those that failed; false if none may follow.
    pub(super) fn pay_for_another(&mut self) -> bool {
        let allowed =
            self.attempts < self.max_attempts() && self.spent().is_none() && !self.request.time_left().is_zero();
        self.extra = allowed.then(|| Extra::of(&self.worker.retries)).flatten();
        self.extra.is_some()
    }

    /// Whether no other backend may stand in after this failure: the account has no quota left, and `quota_failover` is off.
    pub(super) fn is_final(&self, failed: &Failed) -> bool {
        failed.class == Class::ProviderQuota
            && self.request.route.as_ref().is_some_and(|route| !route.settings.quota_failover)
    }

    /// Tells operators why a request fails that others could serve.
    fn warn_of_quota(&self, spent: &Target) {
        let model = self.request.telling.read(|story| story.model.clone());
        log::warn!(
            "no other backend stands in for {}, which has no quota left: model={model} quota_failover=false",
            spent.handle.name()
        );
    }

    /// The backend whose account has no quota left, if no other may stand in for it.
    pub(super) fn spent(&self) -> Option<u64> {
        self.fallen.iter().find(|fallen| self.is_final(&fallen.failed)).map(|fallen| fallen.id)
    }

    async fn assign_or_queue(&self) -> Result<Assignment, Error> {
        let Some(route) = self.request.route.as_ref().filter(|route| route.settings.queue > 0) else {
            return self.assign().await;
        };
        // While a failed backend may be asked again, the request does not queue for others.
        if !self.avoided.is_empty() || self.again().is_some() {
            return self.assign().await;
        }
        if !self.is_behind_others(route) {
            let answer = self.assign().await?;
            if !queue::finds_all_full(&answer) {
                return Ok(answer);
            }
        }
        let began = clock::now();
        // Time passes from here on, so the end of the check no longer counts as now.
        self.request.checked.take();
        let has_room = || {
            let (table, able) = (self.worker.table(), self.request.surface.able());
            let Some(route) = table.routes.get(&*route.model) else { return false };
            self.request.telling.read(|story| route.has_room(clock::now(), &story.user, able))
        };
        let answer = Box::pin(queue::wait(route, self.request.time_left(), has_room, || self.assign())).await;
        let waited = clock::now().saturating_sub(began);
        self.request.telling.write(|story| story.queued = Some(story.queued.unwrap_or_default() + waited));
        answer
    }

    /// Whether others already wait for the same model as this request comes. A pinned request waits for nobody, and a request
    /// that has made an attempt was here before them.
    fn is_behind_others(&self, route: &Route) -> bool {
        let request = &self.request;
        let comes = self.attempts == 0 && self.fallen.is_empty() && request.pin.is_none();
        let able = request.surface.able();
        comes
            && route.queue.waiting.load(Relaxed) > 0
            && request.telling.read(|story| {
                route.is_open_to(&story.user) && route.targets.iter().any(|target| target.is_for(&story.user, able))
            })
    }

    pub(super) async fn assign(&self) -> Result<Assignment, Error> {
        let request = &self.request;
        let began = request.checked.take().unwrap_or_else(clock::now);
        let (user, model) = request.telling.read(|story| (story.user.clone(), story.model.clone()));
        let ask = Assign {
            now: began,
            model,
            user,
            pin: request.pin.clone(),
            tried: self.tried.clone(),
            context_above: self.context_above,
            able: request.surface.able(),
            want: request.surface.want(request.stream),
            beside_chat: request.surface.beside_chat(),
            prompt_tokens: request.prompt_tokens,
            affinity: request.affinity,
            explain: request.explain,
        };
        // The router lives on this thread and answers at once, unless it is being rebuilt, or was given up and its mailbox is
        // closed.
        let answer = self.worker.assign(ask, request.deadline).await;
        request.telling.phase_ended(Phase::Route, began);
        answer.map_err(|error| match error {
            MailboxError::Timeout => {
                Error::Upstream(Box::new(Failed::new(Class::GatewayOverload, "its router is being rebuilt")))
            }
            MailboxError::Closed => Error::Internal,
        })
    }

    /// Records a failed attempt; false if the backend was not even asked, because it does not have what is wanted. That does
    /// not count towards `max_attempts`: otherwise several such backends would keep a request from the one that serves it.
    pub(super) fn note_fallen(&mut self, target: &Target, failed: Failed) -> bool {
        if failed.class == Class::ProviderContextLength {
            // A smaller window that was tried later changes nothing.
            self.context_above = self.context_above.max(Some(target.settings.context_window.unwrap_or(0)));
        }
        if self.is_final(&failed) {
            self.warn_of_quota(target);
        }
        let id = target.handle.id;
        let unable = failed.class == Class::CallerUnsupported;
        if !(unable && self.owed.as_ref().is_some_and(|owed| owed.spend_fresh_start(id))) {
            self.tried.push(id);
        }
        let tries = self.fallen.iter().filter(|f| f.id == id).count() as u32 + 1;
        self.fallen.push(Fallen { id, tries, at: clock::now(), failed });
        let was_asked = !unable || self.owed.is_some() || self.request.pin.is_some();
        self.attempts -= u32::from(!was_asked);
        was_asked
    }

    /// The first backend that failed and may be asked again. The last attempt is better spent on one that named a time than on one
    /// that failed otherwise a moment ago.
    fn again(&self) -> Option<Due> {
        let (left, now) = (self.request.time_left(), clock::now());
        let due = |fallen: &Fallen| {
            let wait = wait_before_retry(&fallen.failed, fallen.tries, left, rand::random())?;
            let named = fallen.failed.retry_after.is_some();
            let over = if named { now.saturating_sub(fallen.at) } else { Duration::ZERO };
            Some(Due { id: fallen.id, wait: wait.saturating_sub(over), named })
        };
        let latest = |id: u64| self.fallen.iter().rev().find(|f| f.id == id);
        let is_last = self.attempts + 1 >= self.max_attempts();
        let is_worse = |due: &Due| is_last && !(due.named && self.patience.allows(due.wait, due.named));
        let all = self.tried.iter().filter_map(|id| due(latest(*id)?));
        all.min_by_key(|due| (is_worse(due), due.wait, due.id))
    }

    /// Waits until a failed backend may be asked again; false if that would take too long.
    async fn wait(&mut self, refusal: &Refusal) -> bool {
        let left = self.request.time_left();
        let (wait, named) = match self.again() {
            Some(Due { id, wait, named }) => {
                self.tried.retain(|tried| *tried != id);
                (wait, named)
            }
            // No backend is excluded any more, but the gates are shut for a moment.
            None => match refusal.soonest {
                Some(until) => (until.saturating_sub(clock::now()) + GATE_MARGIN, false),
                None => return false,
            },
        };
        if wait >= left || !self.patience.spend(wait, named) {
            return false;
        }
        // A wait named by a provider has also shut a gate, a moment later.
        sleep(if named { wait + GATE_MARGIN } else { wait }).await;
        true
    }
}

/// Whether no other backend can help.
pub(super) fn ends_the_request(failed: &Failed) -> bool {
    !failed.class.disposition().other
}
