//! Owns the Backend actor. It judges the health of one backend and, while it lives, is the only writer of its gates.

pub mod breaker;
pub mod change;
pub mod diagnose;
pub mod entry;
pub mod estimate;
mod fix;
pub mod gate;
pub mod histogram;
pub mod in_vain;
pub mod journal;
pub mod learner;
pub mod lease;
pub mod load;
pub mod messages;
mod operate;
pub mod places;
mod probe;
mod question;
pub mod report;
pub mod sketch;
pub mod state;
mod trial;
pub mod vitals;
mod vouch;
mod window;

use std::{
    collections::HashMap,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Supervised};

use self::{
    breaker::{Breaker, Failure},
    change::GateChange,
    entry::Probes,
    gate::{ALONE, Gate, GateCell, Why},
    messages::{Adopt, Observed, Retire, SILENT, Settle, Verdict},
    vitals::{Lane, Vitals},
    vouch::List,
};
use crate::{
    clock,
    error::{Class, Weight},
    settings,
    upstream::Client,
};

/// How often successes are noted for the error ratio's window.
const TICK: Duration = Duration::from_secs(5);

/// A backend as routers and leases hold it: settings, facts, and its actor's address.
#[derive(Debug)]
pub struct Handle {
    /// Differs for every installed version of a backend, so that workers know when to build a new client.
    pub id: u64,
    /// Settings.
    pub settings: Arc<settings::Backend>,
    /// Facts.
    pub vitals: Arc<Vitals>,
    /// Its actor.
    pub addr: Addr<Backend>,
}

impl Handle {
    /// The configured name.
    pub fn name(&self) -> &Arc<str> {
        &self.vitals.name
    }

    /// How long a probe has a gate of it for itself.
    pub fn alone(&self) -> Duration {
        self.settings.deadlines.first_token_soft.clamp(Duration::from_millis(1), ALONE)
    }
}

/// The actor. Holds opinions; facts live in its `Vitals`.
pub struct Backend {
    settings: Arc<settings::Backend>,
    vitals: Arc<Vitals>,
    breaker: Breaker,
    lanes: Breakers,
    /// For probes; made when the first one is sent.
    client: Option<Rc<Client>>,
    /// When its key took the place of another, on the process clock; zero for the first.
    key_since: Duration,
    /// A probe is under way.
    probing: bool,
    /// What the last probe was given; empty if that was no models list.
    listed: List,
}

/// By public model, each with the lane that it belongs to: a model that was removed and came back has a new lane.
type Breakers = HashMap<Arc<str>, (Arc<Lane>, Breaker)>;

/// The breaker of a lane. `before`: the successes of a lane that is new here, which the error ratio leaves out.
fn breaker_of<'a>(
    lanes: &'a mut Breakers,
    settings: &settings::Backend,
    lane: &Arc<Lane>,
    before: u64,
) -> &'a mut Breaker {
    let new = || {
        let breaker = Breaker::new(settings.breaker.clone(), settings.max_in_flight, lane.gate.read(), before);
        (lane.clone(), breaker)
    };
    let known = lanes.entry(lane.model.clone()).or_insert_with(new);
    if !Arc::ptr_eq(&known.0, lane) {
        *known = new();
    }
    &mut known.1
}

impl Backend {
    /// An actor that starts from the gates as last published.
    pub fn new(settings: Arc<settings::Backend>, vitals: Arc<Vitals>) -> Self {
        let breaker =
            Breaker::new(settings.breaker.clone(), settings.max_in_flight, vitals.gate.read(), vitals.successes());
        let mut lanes = HashMap::new();
        for lane in vitals.lanes().iter() {
            breaker_of(&mut lanes, &settings, lane, lane.answered.load(Relaxed));
        }
        let (key_since, listed) = (Duration::ZERO, List::default());
        Self { settings, vitals, breaker, lanes, client: None, key_since, probing: false, listed }
    }

    /// Applies `change` to one breaker and publishes what comes of it. `lane`: whose breaker it is, if not the whole backend's;
    /// `said`: what happened, if that was a failure.
    fn judge(
        breaker: &mut Breaker,
        vitals: &Vitals,
        lane: Option<&Lane>,
        said: Option<&str>,
        change: impl FnOnce(&mut Breaker),
    ) {
        let before = breaker.gate();
        change(breaker);
        let after = breaker.gate();
        let own = (&vitals.gate, &vitals.consecutive);
        let (gate, consecutive) = lane.map_or(own, |lane| (&lane.gate, &lane.consecutive));
        consecutive.store(breaker.consecutive(), Relaxed);
        if before != after {
            gate.publish(after);
            GateChange { before, after, model: lane.map(|lane| &lane.model), said }.tell(vitals);
        }
    }

    fn judge_backend(&mut self, said: Option<&str>, change: impl FnOnce(&mut Breaker)) {
        Self::judge(&mut self.breaker, &self.vitals, None, said, change);
    }

    fn judge_lane(&mut self, lane: &Arc<Lane>, said: Option<&str>, change: impl FnOnce(&mut Breaker)) {
        if self.vitals.lane(&lane.model).is_none_or(|served| !Arc::ptr_eq(&served, lane)) {
            // A reload took the model from this backend while the request ran.
            return;
        }
        let breaker = breaker_of(&mut self.lanes, &self.settings, lane, 0);
        Self::judge(breaker, &self.vitals, Some(lane), said, change);
    }

