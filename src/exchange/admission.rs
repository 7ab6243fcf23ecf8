//! Owns a limited user's request while it is under way: its place among those at once, and the tokens set aside for it. Both are
//! given back or settled on every path.

use std::sync::Arc;

use super::{request::Request, surface::Surface};
use crate::{
    clock,
    error::Refused,
    limits::{Allowance, Need},
    telemetry::story::{Story, Telling},
    wire::Usage,
};

/// A request that its user's limits have let in. It ends when this is dropped: once the answer has been sent, or the client
/// has left.
pub struct Admission {
    allowance: Arc<Allowance>,
    telling: Telling,
    /// Tokens set aside; `None` once they are settled, and where there are none to settle.
    aside: Option<u64>,
}

impl Admission {
    /// Has a request let in, or told which limit keeps it out.
    pub fn begin(allowance: &Arc<Allowance>, request: &Request) -> Result<Self, Refused> {
        let answer = || request.envelope.max_tokens.map_or(0, |each| each.saturating_mul(request.choices().into()));
        // No model answers what counts tokens.
        let need =
            (request.surface != Surface::CountTokens).then(|| Need { prompt: request.prompt_tokens, answer: answer() });
        let aside = allowance.admit(need, clock::now())?;
        let aside = need.map(|_| aside);
        Ok(Self { allowance: allowance.clone(), telling: request.telling.clone(), aside })
    }

    /// The answer is complete: what it has used is known by now, or never will be.
    pub(super) fn settle(&mut self) {
        let Some(aside) = self.aside.take() else { return };
        let (used, cost) = self.telling.read(|story| (used(story), story.cost()));
        self.allowance.settle(aside, used.unwrap_or(aside), cost, clock::now());
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.settle();
        self.allowance.leave();
    }
}

/// The tokens that a request has used, as far as its story knows; those that the provider had in its cache count like others.
fn used(story: &Story) -> Option<u64> {
    // A request that no backend has worked on has used none. A backend that was left early, was too slow or broke off has used
    // some, but nobody knows how much.
    let untouched = || story.first_token.is_none() && story.attempts.iter().all(|attempt| attempt.turned_away);
    story.usage.and_then(Usage::total).or_else(|| untouched().then_some(0))
}
