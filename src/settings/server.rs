//! Owns the settings of the process itself: listeners, limits, draining.

use std::{net::SocketAddr, time::Duration};

use serde_json::Value;

use super::{
    Allowed,
    section::{LEAST_PAUSE, Problems, Section},
};

/// Most worker threads: the framework starts no more.
const MOST_WORKERS: usize = 512;

/// Largest limit of a body, bytes: a buffer of a body's declared size is made before the body has come.
const LARGEST_BODY: u64 = 1 << 30;

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
    /// The pages that may ask from within a browser, by their origins.
    pub cors_origins: Allowed,
    /// Pause between two looks at the settings file, which is read again when it has changed; 0: nobody looks.
    pub watch_every: Duration,
    /// Requests and tokens are counted by user, too.
    pub metrics_by_user: bool,
    /// Admin actions that kill actors, and admins' requests that panic, on purpose.
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
        let body_limit = s.count("body_limit", LARGEST_BODY);
        let drain_timeout = s.value("drain_timeout");
        let drain_settle = s.value("drain_settle");
        let keep_alive = s.value("keep_alive");
        let cors_origins = read_origins(&mut s);
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
            cors_origins,
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

fn read_origins(s: &mut Section<'_>) -> Allowed {
    const KEY: &str = "cors_origins";
    let origins = Allowed::read(s, KEY);
    if let Allowed::Only(origins) = &origins
        && !origins.iter().all(|origin| is_origin(origin))
    {
        s.problem(
            KEY,
            "must be origins as browsers send them, such as \"https://chat.example.com\" or \"http://localhost:8080\": small \
             letters, no path, no '/' at the end, no port that goes without saying; or [\"*\"] for all",
        );
    }
    origins
}

/// Whether a browser would write it so (RFC 6454, 6.2): another spelling of an origin would let nobody in. Its scheme may be
/// any, as of apps and extensions. `null`, which many pages have in common, is none.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let named = |part: &str, more: &[u8]| {
        part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || more.contains(&b))
    };
    let (name, port) = match host.rsplit_once(':') {
        // The last colon of an IPv6 address without a port is within its brackets.
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let sound = match port {
        None => true,
        Some(port) => {
            let goes_without = matches!((scheme, port), ("http", "80") | ("https", "443"));
            !goes_without && port.parse::<u16>().is_ok_and(|number| number.to_string() == port)
        }
    };
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_host = match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok_and(|ip| ip.to_string() == address),
        None => !name.is_empty() && named(name, b".-_"),
    };
    scheme.starts_with(|first: char| first.is_ascii_lowercase()) && named(scheme, b"+-.") && is_host && sound
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_one_as_browsers_write_it() {
        for sound in [
            "https://chat.example.com",
            "http://localhost:8080",
            "http://127.0.0.1",
            "http://[::1]:3000",
            "http://[::1]",
            "app://obsidian.md",
            "chrome-extension://abcdefghijklmnop",
            "https://a_b.example",
        ] {
            assert!(is_origin(sound), "{sound}");
        }
        for bad in [
            "",
            "null",
            "*",
            "chat.example.com",
            "https://",
            "https://chat.example.com/",
            "https://chat.example.com/x",
            "https://Chat.example.com",
            "HTTPS://chat.example.com",
            "https://*.example.com",
            "https://chat.example.com:443",
            "http://chat.example.com:80",
            "http://chat.example.com:",
            "http://chat.example.com:080",
            "http://chat.example.com:99999",
            "http://u@chat.example.com",
            "http://[::1",
            "http://[0::1]",
            "http://a b",
            "://a",
            "1a://b",
        ] {
            assert!(!is_origin(bad), "{bad}");
        }
    }
}
