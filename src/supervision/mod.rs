//! Owns the Overseer: it starts all other actors, under guard, and installs routing tables.

pub mod backoff;
pub mod guarded;
pub mod messages;
mod staff;
#[cfg(test)]
mod tests;

use std::sync::{Arc, atomic::Ordering::Relaxed};

use actix::{Actor, Addr, Context, Handler, Supervised};
use actix_rt::Arbiter;
use arc_swap::ArcSwap;
use foldhash::HashMap;
use tokio::sync::oneshot;

use self::{
    guarded::Notice,
    messages::{Reload, Revive},
    staff::{build_table, start_backend},
};
use crate::{
    backend::{self, Handle, change::revive},
    clock,
    router::{
        Router,
        local::LocalRouter,
        table::{Installed, Table},
    },
    settings::{self, Plan, Settings},
    telemetry::{
        actors::Role,
        counts::Counts,
        history::{self, History},
        traces::{self, Traces},
    },
};

/// The actor.
pub struct Overseer {
    /// The settings that the process was started with.
    started: Settings,
    installed: Installed,
    counts: Arc<Counts>,
}

/// Starts the Overseer and the backends of `settings` on this thread.
pub fn start(settings: Settings, counts: Arc<Counts>) -> (Addr<Overseer>, Installed) {
    counts.users.counted.store(settings.server.metrics_by_user, Relaxed);
    let started = settings.clone();
    let installed: Installed = Arc::new(ArcSwap::from_pointee(build_table(settings, &HashMap::default())));
    let overseer = Overseer { started, installed: installed.clone(), counts: counts.clone() };
    (guarded::start(overseer, entered(counts, Role::Overseer)), installed)
}

/// Enters and logs what the guard of an actor in this role tells.
fn entered(counts: Arc<Counts>, role: Role) -> impl Fn(Notice) {
    move |notice| match notice {
        Notice::Restarted(cause) => counts.actors.restarted(role, cause),
        Notice::GaveUp(cause) => counts.actors.gave_up(role, cause),
    }
}

/// Starts a worker's router on this thread.
pub fn start_router(installed: &Installed, counts: Arc<Counts>) -> LocalRouter {
    let router = Router::new(installed.clone());
    LocalRouter::start(router, |router| guarded::start(router, entered(counts, Role::Router)))
}

/// Starts the Recorder on a thread of its own, so that a slow disk holds up nobody else. Returns `None` if the thread
/// cannot be started; history then shows as failing.
pub async fn start_recorder(
    settings: settings::History,
    counts: Arc<Counts>,
    installed: &Installed,
) -> Option<History> {
    let arbiter = Arbiter::try_new().inspect_err(|error| {
        log::error!("history is not kept: it has no thread ({error})");
        counts.history_failing.store(true, Relaxed);
    });
    let (arbiter, installed, actors) = (arbiter.ok()?, installed.clone(), counts.clone());
    let users = installed.clone();
    let backends = Box::new(move || installed.load().handles.values().map(|handle| handle.vitals.clone()).collect());
    let accounts = Box::new(move || users.load().days());
    let (recorder, connect) = history::prepare(settings, counts, backends, accounts);
    let (tell, told) = oneshot::channel();
    arbiter.spawn(async move {
        let addr = guarded::start(recorder, entered(actors, Role::Recorder));
        // Nobody listens any more only if the program is ending.
        let _ = tell.send(addr);
    });
    told.await.ok().map(connect)
}

/// Starts the Exporter on this thread: it does little but wait. `None` where there are to be no traces.
pub fn start_exporter(settings: &settings::Traces, counts: Arc<Counts>) -> Option<Traces> {
    let collector = settings.collector.clone()?;
    let (exporter, connect) = traces::prepare(collector, settings, counts.clone());
    Some(connect(guarded::start(exporter, entered(counts, Role::Exporter))))
}

impl Overseer {
    fn install(&self, mut table: Table) {
        let before = self.installed.load();
        table.take_over_queues(&before);
        table.take_over_allowances(&before, clock::now());
        self.counts.users.counted.store(table.settings.server.metrics_by_user, Relaxed);
        self.installed.store(Arc::new(table));
        // A worker whose router was given up starts another at its next request.
        self.counts.actors.revived(Role::Router);
    }

    /// Starts a given-up backend's actor anew; its facts stay.
    fn revive(&self, handle: &Handle) {
        let old = self.installed.load_full();
        revive(&handle.vitals);
        let fresh = start_backend(handle.name(), handle.settings.clone(), handle.vitals.clone());
        let mut handles = old.handles.clone();
        handles.insert(handle.name().to_string(), fresh);
        self.install(Table::build(old.settings.clone(), handles, old.created));
    }
}

impl Actor for Overseer {
    type Context = Context<Self>;
}

impl Supervised for Overseer {}

impl Handler<Revive> for Overseer {
    type Result = ();

    fn handle(&mut self, Revive(backend): Revive, _: &mut Self::Context) {
        let handle = self.installed.load().handles.get(&backend).cloned();
        if let Some(handle) = handle.filter(|handle| !handle.addr.connected()) {
            self.revive(&handle);
        }
    }
}

impl Handler<Reload> for Overseer {
    type Result = actix::MessageResult<Reload>;

    fn handle(&mut self, Reload { settings, dry_run }: Reload, _: &mut Self::Context) -> Self::Result {
        let old = self.installed.load_full();
        let plan = Plan::of(&self.started, &old.settings, &settings);
        if !dry_run {
            let new = build_table(*settings, &old.handles);
            for (name, handle) in &old.handles {
                let stays = new.handles.get(name).is_some_and(|new| new.addr == handle.addr);
                if !stays {
                    handle.addr.do_send(backend::messages::Retire);
                }
            }
            self.install(new);
            log::info!("settings installed: {plan}");
            plan.notes.iter().for_each(|note| log::warn!("note: {note}"));
        }
        actix::MessageResult(plan)
    }
}
