//! The gate's tests: what is published, whom it admits, and whose place its probe's is.

use proptest::prelude::*;

use super::*;

fn any_gate() -> impl Strategy<Value = Gate> {
    let why = prop_oneof![Just(Why::Failures), Just(Why::RateLimit), Just(Why::NoQuota), Just(Why::Drained)];
    prop_oneof![
        Just(Gate::Open),
        any::<u32>().prop_map(Gate::Ramp),
        (0..1u64 << 40, why.clone()).prop_map(|(ms, why)| Gate::Shut(Duration::from_millis(ms), why)),
        why.prop_map(Gate::Held),
    ]
}

proptest! {
    #[test]
    fn what_is_published_is_what_is_read(gate in any_gate()) {
        let cell = GateCell::default();
        cell.publish(gate);
        prop_assert_eq!(cell.read(), gate);
    }

    #[test]
    fn a_transition_is_a_change_of_kind(gates in proptest::collection::vec(any_gate(), 1..50)) {
        let cell = GateCell::starting(gates[0]);
        for gate in &gates {
            cell.publish(*gate);
        }
        let changes = gates.windows(2).filter(|pair| pair[0].kind() != pair[1].kind()).count() as u64;
        prop_assert_eq!(cell.transitions().iter().sum::<u64>(), changes);
    }

    #[test]
    fn a_shut_gate_admits_nobody_before_its_time_and_one_probe_after(ms in 1..1_000_000u64, before in 0..1_000_000u64) {
        let cell = GateCell::default();
        let until = Duration::from_millis(ms);
        cell.publish(Gate::Shut(until, Why::Failures));
        let now = Duration::from_millis(before % ms);
        prop_assert_eq!(cell.access(now, 0, false, ALONE), Access::Refused(Why::Failures, Some(until)));
        prop_assert_eq!(cell.access(until, 0, false, ALONE), Access::Probe);
        prop_assert!(cell.start_probe(until, ALONE));
        prop_assert!(!cell.start_probe(until, ALONE));
        prop_assert!(matches!(cell.access(until, 0, false, ALONE), Access::Refused(..)));
    }

    #[test]
    fn a_probe_keeps_others_out_for_its_time_and_gives_back_no_place_but_its_own(
        times in proptest::collection::vec((0..200_u64, any::<bool>()), 1..60), alone in 1..100_u64,
    ) {
        let cell = GateCell::starting(Gate::Shut(Duration::ZERO, Why::Failures));
        let ms = Duration::from_millis;
        let (mut now, mut begun, mut latest) = (0, Vec::new(), None::<u64>);
        for (later, starts) in times {
            now += later;
            if starts {
                let free = latest.is_none_or(|since| now - since >= alone);
                let welcome = cell.access(ms(now), 0, false, ms(alone)) == Access::Probe;
                prop_assert_eq!((welcome, cell.start_probe(ms(now), ms(alone))), (free, free));
                if free {
                    latest = Some(now);
                    begun.push(now);
                }
            } else if !begun.is_empty() {
                let since = begun.remove(0);
                cell.end_probe(ms(since));
                latest = latest.filter(|latest| *latest != since);
            }
        }
    }
}
