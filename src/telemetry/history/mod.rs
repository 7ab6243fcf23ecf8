//! Owns history: the Recorder actor, on a thread of its own, writes the records of workers and backends into an
//! embedded database.

pub mod answer;
mod days;
pub mod feed;
pub mod messages;
pub mod portions;
mod store;
mod tables;
pub mod tally;

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, MailboxError, MessageResult, Supervised};
use tokio::sync::mpsc;

use self::{
    answer::Told,
    days::{Accounts, Days},
    feed::{Feed, Intake, Row, Rows},
    messages::{Ask, Close, Remember, Untold},
    store::{Entry, Store},
    tally::{Key, Tally},
};
use super::{counts::Counts, handing::Handing};
use crate::{backend::vitals::Vitals, clock, limits::Day, settings};

/// Pause between two complaints about the same disk.
const COMPLAIN_EVERY: Duration = Duration::from_mins(1);

/// Pause between two deletions of what is too old.
const FORGET_EVERY: Duration = Duration::from_mins(10);

/// How long the disk has to take the last rows.
const LAST_WRITE: Duration = Duration::from_secs(5);

/// How long it has to tell the users' days, before they are served without.
const FIRST_READ: Duration = Duration::from_secs(5);

/// The backends as they are configured at any moment; their journals are read from here.
pub type Backends = Box<dyn Fn() -> Vec<Arc<Vitals>> + Send>;

/// The actor.
pub struct Recorder {
    settings: settings::History,
    rows: mpsc::Receiver<Row>,
    counts: Arc<Counts>,
    backends: Backends,
    /// How far each backend's journal has been read.
    journals: Vec<(Arc<Vitals>, u64)>,
    store: Option<Store>,
    /// Read, and not yet written.
    pending: HashMap<Key, Tally>,
    events: Vec<Entry>,
    days: Days,
    complained: Option<Duration>,
}

/// Everyone else's end of history.
#[derive(Debug, Clone)]
pub struct History {
    intake: Intake,
    recorder: Addr<Recorder>,
    handing: Handing,
}

/// A recorder, and everyone else's end of it once it runs and has an address. Nothing is opened before it runs.
pub fn prepare(
    settings: settings::History,
    counts: Arc<Counts>,
    backends: Backends,
    accounts: Accounts,
) -> (Recorder, impl FnOnce(Addr<Recorder>) -> History) {
    let (sender, rows) = mpsc::channel(settings.queue);
    let handing = Handing::new(settings.flush_every);
    let intake = Intake { rows: sender, counts: counts.clone() };
    let recorder = Recorder {
        settings,
        rows,
        counts,
        backends,
        journals: Vec::new(),
        store: None,
        pending: HashMap::new(),
        events: Vec::new(),
        days: Days::of(accounts),
        complained: None,
    };
    (recorder, move |recorder| History { intake, recorder, handing })
}

impl History {
    /// A feed for this worker.
    pub fn feed(&self) -> Rc<Feed> {
        self.handing.feed(Rows::of(self.intake.clone()))
    }

    /// What happened by now. It is asked seldom, so that workers may be.
    pub async fn ask(&self, ask: Ask, patience: Duration) -> Result<Told, Untold> {
        self.handing.gather().await;
        let answer = self.recorder.send(ask).timeout(patience).await;
        answer.unwrap_or_else(|_| Err(Untold::Unreadable("the recorder does not answer".to_owned())))
    }

    /// How the users' days stood when the process before this one ended.
    pub async fn days(&self) -> Vec<Day> {
        let days = self.recorder.send(Remember).timeout(FIRST_READ).await;
        days.unwrap_or_else(|_| {
            log::error!("history: it does not tell what users had used of their days, which begin anew");
            Vec::new()
        })
    }

    /// The process is about to end: everything goes to the disk; `at_once`: what there is by now.
    pub async fn close(&self, at_once: bool) {
        self.handing.close(at_once).await;
        // One that is closed has written them before.
        if matches!(self.recorder.send(Close).timeout(LAST_WRITE).await, Err(MailboxError::Timeout)) {
            log::warn!("history: the last rows could not be written in time");
        }
    }
}

impl Recorder {
    fn flush(&mut self) {
        self.collect();
        // While writing fails it is tried even with nothing to write, so that the log can say when it works again.
        let is_failing = self.counts.history_failing.load(Ordering::Relaxed);
        let (days, changed) = self.days.changed();
        if self.pending.is_empty() && self.events.is_empty() && changed.is_empty() && !is_failing {
            return;
        }
        // First, since they may be written twice, and rows may not.
        let written = self.keep(&changed).and_then(|()| self.write());
        // After a failure the file may be another one, in which nothing is yet.
        self.days.are_written(if written.is_ok() { days } else { HashSet::new() });
        self.counts.history_failing.store(written.is_err(), Ordering::Relaxed);
        if let Err(why) = written {
            // The file may have been moved away or been replaced: it is opened anew the next time.
            self.store = None;
            self.complain(&why);
            self.bound();
        } else if is_failing {
            log::info!("history is written again");
        }
    }

