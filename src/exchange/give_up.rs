//! Owns what a client is told when nothing is left to try: the failure that helps it most, and when to come back.

use std::time::Duration;

use super::Exchange;
use crate::{
    backend::{gate::Admission, messages::Settle},
    clock,
    error::{Class, Error, Failed},
    router::messages::Refusal,
};

/// Time for a backend's actor to judge what it was told last. It takes a turn of its thread, unless it is being rebuilt.
const SETTLE: Duration = Duration::from_millis(100);

impl Exchange {
    /// What the client is told when nothing is left to try.
    pub(super) async fn give_up(&mut self, refusal: Option<Refusal>) -> Error {
        if !self.fallen.is_empty() {
            let (now, fingerprint) = (clock::now(), self.request.fingerprint());
            let mut blame = self.worker.blame.borrow_mut();
            self.fallen.iter().for_each(|fallen| blame.remember(fingerprint, fallen.id, now));
        }
        if let Some(decision) = refusal.as_ref().and_then(|refusal| refusal.decision.as_ref()) {
            // Plain data always serialises.
            self.request.telling.write(|story| story.decision = serde_json::to_value(decision).ok().map(Box::new));
        }
        let (ids, failures): (Vec<u64>, Vec<_>) =
            std::mem::take(&mut self.fallen).into_iter().map(|fallen| (fallen.id, fallen.failed)).unzip();
        match (most_useful(failures), refusal) {
            (Some(mut failed), _) => {
                if failed.retry_after.is_some() || passes(&failed) {
                    self.settle(&ids).await;
                    failed.retry_after = self.reopens_in().or(failed.retry_after);
                }
                Error::Upstream(Box::new(failed))
            }
            (None, Some(refusal)) => refusal.error,
            (None, None) => Error::Internal,
        }
    }

    /// Waits until the backends that failed have judged that, so that their gates tell how long they are shut.
    async fn settle(&self, fallen: &[u64]) {
        let targets = self.request.route.iter().flat_map(|route| &route.targets);
        for target in targets.filter(|target| fallen.contains(&target.handle.id)) {
            // Without an answer the gate says what it said before: that is no reason to keep the client waiting.
            let _ = target.handle.addr.send(Settle).timeout(SETTLE).await;
        }
    }

    /// Time until the first backend that could take this request opens again, tried or not; `None` if one is open now.
    fn reopens_in(&self) -> Option<Duration> {
        let (request, now) = (&self.request, clock::now());
        let (user, able) = (request.telling.read(|story| story.user.clone()), request.surface.able());
        let mut soonest: Option<Duration> = None;
        for target in &request.route.as_ref()?.targets {
            let pinned_elsewhere = request.pin.as_ref().is_some_and(|pin| pin != target.handle.name());
            if pinned_elsewhere || !target.is_for(&user, able) {
                continue;
            }
            // A pin may look earlier; when the gate opens is told to all alike.
            let until = match target.admissions(now, false) {
                // It comes back when an operator says so.
                [Admission::Refused(_, None), _] | [_, Admission::Refused(_, None)] => continue,
                [Admission::Refused(_, one), Admission::Refused(_, other)] => one.max(other),
                [Admission::Refused(_, until), _] | [_, Admission::Refused(_, until)] => until,
                _ => return None,
            };
            soonest = soonest.into_iter().chain(until).min();
        }
        soonest.map(|until| until.saturating_sub(now))
    }
}

/// A failure that passes by waiting.
fn passes(failed: &Failed) -> bool {
    matches!(failed.class, Class::ProviderRatelimit | Class::ProviderOverloaded)
}

/// Of several failures the one that helps the client most: what it can mend itself, else a limit that ends soonest, else the
/// last.
fn most_useful(failures: Vec<Failed>) -> Option<Failed> {
    let is_own = |f: &Failed| matches!(f.class, Class::ProviderContextLength | Class::CallerMisdirected);
    let own = failures.iter().rposition(is_own);
    let soonest = || {
        let wait = |n: &usize| failures[*n].retry_after.unwrap_or(Duration::MAX);
        (0..failures.len()).filter(|n| passes(&failures[*n])).min_by_key(wait)
    };
    let at = own.or_else(soonest).or(failures.len().checked_sub(1))?;
    failures.into_iter().nth(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(secs: u64) -> Failed {
        Failed { retry_after: Some(Duration::from_secs(secs)), ..Failed::new(Class::ProviderRatelimit, "") }
    }

    #[test]
    fn the_limit_that_ends_soonest_is_what_the_client_hears_of() {
        let told = most_useful(vec![limited(9), limited(3), Failed::new(Class::ProviderServer, "")]);
        assert_eq!(told.and_then(|f| f.retry_after), Some(Duration::from_secs(3)));
    }

    #[test]
    fn what_a_client_can_mend_itself_is_told_before_all_else() {
        let long = Failed::new(Class::ProviderContextLength, "too long");
        for own in [long, Failed::new(Class::CallerMisdirected, "no such file")] {
            let told = most_useful(vec![own.clone(), limited(3), Failed::new(Class::ProviderAuth, "")]);
            assert_eq!(told, Some(own));
        }
        assert_eq!(most_useful(Vec::new()), None);
    }
}
