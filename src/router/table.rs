//! Owns the routing table: which backends serve which public model, who may use it, all as installed at one moment.

use std::{
    hash::{DefaultHasher, Hasher},
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use foldhash::HashMap;

use super::pace::Queue;
use crate::{
    backend::{
        Handle,
        estimate::{Estimate, Usual},
        gate::{Access, Why},
        vitals::Lane,
    },
    limits::{Allowance, Day},
    settings::{self, Backend, Settings, TokenDigest, User},
    wire::foreign,
};

/// The table in force, shared by all workers.
pub type Installed = Arc<ArcSwap<Table>>;

/// Everything a request is decided by. Immutable: a reload installs a new one.
#[derive(Debug)]
pub struct Table {
    /// The settings it was built from.
    pub settings: Arc<Settings>,
    /// Public models by name.
    pub routes: HashMap<String, Arc<Route>>,
    /// Backends by name.
    pub handles: HashMap<String, Arc<Handle>>,
    /// Users by the digest of their token.
    pub users: HashMap<TokenDigest, Arc<User>>,
    /// What limited users may use and have used, by their names.
    pub allowances: HashMap<String, Arc<Allowance>>,
    /// Since when it is in force, seconds since the epoch; the `created` of models.
    pub created: u64,
}

/// One public model.
#[derive(Debug)]
pub struct Route {
    /// Its public name.
    pub model: Arc<str>,
    /// Its settings.
    pub settings: settings::Model,
    /// Whether one of its backends is sent trace context.
    pub traced: bool,
    /// Who serves it, higher tiers first.
    pub targets: Vec<Arc<Target>>,
    /// Whether answers of one of them may contain what others refuse to be sent back.
    pub adds: bool,
    /// The tiers within `targets`.
    pub tiers: Vec<Range<usize>>,
    /// Those who wait for a place.
    pub queue: Arc<Queue>,
    /// The step of 100 ms in which the targets were last told what is usual in the pool.
    told: AtomicU32,
}

/// An account that has nothing left and that no other may stand in for.
#[derive(Debug, Clone, Copy)]
pub struct Spent {
    /// Where its tier begins among the route's targets. From there on only the account's own probe is taken: its peers and the tiers
    /// behind them would be used up in its place.
    pub from: usize,
    /// When it may be asked again.
    pub until: Option<Duration>,
}

/// One backend for one public model.
#[derive(Debug)]
pub struct Target {
    /// The backend.
    pub handle: Arc<Handle>,
    /// The model on it.
    pub lane: Arc<Lane>,
    /// The backend's own name for the model.
    pub upstream_model: Arc<str>,
    /// Whether that differs from the public name.
    pub renamed: bool,
    /// Backend's weight times the target's.
    pub weight: f64,
    /// Hash of the backend's name. It is the same after a restart and in other proxies of the same build, so that affinities
    /// find the backend again.
    pub hash: u64,
    /// What the operator wrote.
    pub settings: settings::Target,
}

impl Table {
    /// Builds the table of `settings` over running backends. `settings` are checked: every target's backend is there.
    pub fn build(settings: Arc<Settings>, handles: HashMap<String, Arc<Handle>>, created: u64) -> Self {
        let routes =
            settings.models.iter().map(|(name, model)| (name.clone(), Arc::new(Route::build(name, model, &handles))));
        let users = settings.users.values().flat_map(|user| {
            let shared = Arc::new(user.clone());
            user.tokens.iter().map(move |token| (*token, shared.clone()))
        });
        let allowances = settings.users.values().filter_map(|user| {
            let limits = user.limits.as_ref()?;
            Some((user.name.clone(), Arc::new(Allowance::new(limits))))
        });
        let allowances = allowances.collect();
        Self { routes: routes.collect(), users: users.collect(), allowances, handles, created, settings }
    }

    /// Takes over the queues of the table before it, so that requests that wait there stay ahead of new ones.
    pub fn take_over_queues(&mut self, before: &Self) {
        for (name, route) in &mut self.routes {
            if let (Some(route), Some(old)) = (Arc::get_mut(route), before.routes.get(name)) {
                route.queue = old.queue.clone();
            }
        }
    }

    /// Takes over the accounts of users from the table before it, under the limits as they are now. They stay the same
    /// accounts, so that requests under way end in the one that they began in.
    pub fn take_over_allowances(&mut self, before: &Self, now: Duration) {
        for (name, allowance) in &mut self.allowances {
            let limits = self.settings.users.get(name).and_then(|user| user.limits.as_ref());
            if let Some((old, limits)) = before.allowances.get(name).zip(limits) {
                old.adopt(limits, now);
                *allowance = old.clone();
            }
        }
    }

    /// How the limits of users stand that are kept over a restart.
    pub fn days(&self) -> Vec<Day> {
        self.allowances.iter().flat_map(|(user, allowance)| allowance.days(user)).collect()
    }

    /// Users go on from where they stood before a restart. Of users and limits that are no more, nothing is remembered.
    pub fn restore(&self, days: &[Day], now: Duration) {
        for day in days {
            if let Some(allowance) = self.allowances.get(&day.user) {
                allowance.restore(day, now);
            }
        }
    }

    /// What this user may use and has used; `None`: as much as the backends take.
    pub fn allowance(&self, user: &User) -> Option<Arc<Allowance>> {
        user.limits.as_ref()?;
        self.allowances.get(&user.name).cloned()
    }

    /// The weight of a model on a backend, by their names.
    pub fn weight(&self, backend: &str, model: &str) -> f64 {
        let mut targets = self.routes.get(model).into_iter().flat_map(|route| &route.targets);
        targets.find(|target| **target.handle.name() == *backend).map_or(1.0, |target| target.weight)
    }

    /// Whether at least one backend of some model could serve now.
    pub fn could_serve(&self) -> bool {
        let mut targets = self.routes.values().flat_map(|route| &route.targets);
        targets.any(|target| target.handle.vitals.gate.read().takes() && target.lane.gate.read().takes())
    }
}

impl Route {
    fn build(name: &str, model: &settings::Model, handles: &HashMap<String, Arc<Handle>>) -> Self {
        let mut targets: Vec<_> = model.targets.iter().filter_map(|t| Target::build(name, t, handles)).collect();
        targets.sort_by_key(|target| target.settings.priority);
        let mut tiers: Vec<Range<usize>> = Vec::new();
        for (n, target) in targets.iter().enumerate() {
            match tiers.last_mut() {
                Some(tier) if targets[tier.start].settings.priority == target.settings.priority => tier.end = n + 1,
                _ => tiers.push(n..n + 1),
            }
        }
        let traced = targets.iter().any(|target| target.handle.settings.trace_context);
        let adds = targets.iter().any(|t| foreign::adds(t.handle.settings.protocol, &t.upstream_model));
        let targets = targets.into_iter().map(Arc::new).collect();
        Self {
            model: name.into(),
            traced,
            adds,
            settings: model.clone(),
            targets,
            tiers,
            queue: Arc::new(Queue::new()),
            told: AtomicU32::new(u32::MAX),
        }
    }

    /// Whether the user may ask for this model: it is on the user's list, and so is one of its backends.
    pub fn is_open_to(&self, user: &User) -> bool {
        user.models.allows(&self.model) && self.targets.iter().any(|t| user.backends.allows(t.handle.name()))
    }

    /// Whether one of the backends has a free place, a probe's included, for anybody; where accounts may not stand in for each
    /// other, for users of the same backends as this one.
    pub fn has_room(&self, now: Duration, user: &User, able: fn(&Backend) -> bool) -> bool {
        let asked = self.spent(now, user, able).map_or(self.targets.len(), |spent| spent.from);
        self.targets[..asked].iter().any(|target| !target.is_full() && target.refuses(now).is_none())
    }

    /// The first tier with an account that has nothing left, where no other account may stand in for it.
    pub fn spent(&self, now: Duration, user: &User, able: fn(&Backend) -> bool) -> Option<Spent> {
        if self.settings.quota_failover {
            return None;
        }
        self.tiers.iter().find_map(|tier| {
            let mut theirs = self.targets[tier.clone()].iter().filter(|target| target.is_for(user, able));
            theirs.find_map(|target| match target.refuses(now) {
                Some((Why::NoQuota, until)) => Some(Spent { from: tier.start, until }),
                _ => None,
            })
        })
    }

    /// Tells every target's estimate what is usual in the pool, anew at most every 100 ms.
    pub fn tell_usual(&self, now: Duration) {
        let step = (now.as_millis() / 100) as u32;
        if self.told.load(Relaxed) == step {
            return;
        }
        self.told.store(step, Relaxed);
        if let Some(usual) = Usual::of(self.targets.iter().map(|t| t.lane.estimate.read())) {
            self.targets.iter().for_each(|t| t.lane.estimate.tell(usual));
        }
    }
}

/// A hash that is the same in every process of the same build: `std` does not fix it between releases.
pub fn stable_hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

impl Target {
    fn build(model: &str, target: &settings::Target, handles: &HashMap<String, Arc<Handle>>) -> Option<Self> {
        let handle = handles.get(&target.backend)?.clone();
        let lane = handle.vitals.lane(model)?;
        let upstream_model = target.name_for(model);
        Some(Self {
            weight: handle.settings.weight * target.weight,
            renamed: upstream_model != model,
            upstream_model: upstream_model.into(),
            hash: stable_hash(target.backend.as_bytes()),
            settings: target.clone(),
            lane,
            handle,
        })
    }

    /// Whether this user's requests of this kind could ever be served by it.
    pub fn is_for(&self, user: &User, able: fn(&Backend) -> bool) -> bool {
        user.backends.allows(self.handle.name()) && able(&self.handle.settings)
    }

    /// What its gates answer to one more request: the backend's, then the model's.
    pub fn access(&self, now: Duration, pinned: bool) -> [Access; 2] {
        let (vitals, lane, alone) = (&self.handle.vitals, &self.lane, self.handle.alone());
        [
            vitals.gate.access(now, vitals.load.places.in_flight(), pinned, alone),
            lane.gate.access(now, lane.places.in_flight(), pinned, alone),
        ]
    }

    /// Why one more request may not pass its gates, and until when, where that is known; `None`: it may.
    pub fn refuses(&self, now: Duration) -> Option<(Why, Option<Duration>)> {
        self.access(now, false).into_iter().find_map(|answer| match answer {
            Access::Refused(why, until) => Some((why, until)),
            _ => None,
        })
    }

    /// Whether all of the backend's places are taken.
    pub fn is_full(&self) -> bool {
        self.handle.vitals.load.places.in_flight() >= self.handle.settings.max_in_flight
    }

    /// What to expect of its answers now.
    pub fn estimate(&self, now: Duration) -> Estimate {
        self.lane.estimate.at(now, self.handle.settings.expected_first_token)
    }
}
