//! Owns the gate of a backend or of one model on it: what it says, and the one word of memory in which it is published.

#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// Why a gate is not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Why {
    /// The breaker counted too many failures.
    Failures = 1,
    /// The provider asked to wait, and named the time.
    RateLimit = 2,
    /// The provider does not take our credentials.
    BadCredentials = 3,
    /// The provider does not know the model, or the path at which it was asked for it.
    ModelMissing = 4,
    /// An operator drained it.
    Drained = 5,
    /// Its actor failed too often and was given up.
    GivenUp = 6,
    /// The account at the provider has no money or quota left.
    NoQuota = 7,
    /// It had too many requests, and named no wait.
    Crowded = 8,
}

impl Why {
    const ALL: [Self; 8] = [
        Self::Failures,
        Self::RateLimit,
        Self::BadCredentials,
        Self::ModelMissing,
        Self::Drained,
        Self::GivenUp,
        Self::NoQuota,
        Self::Crowded,
    ];

    /// In words, for admin output and errors.
    pub fn words(self) -> &'static str {
        match self {
            Self::Failures => "it failed too often",
            Self::RateLimit => "it asked to wait",
            Self::Crowded => "it was sent too many requests",
            Self::BadCredentials => "it does not accept our credentials or account",
            Self::ModelMissing => "it does not know this model, or its base_url is wrong",
            Self::Drained => "an operator drained it",
            Self::NoQuota => "its account has no money or quota left",
            Self::GivenUp => "its actor failed too often; an operator has to resume it",
        }
    }

    fn from_byte(byte: u8) -> Self {
        Self::ALL.into_iter().find(|why| *why as u8 == byte).unwrap_or(Self::Failures)
    }
}

/// What a gate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Everything may pass.
    Open,
    /// New or recovered: up to this many at a time are welcome, more only where nobody else can take them.
    Ramp(u32),
    /// Nothing may pass until then (process clock, millisecond steps); after it, one probe.
    Shut(Duration, Why),
    /// Nothing may pass until an operator says so.
    Held(Why),
}

const OPEN: u64 = 0;
const RAMP: u64 = 1;
const SHUT: u64 = 2;
const HELD: u64 = 3;

impl Gate {
    /// Kind in the top byte, reason in the next, 48 bits of milliseconds or count below.
    fn pack(self) -> u64 {
        let word = |kind: u64, why: u8, rest: u64| kind << 56 | u64::from(why) << 48 | (rest & 0xffff_ffff_ffff);
        match self {
            Self::Open => word(OPEN, 0, 0),
            Self::Ramp(limit) => word(RAMP, 0, u64::from(limit)),
            Self::Shut(until, why) => word(SHUT, why as u8, until.as_millis() as u64),
            Self::Held(why) => word(HELD, why as u8, 0),
        }
    }

    fn unpack(word: u64) -> Self {
        let why = Why::from_byte((word >> 48) as u8);
        let rest = word & 0xffff_ffff_ffff;
        match word >> 56 {
            OPEN => Self::Open,
            RAMP => Self::Ramp(rest as u32),
            SHUT => Self::Shut(Duration::from_millis(rest), why),
            _ => Self::Held(why),
        }
    }
}

/// The kinds of gate as metrics and events name them, in the order of `Gate::kind`. `half_open`, the state of one that is shut
/// and due, is none of them: no gate changes by the passing of time.
pub const KINDS: [&str; 5] = ["healthy", "ramping", "open", "draining", "gave_up"];

impl Gate {
    /// Whether requests pass, if only a few at a time.
    pub fn takes(self) -> bool {
        matches!(self, Self::Open | Self::Ramp(_))
    }

    /// Time until one that is shut lets a probe pass.
    pub fn reopens_in(self, now: Duration) -> Option<Duration> {
        if let Self::Shut(until, _) = self { Some(until.saturating_sub(now)) } else { None }
    }

    /// Its kind, an index of `KINDS`.
    pub fn kind(self) -> usize {
        match self {
            Self::Open => 0,
            Self::Ramp(_) => 1,
            Self::Shut(..) => 2,
            Self::Held(Why::GivenUp) => 4,
            Self::Held(_) => 3,
        }
    }
}

