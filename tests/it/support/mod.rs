//! Owns what the behaviour tests share: the proxy as a process, scripted backends, a raw client, waiting with a deadline.

pub(crate) mod client;
pub(crate) mod collector;
pub(crate) mod faults;
pub(crate) mod heard;
pub(crate) mod launch;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod script;
pub(crate) mod settings;
pub(crate) mod sse;
pub(crate) mod upstream;
pub(crate) mod volume;
pub(crate) mod wire;

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep, timeout};

/// Longest wait for anything that has to happen; only a failing test ever waits that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Pause between two looks in `eventually`.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Looks again and again until `check` finds something.
pub(crate) async fn eventually<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(Instant::now() < deadline, "did not come about: {what}");
        sleep(LOOK_AGAIN).await;
    }
}

/// Waits for `future`, as long as patience goes.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|late| panic!("did not come about: {what} ({late})"))
}

/// The middle one of several durations: what a busy machine does to one of them does not matter.
pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
