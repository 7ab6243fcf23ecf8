//! The breaker's tests: what shuts a gate and for how long, what names a wait, and the way back to an open gate.

use proptest::prelude::*;

use super::*;

const FAIL: Failure = Failure::Counted { retry_after: None };

fn settings() -> BreakerSettings {
    BreakerSettings {
        failures: 3,
        window: secs(30),
        min_samples: 10,
        error_ratio: 0.5,
        backoff_min: secs(1),
        backoff_max: secs(60),
    }
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn open() -> Breaker {
    Breaker::new(settings(), 8, Gate::Open, 0)
}

#[test]
fn the_third_failure_in_a_row_shuts_and_a_success_between_resets() {
    let mut breaker = open();
    breaker.failed(FAIL, false, 0, secs(1), 0.0);
    breaker.failed(FAIL, false, 0, secs(1), 0.0);
    breaker.failed(FAIL, false, 1, secs(1), 0.0);
    assert_eq!(breaker.gate(), Gate::Open);
    breaker.failed(FAIL, false, 1, secs(2), 0.0);
    breaker.failed(FAIL, false, 1, secs(2), 0.0);
    assert_eq!(breaker.gate(), Gate::Shut(secs(3), Why::Failures));
}

#[test]
fn an_account_without_money_is_not_filled_by_failing_otherwise() {
    for (failure, wait) in [(FAIL, 1), (Failure::CoolDown(Some(secs(9))), 9)] {
        let mut breaker = open();
        breaker.failed(Failure::Hard(Why::NoQuota), false, 0, secs(1), 0.0);
        let Gate::Shut(due, Why::NoQuota) = breaker.gate() else { panic!("{:?}", breaker.gate()) };
        breaker.failed(failure, true, 0, due, 0.0);
        assert!(matches!(breaker.gate(), Gate::Shut(until, Why::NoQuota) if until >= due + secs(wait)), "{failure:?}");
        breaker.failed(Failure::Hard(Why::BadCredentials), true, 0, due + secs(60), 0.0);
        assert!(matches!(breaker.gate(), Gate::Shut(_, Why::BadCredentials)));
    }
}

#[test]
fn half_of_the_requests_failing_shuts_though_never_three_in_a_row() {
    let mut breaker = open();
    for n in 0..9 {
        breaker.failed(FAIL, false, n, secs(n), 0.0);
    }
    assert!(matches!(breaker.gate(), Gate::Shut(..)));
}

#[test]
fn successes_before_the_first_failure_since_a_start_a_recovery_or_a_reset_count_beside_it() {
    let only_by_ratio = BreakerSettings { failures: 0, ..settings() };
    // What succeeded before the start is known by its number only.
    let mut breaker = Breaker::new(only_by_ratio, 8, Gate::Open, 1000);
    for begins in [|_: &mut Breaker| {}, |b: &mut Breaker| (0..4).for_each(|_| b.succeeded(true)), Breaker::reset] {
        begins(&mut breaker);
        let successes = breaker.successes_at_last_failure + 20;
        for _ in 0..19 {
            breaker.failed(FAIL, false, successes, secs(1), 0.0);
            assert!(!matches!(breaker.gate(), Gate::Shut(..)), "{breaker:?}");
        }
        breaker.failed(FAIL, false, successes, secs(1), 0.0);
        assert!(matches!(breaker.gate(), Gate::Shut(..)), "{breaker:?}");
    }
}

#[test]
fn a_failure_now_and_then_among_many_successes_does_not_shut() {
    let mut breaker = open();
    for n in 0..100 {
        breaker.failed(FAIL, false, n * 9, secs(n), 0.0);
        assert_eq!(breaker.gate(), Gate::Open);
    }
}

#[test]
fn a_failed_probe_doubles_the_backoff_and_a_good_one_ramps() {
    let mut breaker = open();
    for _ in 0..3 {
        breaker.failed(FAIL, false, 0, secs(0), 0.0);
    }
    breaker.failed(FAIL, true, 0, secs(1), 0.0);
    assert_eq!(breaker.gate(), Gate::Shut(secs(3), Why::Failures));
    breaker.failed(FAIL, true, 0, secs(3), 0.0);
    assert_eq!(breaker.gate(), Gate::Shut(secs(7), Why::Failures));
    let mut seen = Vec::new();
    for _ in 0..4 {
        breaker.succeeded(true);
        seen.push(breaker.gate());
    }
    assert_eq!(seen, [Gate::Ramp(1), Gate::Ramp(2), Gate::Ramp(4), Gate::Open]);
}

#[test]
fn one_lucky_success_does_not_wipe_the_streak() {
    let mut breaker = open();
    breaker.failed(Failure::CoolDown(None), false, 0, secs(0), 0.0);
    breaker.failed(Failure::CoolDown(None), true, 0, secs(1), 0.0);
    breaker.succeeded(true);
    breaker.failed(Failure::CoolDown(None), false, 1, secs(4), 0.0);
    assert_eq!(breaker.gate(), Gate::Shut(secs(8), Why::Crowded));
}

#[test]
fn retry_after_shuts_for_exactly_that_long_and_is_never_shortened() {
    let mut breaker = open();
    breaker.failed(Failure::CoolDown(Some(secs(20))), false, 0, secs(1), 1.0);
    breaker.failed(Failure::CoolDown(Some(secs(5))), false, 0, secs(2), 1.0);
    breaker.failed(FAIL, false, 0, secs(3), 1.0);
    assert_eq!(breaker.gate(), Gate::Shut(secs(21), Why::RateLimit));
}

#[test]
fn to_be_asked_again_at_once_is_to_be_asked_for_no_wait() {
    let mut breaker = open();
    breaker.failed(Failure::Counted { retry_after: Some(Duration::ZERO) }, false, 0, secs(1), 0.0);
    assert_eq!(breaker.gate(), Gate::Open);
    breaker.failed(Failure::CoolDown(Some(Duration::ZERO)), false, 0, secs(1), 0.0);
    assert_eq!(breaker.gate(), Gate::Shut(secs(2), Why::Crowded));
}

#[test]
fn first_tokens_lead_up_the_ramp_and_a_complete_answer_opens() {
    let mut breaker = Breaker::new(settings(), 8, Gate::Shut(secs(1), Why::Failures), 0);
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

#[test]
fn a_model_not_found_is_shut_for_long_only_if_told_so_and_never_there() {
    let missing = |told, successes| {
        let mut breaker = Breaker::new(settings(), 8, Gate::Open, successes);
        breaker.failed(Failure::Missing { told }, false, successes, secs(1), 0.0);
        breaker.gate()
    };
    assert_eq!(missing(true, 0), Gate::Shut(secs(1) + HARD_DOWN, Why::ModelMissing));
    assert_eq!(missing(false, 0), Gate::Shut(secs(2), Why::ModelMissing));
    assert_eq!([missing(true, 9), missing(false, 9)], [Gate::Open; 2]);
}

#[test]
fn who_stays_not_found_is_shut_for_twice_as_long_each_time_up_to_the_long_time() {
    let (mut breaker, mut now, mut waits) = (open(), secs(1), Vec::new());
    for n in 0..14 {
        breaker.failed(Failure::Missing { told: false }, n > 0, 0, now, 0.0);
        let Gate::Shut(until, Why::ModelMissing) = breaker.gate() else { panic!("{:?}", breaker.gate()) };
        waits.push(until.saturating_sub(now).as_secs());
        now = until;
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1800, 1800, 1800]);
}

#[test]
fn a_404_behind_an_outage_begins_with_the_shortest_time_of_its_own() {
    let (mut breaker, mut now, mut waits) = (open(), secs(1), Vec::new());
    let missing = Failure::Missing { told: false };
    let failures = [[FAIL; 12].as_slice(), &[missing; 3], &[FAIL], &[missing]].concat();
    for (n, failure) in failures.into_iter().enumerate() {
        // The first two only count.
        breaker.failed(failure, n > 2, 0, now, 0.0);
        let Gate::Shut(until, _) = breaker.gate() else { continue };
        waits.push(until.saturating_sub(now).as_secs());
        now = until;
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 1, 2, 4, 60, 1]);
}