/// While a probe is under way, how long everybody else is told to wait for what comes of it.
const PROBE_TAKES: Duration = Duration::from_secs(1);

/// How long a probe has a gate for itself at most: a whole answer may take minutes, and nothing is seen of it before its end.
pub const ALONE: Duration = Duration::from_secs(10);

/// What a gate answers to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Pass.
    Welcome,
    /// Pass only if nobody else can take it: the ramp is used up.
    Reluctant,
    /// Pass as the single probe.
    Probe,
    /// Do not pass; when to ask again, where that is known.
    Refused(Why, Option<Duration>),
}

/// The published gate: written by its Backend actor, and by those who start one and give it up; read by every router without
/// a message.
#[derive(Debug, Default)]
pub struct GateCell {
    word: AtomicU64,
    /// When its probe began, in milliseconds, plus one; 0: there is none.
    probe: AtomicU64,
    /// How often it became each of `KINDS`.
    transitions: Arc<[AtomicU64; KINDS.len()]>,
}

impl GateCell {
    /// A gate that starts like this.
    pub fn starting(gate: Gate) -> Self {
        Self { word: AtomicU64::new(gate.pack()), ..Self::default() }
    }

    /// The gate of whoever takes this one's place: it starts like this, and its changes are counted on.
    pub(super) fn anew(&self, gate: Gate) -> Self {
        Self { transitions: self.transitions.clone(), ..Self::starting(gate) }
    }

    /// Publishes, and counts a change of kind.
    pub fn publish(&self, gate: Gate) {
        let before = Gate::unpack(self.word.swap(gate.pack(), Relaxed));
        if before.kind() != gate.kind() {
            self.transitions[gate.kind()].fetch_add(1, Relaxed);
        }
    }

    /// How often it became each of `KINDS`.
    pub fn transitions(&self) -> [u64; KINDS.len()] {
        self.transitions.each_ref().map(|count| count.load(Relaxed))
    }

    /// What was last published.
    pub fn read(&self) -> Gate {
        Gate::unpack(self.word.load(Relaxed))
    }

    /// What the gate answers at `now` with `in_flight` requests under way behind it. A pinned request may probe early. A probe
    /// has it for itself for the time of `alone`.
    pub fn access(&self, now: Duration, in_flight: u32, pinned: bool, alone: Duration) -> Access {
        match self.read() {
            Gate::Open => Access::Welcome,
            Gate::Ramp(limit) if in_flight < limit => Access::Welcome,
            Gate::Ramp(_) => Access::Reluctant,
            Gate::Shut(until, why) if is_taken(self.probe.load(Relaxed), now, alone) => {
                Access::Refused(why, Some(until.max(now + PROBE_TAKES)))
            }
            // An operator's pin may look early, but not at a provider that has said when to come back.
            Gate::Shut(until, why) if now >= until || (pinned && why != Why::RateLimit) => Access::Probe,
            Gate::Shut(until, why) => Access::Refused(why, Some(until)),
            Gate::Held(why) => Access::Refused(why, None),
        }
    }

    /// Takes the single place of the probe at `now`; false if it is taken, by one that has not had it for `alone` yet.
    pub fn start_probe(&self, now: Duration, alone: Duration) -> bool {
        let before = self.probe.load(Relaxed);
        let free = !is_taken(before, now, alone);
        free && self.probe.compare_exchange(before, began(now), Relaxed, Relaxed).is_ok()
    }

    /// Gives the probe's place back that was taken at `since`, unless another has it by now.
    pub fn end_probe(&self, since: Duration) {
        // One that has taken longer than it may is not in the way of its successor.
        let _ = self.probe.compare_exchange(began(since), 0, Relaxed, Relaxed);
    }
}

/// A probe's beginning, as it is kept.
fn began(at: Duration) -> u64 {
    at.as_millis() as u64 + 1
}

/// Whether a probe that began then keeps others out.
fn is_taken(probe: u64, now: Duration, alone: Duration) -> bool {
    probe.checked_sub(1).is_some_and(|since| now.saturating_sub(Duration::from_millis(since)) < alone)
}
