//! Owns the choice among bids: lowest cost wins, ties fall at random; beyond sixteen bidders two drawn at random compete. A
//! request with an affinity may go to its favourite instead.

use rand::{Rng, RngExt};

use crate::backend::load::Cost;

/// Up to this many candidates all are compared; beyond it the power of two choices keeps the cost of choosing flat.
const COMPARE_ALL: usize = 16;

/// How often two are drawn before a large field is searched whole. All draws miss only if most candidates are out.
const DRAWS: usize = 4;

/// What it costs to give the request to a candidate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bid {
    /// Its ramp is used up. It loses against every candidate that is not reluctant.
    pub reluctant: bool,
    /// Lowest wins.
    pub cost: Cost,
}

impl Bid {
    fn beats(self, other: Self) -> bool {
        (self.reluctant, self.cost.line) < (other.reluctant, other.cost.line)
    }
}

/// The index of the winner among `count` candidates; `bid` answers `None` for one that cannot take the request.
pub fn choose(count: usize, bid: impl Fn(usize) -> Option<Bid>, rng: &mut impl Rng) -> Option<usize> {
    if count > COMPARE_ALL {
        for _ in 0..DRAWS {
            let a = rng.random_range(0..count);
            // The second is drawn from the others, so that two different ones compete.
            let b = (a + rng.random_range(1..count)) % count;
            if let Some(winner) = lowest([a, b].into_iter(), &bid, rng) {
                return Some(winner);
            }
        }
    }
    lowest(0..count, &bid, rng)
}

/// How much more than the winner a favourite may cost and still be taken, in first-token times of the winner. A prompt in a
/// backend's cache is worth a wait, but not a long one: afterwards the other backend has it in its cache, too.
const FAVOUR: f64 = 1.0;

/// The favourite of a request with this affinity, or `winner` if the favourite costs too much. The favourite is the bidder
/// whose hash with the affinity is highest (rendezvous hashing: a backend that leaves or is shut moves only its own requests).
pub fn favour(
    winner: usize,
    count: usize,
    affinity: u64,
    id: impl Fn(usize) -> u64,
    bid: impl Fn(usize) -> Option<Bid>,
) -> usize {
    let mut favourite: Option<(u64, usize, Bid)> = None;
    for index in 0..count {
        let rank = mix(affinity ^ mix(id(index)));
        if favourite.is_none_or(|(best, ..)| rank > best)
            && let Some(bid) = bid(index)
        {
            favourite = Some((rank, index, bid));
        }
    }
    match (favourite, bid(winner)) {
        (Some((_, index, own)), Some(least))
            if !own.reluctant && own.cost.line - least.cost.line <= FAVOUR * least.cost.first_token =>
        {
            index
        }
        _ => winner,
    }
}

/// Every bit of the result depends on every bit of `x`: the finaliser of `SplitMix64` (Steele, Lea, Flood, 2014).
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn lowest(
    candidates: impl Iterator<Item = usize>,
    bid: &impl Fn(usize) -> Option<Bid>,
    rng: &mut impl Rng,
) -> Option<usize> {
    let mut best: Option<(usize, Bid)> = None;
    let mut ties = 0;
    for index in candidates {
        let Some(bid) = bid(index) else { continue };
        match best {
            Some((_, leader)) if leader.beats(bid) => {}
            Some((_, leader)) if !bid.beats(leader) => {
                // A tie: each of the tied ends up chosen with the same probability.
                ties += 1;
                if rng.random_range(0..=ties) == 0 {
                    best = Some((index, bid));
                }
            }
            _ => {
                best = Some((index, bid));
                ties = 0;
            }
        }
    }
    best.map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    /// A first token after so many seconds, and a line four seconds later.
    fn until(first_token: f64) -> Cost {
        Cost { first_token, line: first_token + 4.0 }
    }

    fn of(costs: &[Option<f64>]) -> impl Fn(usize) -> Option<Bid> {
        move |n| costs[n].map(|cost| Bid { reluctant: false, cost: until(cost) })
    }

    #[test]
    fn ties_fall_evenly() {
        let mut rng = StdRng::seed_from_u64(7);
        let mut hits = [0_u32; 4];
        for _ in 0..4000 {
            hits[choose(4, of(&[Some(1.0); 4]), &mut rng).expect("four bids")] += 1;
        }
        assert!(hits.iter().all(|n| (850..1150).contains(n)), "{hits:?}");
    }

    #[test]
    fn the_same_seed_makes_the_same_choices() {
        let picks = || {
            let mut rng = StdRng::seed_from_u64(1);
            (0..50).map(|_| choose(40, of(&[Some(1.0); 40]), &mut rng)).collect::<Vec<_>>()
        };
        assert_eq!(picks(), picks());
    }

    #[test]
    fn a_reluctant_candidate_takes_only_what_nobody_else_can() {
        let mut rng = StdRng::seed_from_u64(1);
        let bids = [Bid { reluctant: true, cost: until(0.1) }, Bid { reluctant: false, cost: until(9.0) }];
        assert_eq!(choose(2, |n| Some(bids[n]), &mut rng), Some(1));
        assert_eq!(choose(1, |n| Some(bids[n]), &mut rng), Some(0));
    }

    /// The favourite among four that cost the same, but for those in `out`.
    fn favourite(affinity: u64, out: &[usize]) -> usize {
        let bid = |n: usize| (!out.contains(&n)).then_some(Bid { reluctant: false, cost: until(1.0) });
        let winner = (0..4).find(|n| !out.contains(n)).expect("one is left");
        favour(winner, 4, affinity, |n| 1000 + n as u64, bid)
    }

    #[test]
    fn affinities_are_spread_and_who_is_out_moves_only_its_own() {
        let mut counts = [0_u32; 4];
        for affinity in 0..4000 {
            let own = favourite(affinity, &[]);
            counts[own] += 1;
            for out in (0..4).filter(|out| *out != own) {
                assert_eq!(favourite(affinity, &[out]), own);
            }
            assert_ne!(favourite(affinity, &[own]), own);
        }
        assert!(counts.iter().all(|n| (850..1150).contains(n)), "{counts:?}");
    }

    #[test]
    fn a_favourite_that_costs_a_first_token_more_than_the_cheapest_or_is_reluctant_is_given_up() {
        let own = favourite(7, &[]);
        let other = (own + 1) % 4;
        let with = |reluctant, cost| {
            let mine = Bid { reluctant, cost: until(cost) };
            let bid = |n| Some(if n == own { mine } else { Bid { reluctant: false, cost: until(1.0) } });
            favour(other, 4, 7, |n| 1000 + n as u64, bid)
        };
        assert_eq!([with(false, 2.0), with(false, 2.1), with(true, 1.0)], [own, other, other]);
    }

    proptest! {
        #[test]
        fn who_cannot_take_it_is_never_chosen_and_somebody_always_is(
            costs in proptest::collection::vec(proptest::option::of(0.0..9.0f64), 0..60), seed: u64,
        ) {
            let mut rng = StdRng::seed_from_u64(seed);
            match choose(costs.len(), of(&costs), &mut rng) {
                Some(winner) => {
                    prop_assert!(costs[winner].is_some());
                    if costs.len() <= COMPARE_ALL {
                        let least = costs.iter().flatten().copied().fold(f64::MAX, f64::min);
                        prop_assert_eq!(costs[winner], Some(least));
                    }
                }
                None => prop_assert!(costs.iter().all(Option::is_none)),
            }
        }
    }
}
