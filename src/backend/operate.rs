//! Owns what operators do to a backend: take it out and back, have its failures forgotten, try it step by step, crash it.

use actix::{Handler, ResponseFuture};

use super::{
    Backend,
    breaker::Breaker,
    diagnose::{self, Step},
    gate::Why,
    messages::{Crash, Diagnose, Drain, ResetBreaker, Resume},
};

impl Handler<Drain> for Backend {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Self::Context) {
        self.judge_backend(None, |b| b.hold(Why::Drained));
    }
}

impl Handler<Resume> for Backend {
    type Result = ();

    fn handle(&mut self, _: Resume, _: &mut Self::Context) {
        self.judge_backend(None, Breaker::release);
    }
}

impl Handler<ResetBreaker> for Backend {
    type Result = ();

    fn handle(&mut self, _: ResetBreaker, _: &mut Self::Context) {
        self.judge_backend(None, Breaker::reset);
        for lane in self.vitals.lanes().iter() {
            self.judge_lane(lane, None, Breaker::reset);
        }
    }
}

impl Handler<Diagnose> for Backend {
    type Result = ResponseFuture<Vec<Step>>;

    fn handle(&mut self, _: Diagnose, _: &mut Self::Context) -> Self::Result {
        let model = self.vitals.lanes().first().map(|lane| lane.upstream_model.clone()).unwrap_or_default();
        Box::pin(diagnose::diagnose(self.settings.clone(), model))
    }
}

impl Handler<Crash> for Backend {
    type Result = ();

    fn handle(&mut self, _: Crash, _: &mut Self::Context) {
        panic!("crashed on request of an operator");
    }
}