    /// Takes what has been handed in.
    fn collect(&mut self) {
        while let Ok(Row { key, tally }) = self.rows.try_recv() {
            self.pending.entry(key).or_default().merge(&tally);
        }
        let backends = (self.backends)();
        for vitals in &backends {
            if !self.journals.iter().any(|(known, _)| Arc::ptr_eq(known, vitals)) {
                self.journals.push((vitals.clone(), 0));
            }
        }
        for (vitals, seen) in &mut self.journals {
            let (notes, next) = vitals.journal.since(*seen);
            *seen = next;
            self.events.extend(notes.into_iter().map(|note| (clock::unix_at(note.at), vitals.name.clone(), note)));
        }
        // Those of several backends, in the order in which they happened.
        self.events.sort_by_key(|(.., note)| note.at);
        // A backend that a reload removed has now been read to its end.
        self.journals.retain(|(known, _)| backends.iter().any(|vitals| Arc::ptr_eq(known, vitals)));
    }

    fn keep(&mut self, days: &[Day]) -> Result<(), String> {
        if days.is_empty() {
            return Ok(());
        }
        Self::store(&mut self.store, &self.settings)?.keep(days, clock::now()).map_err(|e| e.to_string())
    }

    fn write(&mut self) -> Result<(), String> {
        if self.pending.is_empty() && self.events.is_empty() && !self.counts.history_failing.load(Ordering::Relaxed) {
            return Ok(());
        }
        Self::store(&mut self.store, &self.settings)?.write(&self.pending, &self.events).map_err(|e| e.to_string())?;
        self.pending.clear();
        self.events.clear();
        Ok(())
    }

    fn store<'a>(store: &'a mut Option<Store>, settings: &settings::History) -> Result<&'a mut Store, String> {
        match store {
            Some(store) => Ok(store),
            None => Ok(store.insert(Store::open(settings.path.as_deref()).map_err(|e| e.to_string())?)),
        }
    }

    /// While nothing can be written, no more than the queue's length is kept for later.
    fn bound(&mut self) {
        if self.pending.len() > self.settings.queue {
            self.lose_pending();
        }
        let surplus = self.events.len().saturating_sub(self.settings.queue);
        self.events.drain(..surplus);
    }

    /// Drops the rows that are not written, and counts their attempts.
    fn lose_pending(&mut self) -> u64 {
        let lost = self.pending.drain().map(|(_, tally)| tally.total()).sum();
        self.counts.dropped.fetch_add(lost, Ordering::Relaxed);
        lost
    }

    fn complain(&mut self, why: &str) {
        let now = clock::now();
        if self.complained.is_none_or(|last| now.saturating_sub(last) >= COMPLAIN_EVERY) {
            let path = self.settings.path.as_deref().map_or_else(|| ":memory:".into(), |path| path.to_string_lossy());
            log::error!("history cannot be written to {path}: {why}");
            self.complained = Some(now);
        }
    }

    fn forget(&mut self) {
        let before = clock::unix_at(clock::now()).saturating_sub(self.settings.retention.as_secs().cast_signed());
        if let Some(Err(why)) = self.store.as_ref().map(|store| store.forget(before)) {
            self.complain(&why.to_string());
        }
    }
}

impl Actor for Recorder {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // Told now, not when somebody first misses something.
        if let Err(why) = Self::store(&mut self.store, &self.settings) {
            self.counts.history_failing.store(true, Ordering::Relaxed);
            self.complain(&why);
        }
        ctx.run_interval(self.settings.flush_every, |this, _| this.flush());
        ctx.run_interval(FORGET_EVERY, |this, _| this.forget());
    }
}

impl Supervised for Recorder {
    /// Comes back without the batch in hand, which may have been what it stumbled over.
    fn restarting(&mut self, _: &mut Self::Context) {
        self.lose_pending();
        self.events.clear();
        self.store = None;
    }
}

impl Handler<Close> for Recorder {
    type Result = ();

    fn handle(&mut self, _: Close, ctx: &mut Self::Context) {
        self.flush();
        let lost = self.lose_pending();
        if lost > 0 {
            log::error!("history: {lost} attempts could not be written and are lost");
        }
        // Closing the last connection moves the write-ahead log into the file, which is then complete by itself. The
        // actor stops so that nothing opens it again: workers that nobody waits for may still hand in more.
        self.store = None;
        ctx.stop();
    }
}

impl Handler<Remember> for Recorder {
    type Result = MessageResult<Remember>;

    fn handle(&mut self, _: Remember, _: &mut Self::Context) -> Self::Result {
        let days = Self::store(&mut self.store, &self.settings)
            .and_then(|store| store.days(clock::now()).map_err(|why| why.to_string()));
        MessageResult(days.unwrap_or_else(|why| {
            log::error!("history: what users had used of their days cannot be read, and begins anew: {why}");
            Vec::new()
        }))
    }
}

impl Handler<Ask> for Recorder {
    type Result = MessageResult<Ask>;

    fn handle(&mut self, ask: Ask, _: &mut Self::Context) -> Self::Result {
        self.flush();
        let store = Self::store(&mut self.store, &self.settings).map_err(Untold::Unreadable);
        MessageResult(store.and_then(|store| Ok(store.ask(&ask)?.told())))
    }
}
