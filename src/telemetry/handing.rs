//! Owns when workers hand in what they have gathered: once per flush interval, and for the last time when Greenroom stops.
//!
//! A message per request would wake another thread, a system call, for each.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{broadcast, mpsc, watch},
    time::{MissedTickBehavior, interval, sleep, timeout},
};

/// How long workers may take when they are told to hand in.
const PROMPTLY: Duration = Duration::from_secs(1);

/// Wishes that may wait for a worker; beyond that the oldest are forgotten.
const WISHES: usize = 64;

/// What a worker has gathered, and where it hands that in.
pub trait Gathered: 'static {
    /// Hands in what there is.
    fn hand_over(&mut self);
}

/// A worker's own gathering. Dropped with its worker, it hands in the rest.
#[derive(Debug)]
pub struct Feed<G: Gathered> {
    gathered: RefCell<G>,
    /// Nothing is held back any more.
    closing: Cell<bool>,
    _open: Open,
}

impl<G: Gathered> Feed<G> {
    /// Looks at what is gathered.
    pub(super) fn look<T>(&self, look: impl FnOnce(&G) -> T) -> T {
        look(&self.gathered.borrow())
    }

    /// Adds to it.
    pub(super) fn add(&self, add: impl FnOnce(&mut G)) {
        let mut gathered = self.gathered.borrow_mut();
        add(&mut gathered);
        if self.closing.get() {
            gathered.hand_over();
        }
    }
}

impl<G: Gathered> Drop for Feed<G> {
    fn drop(&mut self) {
        self.gathered.get_mut().hand_over();
    }
}

/// What all workers' feeds of one kind share.
#[derive(Debug, Clone)]
pub(super) struct Handing {
    every: Duration,
    /// Feeds that have not handed in everything yet.
    feeds: Arc<AtomicUsize>,
    /// Wishes that all hand in now. Whoever has done so drops what was sent.
    wishes: broadcast::Sender<mpsc::Sender<()>>,
    /// True once Greenroom stops.
    closing: Arc<watch::Sender<bool>>,
}

/// One more feed; dropped behind its last row.
#[derive(Debug)]
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

impl Handing {
    /// For feeds that hand in this often.
    pub(super) fn new(every: Duration) -> Self {
        Self { every, feeds: Arc::default(), wishes: broadcast::channel(WISHES).0, closing: Arc::default() }
    }

    /// A feed of this thread, which has to run tasks.
    pub(super) fn feed<G: Gathered>(&self, gathered: G) -> Rc<Feed<G>> {
        self.feeds.fetch_add(1, Ordering::Relaxed);
        let open = Open(self.feeds.clone());
        let feed = Rc::new(Feed { gathered: RefCell::new(gathered), closing: Cell::new(false), _open: open });
        let weak = Rc::downgrade(&feed);
        let (mut closing, mut wishes) = (self.closing.subscribe(), self.wishes.subscribe());
        let mut tick = interval(self.every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        actix_rt::spawn(async move {
            loop {
                let (last, _wished) = tokio::select! {
                    _ = tick.tick() => (false, None),
                    Ok(wish) = wishes.recv() => (false, Some(wish)),
                    changed = closing.wait_for(|closing| *closing) => { drop(changed); (true, None) }
                };
                let Some(feed) = weak.upgrade() else { return };
                feed.closing.set(last);
                feed.gathered.borrow_mut().hand_over();
                if last {
                    return;
                }
            }
        });
        feed
    }

    /// Has all feeds hand in what they have by now. A worker that is in the middle of something may be late, and is not waited for.
    pub(super) async fn gather(&self) {
        let (wish, mut granted) = mpsc::channel::<()>(1);
        // It ends when nobody holds the wish any more. If nobody heard it, nobody has anything.
        let _ = self.wishes.send(wish);
        let _ = timeout(PROMPTLY, granted.recv()).await;
    }

    /// Tells all feeds to hand in for the last time, and waits until their workers are gone. A worker that was stopped
    /// in the middle of something may be late; what it has not handed in is lost. `at_once`: workers stay, and only
    /// what they have by now is handed in.
    pub(super) async fn close(&self, at_once: bool) {
        if at_once {
            return self.gather().await;
        }
        self.closing.send_replace(true);
        let handed_in = async {
            while self.feeds.load(Ordering::Acquire) > 0 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let _ = timeout(PROMPTLY, handed_in).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::{task::LocalSet, time::Instant};

    use super::*;

    /// What there is to hand in, and where it goes.
    struct Rows(Vec<&'static str>, Rc<RefCell<Vec<&'static str>>>);

    impl Gathered for Rows {
        fn hand_over(&mut self) {
            self.1.borrow_mut().append(&mut self.0);
        }
    }

    /// How long it takes to close a feed whose worker is gone after `stays`, and what has been handed in by then.
    async fn closed(at_once: bool, stays: Duration) -> (Duration, Vec<&'static str>) {
        let handing = Handing::new(Duration::from_hours(1));
        let into = Rc::new(RefCell::new(Vec::new()));
        let feed = handing.feed(Rows(vec!["row"], into.clone()));
        // The first tick is due at once.
        sleep(Duration::from_millis(1)).await;
        feed.add(|rows| rows.0.push("last row"));
        actix_rt::spawn(async move {
            sleep(stays).await;
            drop(feed);
        });
        let begun = Instant::now();
        handing.close(at_once).await;
        (begun.elapsed(), into.take())
    }

    #[tokio::test(start_paused = true)]
    async fn who_ends_in_peace_waits_for_workers_and_who_ends_at_once_only_for_what_they_hand_in() {
        let test = async {
            let half = PROMPTLY / 2;
            let (took, rows) = closed(false, half).await;
            assert!(took >= half && took < PROMPTLY, "{took:?}");
            assert_eq!(rows, ["row", "last row"]);
            let (took, rows) = closed(true, half).await;
            assert!(took <= Duration::from_millis(10), "{took:?}");
            assert_eq!(rows, ["row", "last row"]);
            assert_eq!(closed(false, 2 * PROMPTLY).await.1, ["row", "last row"]);
        };
        LocalSet::new().run_until(test).await;
    }
}
