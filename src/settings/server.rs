//! Owns the settings of the process itself: listeners, limits, draining, and the rules for trying again.

use std::{net::SocketAddr, time::Duration};

use serde_json::Value;

use super::section::{Problems, Section};

/// Shortest pause between comments, or looks at the settings file: shorter ones would be most of what a stream or a quiet process costs.
const LEAST_PAUSE: Duration = Duration::from_millis(10);

/// Most worker threads: the framework starts no more.
const MOST_WORKERS: usize = 512;

/// Largest limit of a body, bytes: a buffer of a body's declared size is made before the body has come.
const LARGEST_BODY: usize = 1 << 30;

/// `[server]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Where clients connect.
    pub bind: SocketAddr,
    /// A listener of its own for admin and metrics.
    pub admin_bind: Option<SocketAddr>,
    /// HTTP worker threads.
    pub workers: usize,
    /// Largest request body, bytes.
    pub body_limit: usize,
    /// How long running requests may go on after a stop signal.
    pub drain_timeout: Duration,
    /// How long new work is still taken after a stop signal, while readiness already says no.
    pub drain_settle: Duration,
    /// Idle time after which a client's connection is closed; 0: each is closed behind its answer.
    pub keep_alive: Duration,
    /// Pause between two looks at the settings file, which is read again when it has changed; 0: nobody looks.
    pub watch_every: Duration,
    /// Requests and tokens are counted by user, too.
    pub metrics_by_user: bool,
    /// Admin actions that kill actors on purpose.
    pub chaos: bool,
}

impl Server {
    pub(super) fn read(value: Value, problems: &Problems) -> Option<Self> {
        let mut s = Section::open("server", value, problems);
        let bind = read_addr(&mut s, "bind");
        let admin_bind = read_addr(&mut s, "admin_bind");
        if bind.is_none() {
            s.problem("bind", "is empty; write for example \"127.0.0.1:3000\"");
        }
        if bind.is_some_and(|bind| bind.port() != 0) && bind == admin_bind {
            s.problem(
                "admin_bind",
                "is the address of `bind`; give it another, or leave it empty to share that listener",
            );
        }
        let mut workers: usize = s.value("workers");
        if workers == 0 {
            workers = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_WORKERS);
        } else if workers > MOST_WORKERS {
            s.problem("workers", format!("must be at most {MOST_WORKERS}; 0 is one per core"));
        }
        let body_limit = s.value("body_limit");
        if !(1..=LARGEST_BODY).contains(&body_limit) {
            s.problem("body_limit", format!("must be from 1 to {LARGEST_BODY} bytes (1 GiB)"));
        }
        let drain_timeout = s.value("drain_timeout");
        let drain_settle = s.value("drain_settle");
        let keep_alive = s.value("keep_alive");
        let watch_every: Duration = s.value("watch_every");
        if !watch_every.is_zero() && watch_every < LEAST_PAUSE {
            s.problem("watch_every", "must be at least \"10ms\", such as \"5s\"; \"0s\" leaves the file unwatched");
        }
        let metrics_by_user = s.value("metrics_by_user");
        let chaos = s.value("chaos");
        s.finish();
        Some(Self {
            bind: bind?,
            admin_bind,
            workers,
            body_limit,
            drain_timeout,
            drain_settle,
            keep_alive,
            watch_every,
            metrics_by_user,
            chaos,
        })
    }
}

fn read_addr(s: &mut Section<'_>, key: &'static str) -> Option<SocketAddr> {
    let text: String = s.value(key);
    if text.is_empty() {
        return None;
    }
    let addr = text.parse().ok();
    if addr.is_none() {
        s.problem(key, "must be an IP address and port such as \"127.0.0.1:3000\"");
    }
    addr
}

/// `[failover]`: the rules for trying again.
#[derive(Debug, Clone, PartialEq)]
pub struct Failover {
    /// Attempts per request, the first included.
    pub max_attempts: u32,
    /// The whole request, over all attempts.
    pub deadline: Duration,
    /// Retries allowed, as a share of recent requests that ended well.
    pub retry_budget: f64,
    /// Second backends started at the soft first-token threshold, as a share of recent requests that ended well.
    pub hedge_budget: f64,
    /// When the head and a comment go out though no content has come.
    pub keepalive_after: Duration,
    /// Pause between comments after that.
    pub keepalive_every: Duration,
}

impl Failover {
    pub(super) fn read(value: Value, problems: &Problems) -> Self {
        let mut s = Section::open("failover", value, problems);
        let max_attempts = s.at_least_one("max_attempts");
        let mut share = |key: &'static str| {
            let share: f64 = s.value(key);
            if !(0.0..=1.0).contains(&share) {
                s.problem(key, "must be a share from 0 to 1");
            }
            share
        };
        let retry_budget = share("retry_budget");
        let hedge_budget = share("hedge_budget");
        let deadline = s.time("deadline");
        let keepalive_after = s.time("keepalive_after");
        let keepalive_every = s.time("keepalive_every");
        if keepalive_every < LEAST_PAUSE {
            s.problem(
                "keepalive_every",
                "must be at least \"10ms\"; it keeps idle connections open, and those wait for much longer",
            );
        }
        s.finish();
        Self { max_attempts, deadline, retry_budget, hedge_budget, keepalive_after, keepalive_every }
    }
}
