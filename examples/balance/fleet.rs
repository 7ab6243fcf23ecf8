//! The fleets a policy is tried on, and the pace of the requests that keeps one of them busy.

use crate::{
    server::{Course, Model},
    trace::{self, Request},
};

/// Seconds of the run, whatever the trace's own length.
const LEAST_SPAN: f64 = 60.0;

/// What the settings say about a backend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// Share of the work it should get.
    pub weight: f64,
    /// Streams up to which it stays fast.
    pub slots: u32,
}

/// One backend of a fleet.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub model: Model,
    pub speed: Course,
    /// Shares of the run between which it fails every request at once.
    pub fails: Option<(f64, f64)>,
    /// What an operator would write in the settings.
    pub known: Known,
}

/// Backends, and what is special about the arrivals.
#[derive(Clone, Debug)]
pub(crate) struct Fleet {
    /// Name in tables.
    pub name: &'static str,
    pub members: Vec<Member>,
    bursts: bool,
}

fn member(model: Model, speed: &[(f64, f64)]) -> Member {
    let known = Known { weight: 1.0, slots: 16 };
    Member { model, speed: Course(speed.to_vec()), fails: None, known }
}

/// All fleets, each with the one thing that is hard about it.
pub(crate) fn fleets() -> Vec<Fleet> {
    let plain = || member(Model::LARGE, &[(0.0, 1.0)]);
    let with = |odd: Member| [vec![odd], vec![plain(); 3]].concat();
    let sized = |speed: f64, slots: usize| {
        let mut one = member(Model { slots, ..Model::LARGE }, &[(0.0, speed)]);
        // Sizes are what the operator bought, so the settings say them.
        one.known = Known { weight: speed, slots: (16.0 * speed) as u32 };
        one
    };
    let caching = member(Model { cache: 200_000, ..Model::LARGE }, &[(0.0, 1.0)]);
    let mut failing = plain();
    failing.fails = Some((0.2, 0.6));
    let fleet = |name, members| Fleet { name, members, bursts: false };
    vec![
        fleet("four equal", vec![plain(); 4]),
        fleet("one at half speed", with(member(Model::LARGE, &[(0.0, 0.5)]))),
        fleet("mixed sizes", vec![sized(0.5, 32), sized(0.5, 32), sized(1.0, 128), sized(2.0, 256)]),
        fleet("one failing fast", with(failing)),
        fleet("one degrading slowly", with(member(Model::LARGE, &[(0.2, 1.0), (0.8, 0.2)]))),
        fleet("one recovering", with(member(Model::LARGE, &[(0.0, 0.2), (0.5, 0.2), (0.5001, 1.0)]))),
        Fleet { name: "bursts", members: vec![plain(); 4], bursts: true },
        fleet("sixteen equal", vec![plain(); 16]),
        fleet("common prompts", vec![caching; 4]),
    ]
}

impl Fleet {
    /// Whether servers keep the beginnings that prompts have in common.
    pub(crate) fn shares_prompts(&self) -> bool {
        self.members.iter().any(|member| member.model.cache > 0)
    }

    /// The requests at the pace at which this fleet is busy for `load` of its time.
    pub(crate) fn pace(&self, requests: &[Request], load: f64) -> Vec<Request> {
        let work: f64 = requests.iter().map(|request| Model::LARGE.work(request)).sum();
        self.spread(requests, (work / self.power() / load).max(LEAST_SPAN))
    }

    /// Seconds of ordinary server time that this fleet gives a second, over the whole run.
    pub(crate) fn power(&self) -> f64 {
        let mean = |course: &Course| (0..100).map(|i| course.value(f64::from(i) / 100.0)).sum::<f64>() / 100.0;
        self.members.iter().map(|m| mean(&m.speed) * (1.0 - m.fails.map_or(0.0, |f| f.1 - f.0))).sum()
    }

    /// The requests over `span` seconds, crowded where this fleet is for bursts.
    pub(crate) fn spread(&self, requests: &[Request], span: f64) -> Vec<Request> {
        let mut paced = trace::paced(requests, span);
        if self.bursts {
            trace::bursty(&mut paced, 60.0, 0.5);
        }
        paced
    }
}
