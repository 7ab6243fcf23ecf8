//! Owns the tests of accounts: what is let in, told and owed.

use proptest::{collection::vec, prelude::*};

use super::*;

/// An account with these limits, in the order of `Dimension::ALL`; 0 for none.
fn account(sizes: [u64; 6]) -> Account {
    Account::new(&Limits::new(sizes.map(NonZeroU64::new)))
}

fn admit(it: &mut Account, prompt: u64, answer: u64, now: Duration) -> Result<u64, Refused> {
    it.admit(Some(Need { prompt, answer }), now)
}

const NOW: Duration = Duration::from_secs(100);

#[test]
fn of_several_limits_the_one_that_keeps_out_for_longest_is_told() {
    let mut it = account([1, 1, 1, 0, 0, 0]);
    assert_eq!(it.admit(None, NOW), Ok(0));
    let told = it.admit(None, NOW).expect_err("all of it is used");
    let day = Duration::from_hours(24);
    assert_eq!(told, Refused { dimension: Dimension::RequestsPerDay, limit: 1, wait: day });
    let told = it.admit(None, NOW + day).expect_err("one is under way");
    assert_eq!(told, Refused { dimension: Dimension::MaxInFlight, limit: 1, wait: SOON });
    it.leave();
    assert_eq!(it.admit(None, NOW + day), Ok(0));
}

#[test]
fn what_is_larger_than_all_there_is_gets_in_when_nothing_is_used_and_owes() {
    let mut it = account([0, 0, 0, 100, 1000, 0]);
    assert_eq!(admit(&mut it, 10, 0, NOW), Ok(10));
    it.settle(10, 10, NOW);
    let told = admit(&mut it, 500, 0, NOW).expect_err("something is used");
    assert_eq!((told.dimension, told.wait), (Dimension::TokensPerMinute, Duration::from_secs(6)));
    assert_eq!(admit(&mut it, 500, 0, NOW + told.wait), Ok(500));
    it.settle(500, 500, NOW + told.wait);
    let told = admit(&mut it, 1, 0, NOW + told.wait).expect_err("it owes");
    assert_eq!(told.wait, Duration::from_millis(240_600));
}

#[test]
fn the_answer_that_a_request_may_have_makes_nobody_owe() {
    let mut it = account([0, 0, 0, 100, 1000, 0]);
    assert_eq!(admit(&mut it, 10, u64::MAX, NOW), Ok(100));
    let left = |it: &Account| it.standing(Unit::Tokens, NOW).expect("limited").remaining;
    assert_eq!(left(&it), 0);
    it.settle(100, 30, NOW);
    assert_eq!(left(&it), 70);
    assert_eq!(admit(&mut account([1, 0, 0, 0, 0, 0]), 10, u64::MAX, NOW), Ok(10), "no limit, nothing to set aside");
}

#[test]
fn who_finds_all_of_it_set_aside_comes_back_soon_and_needs_no_more_than_is_left() {
    let mut it = account([0, 0, 0, 0, 20_000, 0]);
    it.settle(0, 30, NOW);
    assert_eq!(admit(&mut it, 15, 32_000, NOW), Ok(19_970));
    let told = admit(&mut it, 15, 32_000, NOW).expect_err("all of it is set aside");
    assert_eq!((told.dimension, told.wait), (Dimension::TokensPerDay, SOON));
    it.settle(19_970, 100, NOW);
    assert_eq!(admit(&mut it, 15, 32_000, NOW), Ok(19_870));
}

#[test]
fn what_uses_no_tokens_is_let_in_by_who_owes_them() {
    let mut it = account([0, 5, 0, 100, 0, 0]);
    it.settle(0, 1000, NOW);
    assert!(admit(&mut it, 1, 0, NOW).is_err());
    assert_eq!(it.admit(None, NOW), Ok(0));
    assert_eq!(it.standing(Unit::Requests, NOW).map(|standing| standing.remaining), Some(4));
}

#[test]
fn who_has_spent_a_budget_is_kept_out_until_there_is_some_again() {
    let (dollar, cent) = (1_000_000_000, Money(10_000_000));
    let mut it = account([0, 0, 0, 0, 0, dollar]);
    for _ in 0..99 {
        assert_eq!(admit(&mut it, 10, 10, NOW), Ok(10), "nothing is set aside, whatever is under way");
        it.pay(cent, NOW);
    }
    // The last cent is enough for a request of three.
    assert_eq!(admit(&mut it, 10, 10, NOW), Ok(10));
    it.pay(Money(3 * cent.0), NOW);
    let told = admit(&mut it, 10, 10, NOW).expect_err("two cents are owed");
    assert_eq!((told.dimension, told.limit), (Dimension::UsdPerDay, dollar));
    // A hundredth of a day for each cent, and a moment for the first thing beyond.
    assert_eq!(told.wait, Duration::from_millis(2 * 864_000 + 1));
    assert!(admit(&mut it, 10, 10, NOW + told.wait.saturating_sub(Duration::from_millis(1))).is_err());
    assert_eq!(admit(&mut it, 10, 10, NOW + told.wait), Ok(10));
}

