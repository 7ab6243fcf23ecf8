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

/// How long workers have when they are told to.
const PROMPTLY: Duration = Duration::from_secs(1);

/// Wishes that may wait for a worker; of more the oldest are forgotten.
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
    /// Wishes that all hand in now: who has done so drops what was sent.
    wishes: broadcast::Sender<mpsc::Sender<()>>,
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
    let wishes = broadcast::channel(WISHES).0;
    (Handing { every, feeds: feeds.clone(), wishes, closing: closed }, Closing { feeds, closing: Arc::new(closing) })
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
    /// A feed of this thread, which has to run tasks.
    pub(super) fn feed<G: Gathered>(&self, gathered: G) -> Rc<Feed<G>> {
        self.feeds.fetch_add(1, Ordering::Relaxed);
        let open = Open(self.feeds.clone());
        let feed = Rc::new(Feed { gathered: RefCell::new(gathered), closing: Cell::new(false), _open: open });
        let weak = Rc::downgrade(&feed);
        let (mut closing, mut wishes) = (self.closing.clone(), self.wishes.subscribe());
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
        // It ends when nobody holds the wish any more. Where nobody heard it nobody has anything.
        let _ = self.wishes.send(wish);
        let _ = timeout(PROMPTLY, granted.recv()).await;
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
        let _ = timeout(PROMPTLY, handed_in).await;
    }
}