#[test]
fn a_reset_leaves_an_open_gate_and_a_ramp_as_they_are() {
    for gate in [Gate::Open, Gate::Ramp(4)] {
        let mut breaker = Breaker::new(settings(), 8, gate, 0);
        breaker.failed(FAIL, false, 0, secs(1), 0.0);
        breaker.reset();
        assert_eq!((breaker.gate(), breaker.consecutive()), (gate, 0));
    }
    let mut breaker = Breaker::new(settings(), 8, Gate::Shut(secs(9), Why::Failures), 0);
    breaker.reset();
    assert_eq!(breaker.gate(), Gate::Ramp(1));
}

proptest! {
    #[test]
    fn the_backoff_stays_within_its_bounds(trips in 0u32..100, jitter in 0.0..1.0f64) {
        let breaker = Breaker { trips, ..open() };
        let wait = breaker.backoff(Why::Failures, jitter);
        prop_assert!(wait >= secs(1) / 2 && wait <= secs(60));
    }

    #[test]
    fn whatever_happens_a_held_gate_stays_held_until_released(events in proptest::collection::vec((0..3, any::<bool>()), 0..50)) {
        let mut breaker = open();
        breaker.hold(Why::Drained);
        for (event, probe) in events {
            match event {
                0 => breaker.succeeded(probe),
                1 => breaker.failed(FAIL, probe, 0, secs(1), 0.5),
                _ => breaker.reset(),
            }
        }
        prop_assert_eq!(breaker.gate(), Gate::Held(Why::Drained));
        breaker.release();
        prop_assert_eq!(breaker.gate(), Gate::Ramp(1));
    }
}
