//! Owns what a client is told when nothing is left to try: the failure that helps it most, and when to come back.

use std::{sync::Arc, time::Duration};

use super::{Exchange, acquire::Fallen};
use crate::{
    backend::{gate::Access, messages::settled},
    clock,
    error::{Class, Error, Failed, SDKS_WAIT, SOON},
    router::{messages::Refusal, table::Target},
};

/// Time for a backend's actor to judge what it was told last. One turn of its thread is enough, unless it is being rebuilt.
const SETTLE: Duration = Duration::from_millis(100);

impl Exchange {
    /// What the client is told when nothing is left to try.
    pub(super) async fn give_up(&mut self, refusal: Option<Refusal>) -> Error {
        self.blame();
        if let Some(decision) = refusal.as_ref().and_then(|refusal| refusal.decision.as_ref()) {
            // Plain data always serialises.
            self.request.telling.write(|story| story.decision = serde_json::to_value(decision).ok().map(Box::new));
        }
        let spent = self.spent();
        let fallen = std::mem::take(&mut self.fallen);
        let failures: Vec<_> = fallen.iter().map(|fallen| &fallen.failed).collect();
        // Backends that lack the endpoint say nothing about one that may have it but is full or shut.
        let is_elsewhere = failures.iter().all(|failed| lacks_endpoint(failed))
            && refusal.as_ref().is_some_and(|refusal| refusal.full || refusal.shut);
        match (most_useful(&failures).cloned().filter(|_| !is_elsewhere), refusal) {
            (Some(mut failed), _) => {
                let is_shut_out = shuts_out(&failed);
                if failed.retry_after.is_some() || passes(failed.class) || is_shut_out {
                    self.settle(&fallen).await;
                    failed.retry_after = self.reopens_in(&fallen, spent, failed.class).or(failed.retry_after);
                    failed.hopeless = is_shut_out && self.is_hopeless(spent);
                }
                Error::Upstream(Box::new(failed))
            }
            (None, Some(refusal)) => refusal.error,
            (None, None) => Error::Internal,
        }
    }

    /// Remembers the backends that failed. If the client sends the request again, they are asked last.
    pub(super) fn blame(&self) {
        if !self.fallen.is_empty() {
            self.request.blame(&self.worker.blame, self.fallen.iter().map(|fallen| fallen.id));
        }
    }

    /// Waits until the actors of the failed backends have judged the failures, so that their gates tell how long they are
    /// shut.
    async fn settle(&self, fallen: &[Fallen]) {
        let targets = self.request.route.iter().flat_map(|route| &route.targets);
        let theirs = targets.filter(|target| fallen.iter().any(|fallen| fallen.id == target.handle.id));
        settled(theirs.map(|target| &target.handle.addr), SETTLE).await;
    }

    /// The gates of each backend that could take this request, tried or not: the backend's, then the model's. If one is
    /// `spent`, no other could take it.
    fn gates(&self, now: Duration, spent: Option<u64>) -> impl Iterator<Item = (u64, [Access; 2])> {
        let request = &self.request;
        let (user, able) = (request.telling.read(|story| story.user.clone()), request.surface.able());
        let targets = request.route.iter().flat_map(|route| &route.targets);
        let is_meant = move |target: &&Arc<Target>| {
            let pinned_elsewhere = request.pin.as_ref().is_some_and(|pin| pin != target.handle.name());
            !pinned_elsewhere && spent.is_none_or(|id| id == target.handle.id) && target.is_for(&user, able)
        };
        // A pin may pass a shut gate, but its client is told the same time as others.
        targets.filter(is_meant).map(move |target| (target.handle.id, target.access(now, false)))
    }

    /// Time until the first backend that could take this request may take it again, tried or not; `None` if only an operator
    /// can tell. For a backend that is open now, full or not, it is short, unless the backend has just named a time. If the
    /// failure told to the client is a limit (its `class`), backends that failed for another reason do not shorten the time.
    fn reopens_in(&self, fallen: &[Fallen], spent: Option<u64>, class: Class) -> Option<Duration> {
        let now = clock::now();
        let latest = |id: u64| fallen.iter().rev().find(|fallen| fallen.id == id).map(|fallen| &fallen.failed);
        let is_told = |id: u64| !passes(class) || latest(id).is_none_or(|failed| failed.class == class);
        let waits = self.gates(now, spent).filter(|(id, _)| is_told(*id)).filter_map(|(id, gates)| {
            let until = match gates {
                // It comes back when an operator says so.
                [Access::Refused(_, None), _] | [_, Access::Refused(_, None)] => return None,
                [Access::Refused(_, one), Access::Refused(_, other)] => one.max(other),
                [Access::Refused(_, until), _] | [_, Access::Refused(_, until)] => until,
                _ => return latest(id).and_then(|failed| failed.retry_after).or(Some(SOON)),
            };
            until.map(|until| until.saturating_sub(now))
        });
        waits.min()
    }

    /// Whether every backend that could take this request is out for longer than SDKs wait, so that their asking once more cannot
    /// help.
    fn is_hopeless(&self, spent: Option<u64>) -> bool {
        let now = clock::now();
        let out = |gate: &Access| match gate {
            Access::Refused(_, until) => until.is_none_or(|until| until.saturating_sub(now) > SDKS_WAIT),
            _ => false,
        };
        self.gates(now, spent).all(|(_, gates)| gates.iter().any(out))
    }
}

