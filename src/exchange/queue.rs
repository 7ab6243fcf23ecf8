//! Owns waiting for a place when every backend of a model is full: first come, first served, bounded in number and time. A
//! request that comes while others wait goes behind them.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::time::{sleep, timeout};

use crate::{
    clock,
    error::Error,
    router::{messages::Assignment, pace::Queue, table::Route},
};

/// How often the first in the queue looks for a place; places are given back by any worker, which tells nobody.
const LOOK: Duration = Duration::from_millis(5);

/// Counts a waiting request; dropped on every path, it no longer does.
struct Waiting<'a>(&'a Queue);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

/// Whether a request was refused only because every backend that could take it is full.
pub(super) fn finds_all_full(answer: &Assignment) -> bool {
    answer.as_ref().is_err_and(|refusal| refusal.full)
}

/// Waits in the model's queue, at most `left`, until `ask` is granted a place or refused for another reason than fullness.
/// `has_room` tells whether a backend of the model has a free place, by the settings in force; `route` may be older.
pub(super) async fn wait<F>(
    route: &Route,
    left: Duration,
    has_room: impl Fn() -> bool,
    ask: impl Fn() -> F,
) -> Result<Assignment, Error>
where
    F: Future<Output = Result<Assignment, Error>>,
{
    let (queue, left) = (&route.queue, left.min(route.settings.queue_timeout));
    let ahead = queue.waiting.fetch_add(1, Relaxed);
    let _waiting = Waiting(queue);
    let expected = queue.pace.wait(ahead, clock::now());
    let full = || Error::Overloaded { model: route.model.to_string(), retry_after: expected };
    // A request whose time will be up before its turn comes is better answered at once.
    if ahead >= route.settings.queue || expected.is_some_and(|wait| wait > left) {
        // A free place may be one that no waiting request can use.
        let answer = if has_room() { Some(ask().await?) } else { None };
        return answer.filter(|answer| !finds_all_full(answer)).ok_or_else(full);
    }
    let turn = async {
        loop {
            // Fair: the request that has waited longest is next.
            let turn = queue.turn.acquire().await.map_err(|_| Error::Internal)?;
            let next_since = clock::now();
            loop {
                let room = has_room();
                match ask().await? {
                    // There is a free place, but not one for this request, so those behind it need not wait for it. Checked
                    // before and after asking: a place that another request took meanwhile would have been as good for this
                    // one.
                    Err(refusal) if refusal.full && room && has_room() => break,
                    Err(refusal) if refusal.full => sleep(LOOK).await,
                    answer => {
                        if answer.is_ok() {
                            let now = clock::now();
                            queue.pace.moved(now.saturating_sub(next_since), now);
                        }
                        return Ok(answer);
                    }
                }
            }
            drop(turn);
            sleep(LOOK).await;
        }
    };
    timeout(left, turn).await.map_err(|_| full())?
}