#[test]
fn what_costs_nothing_is_let_in_by_who_has_spent_everything_and_a_larger_budget_keeps_what_was_spent() {
    let mut it = account([0, 0, 0, 0, 0, 100]);
    it.pay(Money(150), NOW);
    assert!(admit(&mut it, 1, 1, NOW).is_err());
    assert_eq!(it.admit(None, NOW), Ok(0));
    let mut larger = it.under(&Limits::new([0, 0, 0, 0, 0, 151].map(NonZeroU64::new)), NOW);
    assert_eq!(admit(&mut larger, 1, 1, NOW), Ok(1));
    larger.pay(Money(1), NOW);
    assert!(admit(&mut larger, 1, 1, NOW).is_err());
}

#[test]
fn other_limits_keep_what_was_used_of_those_that_stay() {
    let mut it = account([2, 10, 0, 100, 0, 0]);
    admit(&mut it, 40, 0, NOW).expect("room");
    let it = it.under(&Limits::new([1, 20, 30, 0, 0, 0].map(NonZeroU64::new)), NOW);
    assert_eq!(it.standing(Unit::Requests, NOW).map(|standing| (standing.limit, standing.remaining)), Some((20, 19)));
    assert_eq!(it.standing(Unit::Tokens, NOW), None);
    assert_eq!(it.clone().admit(None, NOW).map_err(|told| told.dimension), Err(Dimension::MaxInFlight));
}

#[derive(Debug, Clone)]
enum Event {
    Comes(Option<Need>),
    Ends(u64),
    Passes(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let comes = proptest::option::of((0..300_u64, 0..300_u64))
        .prop_map(|need| Event::Comes(need.map(|(prompt, answer)| Need { prompt, answer })));
    let ends = (0..400_u64).prop_map(Event::Ends);
    let passes = (0..100_000_u64).prop_map(Event::Passes);
    vec(prop_oneof![3 => comes, 2 => ends, 1 => passes], 1..80)
}

proptest! {
    #[test]
    fn what_is_refused_changes_nothing_and_is_let_in_when_it_was_told_to_come_unless_others_are_in_the_way(
        sizes in proptest::array::uniform6(0..200_u64), events in events(),
    ) {
        let (mut it, mut now, mut inside) = (account(sizes), NOW, Vec::new());
        for event in events {
            match event {
                Event::Passes(millis) => now += Duration::from_millis(millis),
                Event::Ends(used) => {
                    if let Some(aside) = inside.pop() {
                        it.settle(aside, used, now);
                        it.pay(Money(used), now);
                        it.leave();
                    }
                }
                Event::Comes(need) => {
                    let before = it.clone();
                    match it.admit(need, now) {
                        Ok(aside) => inside.push(aside),
                        Err(told) => {
                            prop_assert_eq!(&it, &before);
                            prop_assert_eq!(told.limit, sizes[told.dimension as usize]);
                            prop_assert!(told.wait.subsec_nanos() % 1_000_000 == 0 && !told.wait.is_zero());
                            let mut later = it.clone();
                            later.in_flight = 0;
                            later.settle(it.set_aside, 0, now);
                            prop_assert!(later.admit(need, now + told.wait).is_ok(), "{:?}", told);
                        }
                    }
                }
            }
            prop_assert_eq!(it.in_flight, inside.len() as u64);
            prop_assert!(sizes[0] == 0 || it.in_flight <= sizes[0]);
        }
    }

    #[test]
    fn no_more_is_spent_than_the_budget_what_refills_meanwhile_and_one_request(
        size in 1..1_000_000_u64, requests in vec((0..90_000_u64, 0..2_000_000_u64), 1..60),
    ) {
        let (mut it, mut now, mut spent, mut largest) = (account([0, 0, 0, 0, 0, size]), NOW, 0, 0);
        for (gap, cost) in requests {
            now += Duration::from_secs(gap);
            if admit(&mut it, 1, 1, now).is_err() { continue }
            it.pay(Money(cost), now);
            (spent, largest) = (spent + cost, largest.max(cost));
            let refilled = u128::from(size) * now.saturating_sub(NOW).as_nanos() / Duration::from_hours(24).as_nanos();
            prop_assert!(u128::from(spent) <= u128::from(size + largest) + refilled);
        }
    }

    #[test]
    fn whatever_is_set_aside_no_more_tokens_are_used_than_fit_in_and_one_request_beyond(
        size in 1..200_u64, requests in vec((0..9000_u64, 0..300_u64, 0..300_u64, 0..=8_u64), 1..60),
    ) {
        let (mut it, mut now, mut used, mut largest) = (account([0, 0, 0, size, 0, 0]), NOW, 0, 0);
        for (gap, prompt, answer, eighths) in requests {
            now += Duration::from_millis(gap);
            let Ok(aside) = admit(&mut it, prompt, answer, now) else { continue };
            let tokens = (prompt + answer) * eighths / 8;
            it.settle(aside, tokens, now);
            (used, largest) = (used + tokens, largest.max(tokens));
            let leaked = u128::from(size) * now.saturating_sub(NOW).as_nanos() / Duration::from_secs(60).as_nanos();
            prop_assert!(u128::from(used) <= u128::from(size + largest) + leaked);
        }
    }
}
