//! Owns what a rescue starts from when an answer broke off: the text that the client has, and which backends may continue it
//! rather than repeat it.

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
    /// Backends that did not continue the text: they are asked to repeat it.
    unable: RefCell<Vec<Unable>>,
}

#[derive(Debug, Clone)]
struct Unable {
    id: u64,
    /// It may be asked once more, to repeat the text.
    again: bool,
}

/// The debt, where an attempt is a rescue.
pub(super) type Owed = Option<Rc<Debt>>;

impl Debt {
    pub(super) fn new(text: String) -> Rc<Self> {
        Rc::new(Self { text, unable: RefCell::default() })
    }

    /// What is owed once a rescue has added to the text and broken off, too. It `said` all of the text again or, if it
    /// `goes_on`, only what follows it.
    pub(super) fn grown(&self, said: &str, goes_on: bool) -> Rc<Self> {
        let had = if goes_on { self.text.trim_end() } else { "" };
        Rc::new(Self { text: [had, said].concat(), unable: self.unable.clone() })
    }

    /// All of the text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The text that this backend is asked to continue; `None`: it has to repeat everything.
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

    /// Remembers that this backend did not continue the text.
    pub(super) fn mark_unable(&self, id: u64) {
        self.unable.borrow_mut().push(Unable { id, again: true });
    }

    /// Whether this backend failed only to continue the text and may be asked again; true once.
    pub(super) fn spend_fresh_start(&self, id: u64) -> bool {
        let mut all = self.unable.borrow_mut();
        all.iter_mut().any(|unable| unable.id == id && std::mem::take(&mut unable.again))
    }
}

/// How a backend is told to continue a text; `None` if it cannot.
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
