//! Owns when workers hand in what they have gathered: once per flush interval, and for the last time when Greenroom stops.
//!
//! A message per request would wake another thread, a system call, for each.

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, sleep},
};

/// How long workers have for the last time.
const LAST: Duration = Duration::from_secs(1);

/// What a worker gathers.
pub(super) trait Feeding: 'static {
    /// Hands in what there is; `last`: from now on nothing is held back any more.
    fn hand_in(&self, last: bool);
}

/// What all workers' feeds of one kind share.
#[derive(Debug, Clone)]
pub(super) struct Handing {
    every: Duration,
    /// Feeds that have not handed in everything yet.
    feeds: Arc<AtomicUsize>,
    /// Set when Greenroom stops.
    closing: watch::Receiver<bool>,
}

/// Ends it.
#[derive(Debug, Clone)]
pub(super) struct Closing {
    feeds: Arc<AtomicUsize>,
    closing: Arc<watch::Sender<bool>>,
}

/// One kind of feed, to be handed in so often; and its end.
pub(super) fn handing(every: Duration) -> (Handing, Closing) {
    let (closing, closed) = watch::channel(false);
    let feeds = Arc::new(AtomicUsize::new(0));
    (Handing { every, feeds: feeds.clone(), closing: closed }, Closing { feeds, closing: Arc::new(closing) })
}

/// One more feed; dropped behind its last row.
#[derive(Debug)]
pub(super) struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

impl Handing {
    /// Counts a feed.
    pub(super) fn open(&self) -> Open {
        self.feeds.fetch_add(1, Ordering::Relaxed);
        Open(self.feeds.clone())
    }

    /// Sees to it that a feed of this thread, which has to run tasks, hands in.
    pub(super) fn see_to(&self, feed: &Rc<impl Feeding>) {
        let weak = Rc::downgrade(feed);
        let mut closing = self.closing.clone();
        let mut tick = interval(self.every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        actix_rt::spawn(async move {
            loop {
                let last = tokio::select! {
                    _ = tick.tick() => false,
                    changed = closing.wait_for(|closing| *closing) => { drop(changed); true }
                };
                let Some(feed) = weak.upgrade() else { return };
                feed.hand_in(last);
                if last {
                    return;
                }
            }
        });
    }
}

impl Closing {
    /// Tells all feeds to hand in for the last time, and waits for them. A worker that was stopped in the middle of something may
    /// be late; what it has not handed in is lost.
    pub(super) async fn close(&self) {
        self.closing.send_replace(true);
        let handed_in = async {
            while self.feeds.load(Ordering::Acquire) > 0 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let _ = tokio::time::timeout(LAST, handed_in).await;
    }
}
