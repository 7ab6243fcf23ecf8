//! Owns starting the backends' actors that a table needs, and keeping those that run already.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use foldhash::HashMap;

use super::guarded::{self, Notice};
use crate::{
    backend::{
        self, Backend, Handle,
        gate::{Gate, Why},
        journal::Note,
        vitals::Vitals,
    },
    clock,
    router::table::Table,
    settings::{self, Settings},
};

/// Builds the table of `settings` and starts the actors that it lacks; backends of `running` that stay the same keep their
/// actors and facts.
pub(super) fn build_table(settings: Settings, running: &HashMap<String, Arc<Handle>>) -> Table {
    let settings = Arc::new(settings);
    let mut handles = HashMap::default();
    for (name, backend) in &settings.backends {
        let models: Vec<(&str, &str)> = settings
            .models
            .iter()
            .filter_map(|(public, model)| {
                let target = model.targets.iter().find(|t| t.backend == *name)?;
                Some((public.as_str(), target.name_for(public)))
            })
            .collect();
        let handle = match running.get(name) {
            Some(handle) if *handle.settings == *backend => handle.clone(),
            Some(handle) if is_same_provider(&handle.settings, backend) => adopt(handle, Arc::new(backend.clone())),
            before => {
                let vitals = before.map_or_else(|| Vitals::new(name), |handle| inherit(handle, backend));
                start_backend(name, Arc::new(backend.clone()), Arc::new(vitals))
            }
        };
        handle.vitals.serve(&models);
        handles.insert(name.clone(), handle);
    }
    Table::build(settings, handles, clock::unix())
}

/// Whether what was learned about the old one holds for the new one: same server and same account. The account may be
/// named in a header. Another key in the same file is the same account's next.
fn is_same_provider(old: &settings::Backend, new: &settings::Backend) -> bool {
    let is_next_key = old.api_key_file.is_some() && old.api_key_file == new.api_key_file;
    (is_next_key || old.api_key == new.api_key)
        && (old.protocol, old.style, &old.base_url, &old.api_version, &old.headers)
            == (new.protocol, new.style, &new.base_url, &new.api_version, &new.headers)
}

/// The facts to start with where another provider has taken over the name.
fn inherit(before: &Handle, new: &settings::Backend) -> Vitals {
    let gate = match before.vitals.gate.read() {
        // Whatever is behind the name now, an operator has taken it out of service.
        held @ Gate::Held(Why::Drained) => held,
        _ => Gate::Open,
    };
    before.vitals.anew(gate, before.settings.address == new.address)
}

/// The same backend under new limits: its actor and its facts stay.
fn adopt(running: &Handle, settings: Arc<settings::Backend>) -> Arc<Handle> {
    running.addr.do_send(backend::messages::Adopt(settings.clone()));
    let (vitals, addr) = (running.vitals.clone(), running.addr.clone());
    Arc::new(Handle { id: next_id(), settings, vitals, addr })
}

/// A new id for a new version of a backend.
fn next_id() -> u64 {
    static IDS: AtomicU64 = AtomicU64::new(1);
    IDS.fetch_add(1, Relaxed)
}

/// Starts a backend's actor, under guard.
pub(super) fn start_backend(name: &str, settings: Arc<settings::Backend>, vitals: Arc<Vitals>) -> Arc<Handle> {
    let facts = vitals.clone();
    let name = name.to_owned();
    let addr = guarded::start(Backend::new(settings.clone(), vitals.clone()), move |notice| match notice {
        Notice::Restarted(cause) => {
            facts.counts.restarts.fetch_add(1, Relaxed);
            log::warn!("backend actor restarted: backend={name} after: {cause}");
            note(&facts, "restarted", &cause);
            facts.counts.last_cause.store(Some(Arc::new(cause)));
        }
        Notice::GaveUp(cause) => {
            // Its actor can publish nothing any more.
            facts.gate.publish(Gate::Held(Why::GivenUp));
            note(&facts, "gave_up", &cause);
            facts.counts.last_cause.store(Some(Arc::new(cause)));
            log::error!("backend given up: backend={name}; POST /admin/backends/{name}/resume starts it again");
        }
    });
    Arc::new(Handle { id: next_id(), settings, vitals, addr })
}

/// Enters what became of a backend's actor into the backend's journal.
fn note(facts: &Vitals, state: &'static str, cause: &str) {
    let text = format!("its actor panicked: {cause}");
    facts.journal.enter(Note { at: clock::now(), model: None, event: "restart", state, text });
}
