//! Owns the tests of what names a wait, and of the way back to an open gate.

use std::time::Duration;

use super::{
    breaker::{
        Blow, Breaker,
        tests::{FAIL, open, secs, settings},
    },
    gate::{Gate, Why},
};

#[test]
fn retry_after_shuts_for_exactly_that_long_and_is_never_shortened() {
    let mut breaker = open();
    breaker.failed(Blow::CoolDown(Some(secs(20))), false, 0, secs(1), 1.0);
    breaker.failed(Blow::CoolDown(Some(secs(5))), false, 0, secs(2), 1.0);
    breaker.failed(FAIL, false, 0, secs(3), 1.0);
    assert_eq!(breaker.gate(), Gate::Shut(secs(21), Why::RateLimit));
}

#[test]
fn to_be_asked_again_at_once_is_to_be_asked_for_no_wait() {
    let mut breaker = open();
    breaker.failed(Blow::Counted { retry_after: Some(Duration::ZERO) }, false, 0, secs(1), 0.0);
    assert_eq!(breaker.gate(), Gate::Open);
    breaker.failed(Blow::CoolDown(Some(Duration::ZERO)), false, 0, secs(1), 0.0);
    assert_eq!(breaker.gate(), Gate::Shut(secs(2), Why::RateLimit));
}

#[test]
fn first_tokens_lead_up_the_ramp_and_a_complete_answer_opens() {
    let mut breaker = Breaker::new(settings(), 8, Gate::Shut(secs(1), Why::Failures));
    breaker.begun(false);
    assert_eq!(breaker.gate(), Gate::Shut(secs(1), Why::Failures));
    let mut seen = Vec::new();
    for _ in 0..5 {
        breaker.begun(true);
        seen.push(breaker.gate());
    }
    assert_eq!(seen, [Gate::Ramp(2), Gate::Ramp(4), Gate::Ramp(4), Gate::Ramp(4), Gate::Ramp(4)]);
    breaker.completed();
    assert_eq!(breaker.gate(), Gate::Open);
}

#[test]
fn who_breaks_off_whatever_it_begins_is_shut_for_longer_each_time() {
    let mut breaker = open();
    (0..3).for_each(|_| breaker.failed(FAIL, false, 0, secs(0), 0.0));
    for wait in [2, 4, 8] {
        for n in 0..3 {
            breaker.begun(n == 0);
            breaker.failed(FAIL, false, 0, secs(100), 0.0);
        }
        assert_eq!(breaker.gate(), Gate::Shut(secs(100 + wait), Why::Failures));
    }
}

#[test]
fn requests_under_way_when_the_gate_shut_do_not_prolong_it() {
    let mut breaker = open();
    for _ in 0..50 {
        breaker.failed(FAIL, false, 0, secs(1), 0.0);
    }
    assert_eq!(breaker.gate(), Gate::Shut(secs(2), Why::Failures));
    // Nor later, when its probe is out: that one's failure would count as one of theirs.
    breaker.failed(FAIL, false, 0, secs(9), 0.0);
    assert_eq!(breaker.gate(), Gate::Shut(secs(2), Why::Failures));
}