    fn failed(&mut self, seen: &Observed, class: Class, retry_after: Option<Duration>, said: &str) {
        if class == Class::ProviderAuth && seen.since < self.key_since {
            // It was the key before this one that was refused.
            return;
        }
        let weight = class.disposition().weight;
        let failure = match weight {
            Weight::CoolDown => Failure::CoolDown(retry_after),
            Weight::HardDown if class == Class::ProviderQuota => Failure::Hard(Why::NoQuota),
            Weight::HardDown => Failure::Hard(Why::BadCredentials),
            Weight::BenchModel => Failure::Missing { told: class == Class::ProviderModelMissing },
            Weight::Model | Weight::Backend => Failure::Counted { retry_after },
            Weight::None | Weight::Alive => return,
        };
        self.count(seen, failure, matches!(weight, Weight::Backend | Weight::HardDown), said);
    }

    /// Lets the gate of the whole backend, or else of the model, count a failure.
    fn count(&mut self, seen: &Observed, failure: Failure, whole: bool, said: &str) {
        let (lane, jitter) = (&seen.lane, rand::random());
        if whole {
            let (probe, successes) = (seen.looked(&self.vitals.gate), self.vitals.successes());
            self.judge_backend(Some(said), |b| b.failed(failure, probe, successes, seen.at, jitter));
        } else {
            let (probe, successes) = (seen.looked(&lane.gate), lane.answered.load(Relaxed));
            self.judge_lane(lane, Some(said), |b| b.failed(failure, probe, successes, seen.at, jitter));
        }
    }

    /// The gates that a good answer opens, among those that it probed. If the provider has named a wait since, the gate
    /// stays shut for that long: nobody comes back earlier than asked.
    fn proves(&self, seen: &Observed) -> Probes {
        let opens = |cell: &GateCell| !matches!(cell.read(), Gate::Shut(until, Why::RateLimit) if seen.since < until);
        Probes {
            backend: seen.probes.backend && opens(&self.vitals.gate),
            model: seen.probes.model && opens(&seen.lane.gate),
        }
    }
}

impl Actor for Backend {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(TICK, |this, _| {
            let now = clock::now();
            let successes = this.vitals.successes();
            this.breaker.tick(now, successes);
            // Models that a reload has taken away are forgotten.
            let served = this.vitals.lanes();
            this.lanes.retain(|_, (lane, _)| served.iter().any(|known| Arc::ptr_eq(known, lane)));
            for lane in served.iter() {
                breaker_of(&mut this.lanes, &this.settings, lane, 0).tick(now, lane.answered.load(Relaxed));
            }
        });
        self.watch_while_sick(ctx);
    }
}

impl Supervised for Backend {
    /// Comes back as new, from the facts alone: a half-changed state is not worth keeping. Since when it has its key is a fact.
    fn restarting(&mut self, _: &mut Self::Context) {
        let key_since = self.key_since;
        *self = Self { key_since, ..Self::new(self.settings.clone(), self.vitals.clone()) };
    }
}

impl Handler<Observed> for Backend {
    type Result = ();

    fn handle(&mut self, seen: Observed, _: &mut Self::Context) {
        match &seen.verdict {
            Verdict::Begun => {
                let Probes { backend, model } = self.proves(&seen);
                self.judge_backend(None, |b| b.begun(backend));
                self.judge_lane(&seen.lane, None, |b| b.begun(model));
            }
            Verdict::Success { begun } => {
                let good = |b: &mut Breaker, probe| if *begun { b.completed() } else { b.succeeded(probe) };
                let Probes { backend, model } = self.proves(&seen);
                self.judge_backend(None, |b| good(b, backend));
                self.judge_lane(&seen.lane, None, |b| good(b, model));
            }
            Verdict::Alive => {
                self.judge_backend(None, Breaker::alive);
                self.judge_lane(&seen.lane, None, Breaker::alive);
            }
            Verdict::Silence => {
                // If others have probed meanwhile, what they saw holds.
                let Probes { backend, model } = seen.probes;
                if backend && seen.looked(&self.vitals.gate) {
                    self.count(&seen, Failure::Counted { retry_after: None }, true, SILENT);
                }
                if model && seen.looked(&seen.lane.gate) {
                    self.count(&seen, Failure::Counted { retry_after: None }, false, SILENT);
                }
            }
            Verdict::Failure { class, retry_after, said } => self.failed(&seen, *class, *retry_after, said),
        }
    }
}

impl Handler<Settle> for Backend {
    type Result = ();

    // Messages are handled in the order in which they were sent.
    fn handle(&mut self, _: Settle, _: &mut Self::Context) {}
}

impl Handler<Adopt> for Backend {
    type Result = ();

    fn handle(&mut self, Adopt(settings): Adopt, _: &mut Self::Context) {
        for breaker in self.lanes.values_mut().map(|(_, breaker)| breaker).chain([&mut self.breaker]) {
            breaker.adopt(settings.breaker.clone(), settings.max_in_flight);
        }
        if self.settings.api_key != settings.api_key {
            self.key_since = clock::now();
            if matches!(self.breaker.gate(), Gate::Shut(_, Why::BadCredentials)) {
                self.judge_backend(None, Breaker::reset);
            }
        }
        self.settings = settings;
        self.client = None;
        self.listed = List::default();
    }
}

impl Handler<Retire> for Backend {
    type Result = ();

    fn handle(&mut self, _: Retire, ctx: &mut Self::Context) {
        ctx.stop();
    }
}