/// Whether a failure shuts the backend for long: its credentials are refused, or its account has no money.
fn shuts_out(failed: &Failed) -> bool {
    matches!(failed.class, Class::ProviderAuth | Class::ProviderQuota)
}

/// Whether a backend was asked and does not have the endpoint.
fn lacks_endpoint(failed: &Failed) -> bool {
    failed.class == Class::CallerUnsupported && failed.status.is_some()
}

/// Whether a failure of this class passes with time.
fn passes(class: Class) -> bool {
    matches!(class, Class::ProviderRatelimit | Class::ProviderOverloaded)
}

/// The failure that helps the client most. In this order: one that the client can mend itself; the limit that ends soonest;
/// the last one that may be over the next time; the reason why nothing was sent; one that lasts; the last one.
fn most_useful<'a>(failures: &[&'a Failed]) -> Option<&'a Failed> {
    let is_own = |f: &Failed| matches!(f.class, Class::ProviderContextLength | Class::CallerMisdirected);
    let is_unsent = |f: &Failed| f.class == Class::CallerUnsupported && f.status.is_none();
    let lasts = |f: &Failed| {
        let of_settings = matches!(f.class, Class::ProviderModelMissing | Class::ProviderNotFound);
        shuts_out(f) || of_settings || f.class == Class::ProviderDenied
    };
    let last = |is: &dyn Fn(&Failed) -> bool| failures.iter().copied().rfind(|failed| is(failed));
    let limits = failures.iter().copied().filter(|failed| passes(failed.class));
    last(&is_own)
        .or_else(|| limits.min_by_key(|failed| failed.retry_after.unwrap_or(Duration::MAX)))
        .or_else(|| last(&|failed| !lasts(failed) && failed.class != Class::CallerUnsupported))
        .or_else(|| last(&is_unsent))
        // A backend that lacks the endpoint says nothing about another that may have it.
        .or_else(|| last(&lasts))
        .or_else(|| failures.last().copied())
}

#[cfg(test)]
mod tests {
    use actix::{AsyncContext, Context};
    use tokio::time::Instant;

    use super::*;
    use crate::backend::Backend;

    fn limited(secs: u64) -> Failed {
        Failed { retry_after: Some(Duration::from_secs(secs)), ..Failed::new(Class::ProviderRatelimit, "") }
    }

    fn most_useful(failures: impl IntoIterator<Item = Failed>) -> Option<Failed> {
        let failures: Vec<_> = failures.into_iter().collect();
        super::most_useful(&failures.iter().collect::<Vec<_>>()).cloned()
    }

    #[actix::test]
    async fn backends_that_are_being_rebuilt_are_waited_for_all_at_once() {
        tokio::time::pause();
        // Nobody reads the mailboxes of these.
        let away: Vec<_> = (0..3).map(|_| Context::<Backend>::new()).collect();
        let began = Instant::now();
        settled(away.iter().map(Context::address).collect::<Vec<_>>().iter(), SETTLE).await;
        assert!(began.elapsed() < 2 * SETTLE, "{:?}", began.elapsed());
    }

    #[test]
    fn the_limit_that_ends_soonest_is_what_the_client_hears_of() {
        let told = most_useful([limited(9), limited(3), Failed::new(Class::ProviderServer, "")]);
        assert_eq!(told.and_then(|f| f.retry_after), Some(Duration::from_secs(3)));
    }

    #[test]
    fn what_a_client_can_mend_itself_is_told_before_all_else() {
        let long = Failed::new(Class::ProviderContextLength, "too long");
        for own in [long, Failed::new(Class::CallerMisdirected, "no such file")] {
            let told = most_useful([own.clone(), limited(3), Failed::new(Class::ProviderAuth, "")]);
            assert_eq!(told, Some(own));
        }
        assert_eq!(most_useful([]), None);
    }

    #[test]
    fn what_may_be_over_the_next_time_is_told_before_what_lasts() {
        for lasting in [Class::ProviderAuth, Class::ProviderQuota, Class::ProviderModelMissing, Class::ProviderDenied] {
            for mishap in [Class::ProviderServer, Class::ProviderTransport, Class::ProviderTimeoutTtft] {
                let (lasting, mishap) = (Failed::new(lasting, ""), Failed::new(mishap, ""));
                for order in [[mishap.clone(), lasting.clone()], [lasting, mishap.clone()]] {
                    assert_eq!(most_useful(order), Some(mishap.clone()));
                }
            }
        }
    }

    #[test]
    fn what_some_cannot_be_sent_is_told_where_no_other_had_a_mishap() {
        let [mishap, lasting] = [Class::ProviderTimeoutTtft, Class::ProviderAuth].map(|class| Failed::new(class, ""));
        let [first, last] = ["first", "last"].map(|name| Failed::new(Class::CallerUnsupported, name));
        assert_eq!(most_useful([mishap.clone(), first.clone(), last.clone()]), Some(mishap));
        assert_eq!(most_useful([first.clone(), last.clone(), lasting]), Some(last.clone()));
        assert_eq!(most_useful([first, last.clone()]), Some(last));
    }

    #[test]
    fn what_ails_one_that_may_have_the_endpoint_is_told_before_that_another_lacks_it() {
        let lacks = Failed { status: Some(404), ..Failed::new(Class::CallerUnsupported, "") };
        for class in [Class::ProviderAuth, Class::ProviderServer] {
            let ails = Failed::new(class, "");
            assert_eq!(most_useful([ails.clone(), lacks.clone()]), Some(ails));
        }
        assert_eq!(most_useful([lacks.clone()]), Some(lacks));
    }
}
