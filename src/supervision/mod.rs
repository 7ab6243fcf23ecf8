//! Owns the Overseer: it starts all other actors, under guard, installs routing tables, and reports on everyone.

pub mod backoff;
pub mod guarded;
pub mod messages;
mod staff;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use actix::{Actor, Addr, Context, Handler, ResponseFuture, Supervised};
use actix_rt::Arbiter;
use arc_swap::ArcSwap;
use foldhash::HashMap;
use futures_util::future::join_all;
use tokio::sync::oneshot;

use self::{
    guarded::Notice,
    messages::{Act, Action, AskReports, Diagnose, NotDone, Probe, Reload},
    staff::{start_backend, table},
};
use crate::{
    backend::{self, Handle, change::revive, diagnose::Step, messages::Settle, report::Report},
    clock,
    error::Failed,
    router::{
        Router,
        local::LocalRouter,
        table::{Installed, Table},
    },
    settings::{self, Plan, Settings},
    telemetry::{
        counts::Counts,
        history::{self, History},
        toll::Role,
        traces::{self, Traces},
    },
};

/// How long a backend's actor is waited for to judge what it was told before its facts are reported without that.
const PATIENCE: Duration = Duration::from_millis(500);

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
    let installed: Installed = Arc::new(ArcSwap::from_pointee(table(settings, &HashMap::default())));
    let overseer = Overseer { started, installed: installed.clone(), counts: counts.clone() };
    (guarded::start(overseer, entered(counts, Role::Overseer)), installed)
}

/// Enters and logs what the guard of an actor in this role tells.
fn entered(counts: Arc<Counts>, role: Role) -> impl Fn(Notice) {
    move |notice| match notice {
        Notice::Restarted(cause) => counts.toll.restarted(role, cause),
        Notice::GaveUp(cause) => counts.toll.gave_up(role, cause),
    }
}

/// Starts a worker's router on this thread.
pub fn start_router(installed: &Installed, counts: Arc<Counts>) -> LocalRouter {
    let router = Router::new(installed.clone());
    LocalRouter::start(router, |router| guarded::start(router, entered(counts, Role::Router)))
}

/// Starts the Recorder on a thread of its own, so that a slow disk holds up nobody else. `None` if there can be no thread, which
/// is shown as history that fails.
pub async fn start_recorder(
    settings: settings::History,
    counts: Arc<Counts>,
    installed: &Installed,
) -> Option<History> {
    let arbiter = Arbiter::try_new().inspect_err(|error| {
        log::error!("history is not kept: it has no thread ({error})");
        counts.history_failing.store(true, Relaxed);
    });
    let (arbiter, installed, toll) = (arbiter.ok()?, installed.clone(), counts.clone());
    let backends = Box::new(move || installed.load().handles.values().map(|handle| handle.vitals.clone()).collect());
    let (recorder, connect) = history::prepare(settings, counts, backends);
    let (tell, told) = oneshot::channel();
    arbiter.spawn(async move {
        let addr = guarded::start(recorder, entered(toll, Role::Recorder));
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
    fn install(&mut self, mut table: Table) {
        let before = self.installed.load();
        table.take_over_queues(&before);
        table.take_over_allowances(&before, clock::now());
        self.counts.users.counted.store(table.settings.server.metrics_by_user, Relaxed);
        self.installed.store(Arc::new(table));
        // A worker whose router was given up starts another at its next request.
        self.counts.toll.revived(Role::Router);
    }

    fn handle_of(&self, name: &str) -> Result<Arc<Handle>, NotDone> {
        self.installed.load().handles.get(name).cloned().ok_or(NotDone::Unknown)
    }

    /// The backend of this name, if its actor can still be told anything.
    fn living(&self, name: &str) -> Result<Arc<Handle>, NotDone> {
        let handle = self.handle_of(name)?;
        if handle.addr.connected() { Ok(handle) } else { Err(NotDone::GivenUp) }
    }

    /// Starts a given-up backend's actor anew; its facts stay.
    fn revive(&mut self, handle: &Handle) {
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

impl Handler<AskReports> for Overseer {
    type Result = ResponseFuture<Vec<Report>>;

    fn handle(&mut self, AskReports(name): AskReports, _: &mut Self::Context) -> Self::Result {
        let table = self.installed.load_full();
        let mut handles: Vec<_> =
            table.handles.values().filter(|h| name.as_deref().is_none_or(|n| **h.name() == *n)).cloned().collect();
        handles.sort_by(|a, b| a.name().cmp(b.name()));
        Box::pin(join_all(handles.into_iter().map(move |handle| {
            let table = table.clone();
            async move {
                // An actor that is being rebuilt cannot answer; its facts can.
                let _ = handle.addr.send(Settle).timeout(PATIENCE).await;
                let weight = |model: &str| table.weight(handle.name(), model);
                let mut report = Report::of(&handle.vitals, &handle.settings, weight);
                for lane in &mut report.models {
                    lane.queued = table.routes.get(&lane.model).map_or(0, |route| route.queue.waiting.load(Relaxed));
                }
                report
            }
        })))
    }
}

impl Handler<Act> for Overseer {
    type Result = Result<(), NotDone>;

    fn handle(&mut self, Act { backend, action }: Act, _: &mut Self::Context) -> Self::Result {
        let handle = self.handle_of(&backend)?;
        match action {
            Action::Resume if !handle.addr.connected() => self.revive(&handle),
            _ if !handle.addr.connected() => return Err(NotDone::GivenUp),
            Action::Drain => handle.addr.do_send(backend::messages::Drain),
            Action::Resume => handle.addr.do_send(backend::messages::Resume),
            Action::Reset => handle.addr.do_send(backend::messages::ResetBreaker),
            Action::Crash => handle.addr.do_send(backend::messages::Crash),
        }
        Ok(())
    }
}

impl Handler<Reload> for Overseer {
    type Result = actix::MessageResult<Reload>;

    fn handle(&mut self, Reload { settings, dry_run }: Reload, _: &mut Self::Context) -> Self::Result {
        let old = self.installed.load_full();
        let plan = Plan::of(&self.started, &old.settings, &settings);
        if !dry_run {
            let new = table(*settings, &old.handles);
            for (name, handle) in &old.handles {
                let stays = new.handles.get(name).is_some_and(|new| new.addr == handle.addr);
                if !stays {
                    handle.addr.do_send(backend::messages::Retire);
                }
            }
            self.install(new);
            log::info!("settings installed: {plan}");
        }
        actix::MessageResult(plan)
    }
}

impl Handler<Probe> for Overseer {
    type Result = ResponseFuture<Result<Result<(), Failed>, NotDone>>;

    fn handle(&mut self, Probe(name): Probe, _: &mut Self::Context) -> Self::Result {
        let handle = self.living(&name);
        Box::pin(async move {
            // Lost only if the actor panics over it.
            handle?.addr.send(backend::messages::ProbeNow).await.map_err(|_| NotDone::Crashed)
        })
    }
}

impl Handler<Diagnose> for Overseer {
    type Result = ResponseFuture<Result<Vec<Step>, NotDone>>;

    fn handle(&mut self, Diagnose(name): Diagnose, _: &mut Self::Context) -> Self::Result {
        let handle = self.living(&name);
        Box::pin(async move { handle?.addr.send(backend::messages::Diagnose).await.map_err(|_| NotDone::Crashed) })
    }
}
