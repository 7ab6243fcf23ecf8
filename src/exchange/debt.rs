//! Owns what a broken answer owes its client: the text it has sent already, which a rescue repeats or goes on from, and which
//! backends may.

use std::{cell::RefCell, rc::Rc};

use super::{
    attempt::Attempt,
    surface::{Surface, Way},
};
use crate::{
    settings::{Backend, Rescue},
    wire::{
        Protocol,
        partial::{By, Partial, is_open},
        translate::goes_on,
    },
};

/// What is owed to a client whose stream broke off.
#[derive(Debug)]
pub(super) struct Debt {
    /// The text that it has.
    text: String,
    /// Backends that did not go on with that text: they are asked to say it again.
    unable: RefCell<Vec<Unable>>,
}

#[derive(Debug, Clone)]
struct Unable {
    id: u64,
    /// May be asked once more for that reason.
    again: bool,
}

/// The debt, where an attempt is a rescue.
pub(super) type Owed = Option<Rc<Debt>>;

impl Debt {
    pub(super) fn new(text: String) -> Rc<Self> {
        Rc::new(Self { text, unable: RefCell::default() })
    }

    /// What is owed once a rescue has added to it and broken off, too: it has `said` this, all of it again or from where the text
    /// `goes_on`.
    pub(super) fn grown(&self, said: &str, goes_on: bool) -> Rc<Self> {
        let had = if goes_on { self.text.trim_end() } else { "" };
        Rc::new(Self { text: [had, said].concat(), unable: self.unable.clone() })
    }

    /// All of the text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// What of it this backend is asked to go on with; `None`: it has to say everything again.
    pub(super) fn begun(&self, attempt: &Attempt<'_>) -> Option<Partial<'_>> {
        let Attempt { request, target, way, .. } = attempt;
        let declared = request.rescue() == Rescue::Prefix && target.settings.continues;
        let unable = self.unable.borrow().iter().any(|unable| unable.id == target.handle.id);
        if !declared || unable || request.surface != Surface::Chat {
            return None;
        }
        let by = told_by(&target.handle.settings, &target.upstream_model, *way)?;
        // White space at its end is refused by Claude, and cut off by the chat templates of many models.
        let text = self.text.trim_end();
        (!text.is_empty() && is_open(&request.body)).then_some(Partial { text, by })
    }

    /// This backend did not go on with the text.
    pub(super) fn mark_unable(&self, id: u64) {
        self.unable.borrow_mut().push(Unable { id, again: true });
    }

    /// Lets one that only did not go on with the text be asked again, once.
    pub(super) fn spend_fresh_start(&self, id: u64) -> bool {
        let mut all = self.unable.borrow_mut();
        all.iter_mut().any(|unable| unable.id == id && std::mem::take(&mut unable.again))
    }
}

/// How a backend is told to go on with a text; `None` if it cannot.
fn told_by(backend: &Backend, model: &str, way: Way) -> Option<By> {
    if !way.is_native() {
        return goes_on(backend.protocol, model).then_some(By::Itself);
    }
    let host = backend.address.host.as_str();
    let marked = ["mistral.ai", "deepseek.com"].iter().any(|name| host.ends_with(name));
    match backend.protocol {
        // It answers such a message with another.
        Protocol::Openai if backend.is_openais_own() => None,
        Protocol::Openai if marked => Some(By::Mark),
        Protocol::Openai => Some(By::Members),
        Protocol::Anthropic | Protocol::Gemini => None,
    }
}
