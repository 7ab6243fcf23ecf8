//! Owns telling that a gate has changed: the line in the log, the note in the journal.

use std::sync::Arc;

use super::{
    gate::{Gate, KINDS},
    journal::Note,
    vitals::Vitals,
};
use crate::clock;

/// Opens the gate of a backend whose actor was given up and is started anew.
pub fn revive(vitals: &Vitals) {
    let (before, after) = (vitals.gate.read(), Gate::Ramp(1));
    vitals.gate.publish(after);
    GateChange { before, after, model: None, said: None }.tell(vitals);
}

/// A change of a gate.
pub(super) struct GateChange<'a> {
    pub(super) before: Gate,
    pub(super) after: Gate,
    /// Whose gate it is; `None`: that of the whole backend.
    pub(super) model: Option<&'a Arc<str>>,
    /// What happened, where that was a failure: never a provider's free text, which may repeat our key.
    pub(super) said: Option<&'a str>,
}

impl GateChange<'_> {
    /// Tells it.
    pub(super) fn tell(&self, vitals: &Vitals) {
        let Self { before, after, model, said } = *self;
        let name = &vitals.name;
        let of = model.map_or("all models", |model| model);
        if before.kind() != after.kind() {
            vitals.journal.enter(Note {
                at: clock::now(),
                model: model.cloned(),
                event: "gate",
                state: KINDS[after.kind()],
                text: match after {
                    Gate::Shut(_, why) | Gate::Held(why) => why.words().to_owned(),
                    Gate::Open | Gate::Ramp(_) => "it takes requests".to_owned(),
                },
            });
        }
        match after {
            Gate::Shut(until, why) => {
                let ms = until.saturating_sub(clock::now()).as_millis();
                let (why, colon, said) = (why.words(), said.map_or("", |_| ": "), said.unwrap_or_default());
                log::warn!("gate shut: backend={name} model={of} for_ms={ms} because {why}{colon}{said}");
            }
            Gate::Held(why) => log::warn!("gate held: backend={name} model={of} because {}", why.words()),
            Gate::Ramp(_) if before.kind() != after.kind() => log::info!("gate opens: backend={name} model={of}"),
            Gate::Open | Gate::Ramp(_) => log::debug!("gate ramps: backend={name} model={of} to {after:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::gate::Why, *};

    #[test]
    fn who_comes_back_after_it_was_given_up_is_not_last_heard_of_as_given_up() {
        let vitals = Vitals::new("one");
        vitals.gate.publish(Gate::Held(Why::GivenUp));
        revive(&vitals);
        let told: Vec<_> = vitals.journal.since(0).0.iter().map(|note| (note.event, note.state)).collect();
        assert_eq!((told, vitals.gate.read()), (vec![("gate", "ramping")], Gate::Ramp(1)));
    }
}
