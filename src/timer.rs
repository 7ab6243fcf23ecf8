//! Owns a timer whose deadline is often put off and seldom reached, and spare timers for reuse: neither costs a new timer of
//! the runtime.

use std::{
    cell::RefCell,
    ops::{Deref, DerefMut},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use tokio::{
    task::coop::has_budget_remaining,
    time::{Instant, Sleep, sleep_until},
};

/// A deadline that moves. The runtime's timer behind it is reset only when it has fired too early or would fire too late.
pub struct Timer {
    due: Instant,
    /// The time when the deadline was set, until the timer is polled.
    fresh: Option<Instant>,
    sleep: Pin<Box<Sleep>>,
    /// The task that `sleep` wakes, and when.
    armed: Option<(Waker, Instant)>,
}

impl Timer {
    /// A timer that is due at `due`.
    pub fn new(due: Instant) -> Self {
        Self { due, fresh: None, sleep: Box::pin(sleep_until(due)), armed: None }
    }

    /// Moves the deadline to `due`. A poll right after that, at `now`, does not even look at the runtime's timer.
    pub fn set(&mut self, now: Instant, due: Instant) {
        self.due = due;
        self.fresh = Some(now);
    }

    /// Ready when the deadline has passed.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(now) = self.fresh.take()
            && let Some((waker, at)) = &self.armed
            && now < *at
            && *at <= self.due
            && waker.will_wake(cx.waker())
            // It may have fired since, and the task that it woke polled something else.
            && !self.sleep.is_elapsed()
        {
            return Poll::Pending;
        }
        if self.sleep.deadline() > self.due {
            self.sleep.as_mut().reset(self.due);
        }
        loop {
            if self.sleep.as_mut().poll(cx).is_pending() {
                // A task that has used up its budget is told to wait without being registered, whatever the time.
                let is_heard = has_budget_remaining();
                self.armed = is_heard.then(|| (cx.waker().clone(), self.sleep.deadline()));
                return if is_heard || Instant::now() < self.due { Poll::Pending } else { Poll::Ready(()) };
            }
            if Instant::now() >= self.due {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(self.due);
        }
    }
}

/// The most spare timers kept.
const SPARE: usize = 64;

/// The spare timers of a worker. They stay registered with the runtime, which takes a lock to add or remove one. If a spare
/// one fires, the task that it wakes finds nothing to do.
#[derive(Clone, Default)]
pub struct Timers(Rc<RefCell<Vec<Timer>>>);

/// A timer, until it is dropped.
pub struct Lent {
    timer: Option<Timer>,
    home: Timers,
}

/// Why it is always there.
const HELD: &str = "it goes home only when it is dropped";

impl Timers {
    /// A timer that is due at `due` and first polled `now` or later.
    pub fn lend(&self, now: Instant, due: Instant) -> Lent {
        let spare = self.0.borrow_mut().pop();
        let timer = spare.map_or_else(
            || Timer::new(due),
            |mut timer| {
                timer.set(now, due);
                timer
            },
        );
        Lent { timer: Some(timer), home: self.clone() }
    }
}

impl Deref for Lent {
    type Target = Timer;

    fn deref(&self) -> &Timer {
        self.timer.as_ref().expect(HELD)
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Timer {
        self.timer.as_mut().expect(HELD)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut spare = self.home.0.borrow_mut();
        if let Some(timer) = self.timer.take().filter(|_| spare.len() < SPARE) {
            spare.push(timer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use tokio::{
        task::coop::poll_proceed,
        time::{sleep, timeout},
    };

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_deadline_holds_wherever_it_is_moved() {
        let begin = Instant::now();
        // Put off once a second while the timer is asked each time, then not any more; brought forward at last.
        let mut timer = Timer::new(begin + 5 * SECOND);
        let fired = async {
            let mut due = [9, 11, 40, 12].into_iter();
            let mut next = Box::pin(sleep(SECOND));
            poll_fn(|cx| {
                while next.as_mut().poll(cx).is_ready() {
                    if let Some(due) = due.next() {
                        timer.set(Instant::now(), begin + due * SECOND);
                    }
                    next = Box::pin(sleep(SECOND));
                }
                timer.poll(cx)
            })
            .await;
            begin.elapsed()
        };
        assert_eq!(fired.await, 12 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_is_brought_forward_is_not_missed() {
        let begin = Instant::now();
        let mut timer = Timer::new(begin + 40 * SECOND);
        assert!(poll_fn(|cx| Poll::Ready(timer.poll(cx))).await.is_pending());
        timer.set(begin, begin + 12 * SECOND);
        poll_fn(|cx| timer.poll(cx)).await;
        assert_eq!(begin.elapsed(), 12 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_another_task_asks_wakes_that_one() {
        let begin = Instant::now();
        let mut timer = Timer::new(begin + SECOND);
        assert!(timer.poll(&mut Context::from_waker(Waker::noop())).is_pending());
        timer.set(begin, begin + 2 * SECOND);
        let fired = timeout(9 * SECOND, poll_fn(|cx| timer.poll(cx))).await;
        assert_eq!((fired, begin.elapsed()), (Ok(()), 2 * SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_was_put_off_while_the_timer_fired_is_not_forgotten() {
        let begin = Instant::now();
        let mut timer = Timer::new(begin + SECOND);
        assert!(poll_fn(|cx| Poll::Ready(timer.poll(cx))).await.is_pending());
        sleep(SECOND).await;
        timer.set(Instant::now(), begin + 3 * SECOND);
        poll_fn(|cx| timer.poll(cx)).await;
        assert_eq!(begin.elapsed(), 3 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_was_lent_before_is_due_for_whoever_has_it_now() {
        let (begin, timers) = (Instant::now(), Timers::default());
        let at = |seconds| begin + seconds * SECOND;
        // Its first borrower was in another task, and did not wait to the end.
        let mut first = timers.lend(begin, at(2));
        assert!(first.poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(first);
        for (due, now) in [(5, 0), (6, 5), (40, 6), (60, 40)] {
            let mut lent = timers.lend(at(now), at(due));
            timeout(90 * SECOND, poll_fn(|cx| lent.poll(cx))).await.expect("due");
            assert_eq!(begin.elapsed(), due * SECOND);
        }
        // Fired while at rest.
        sleep(SECOND).await;
        let mut lent = timers.lend(Instant::now(), at(70));
        timeout(90 * SECOND, poll_fn(|cx| lent.poll(cx))).await.expect("due");
        assert_eq!((begin.elapsed(), timers.0.borrow().len()), (70 * SECOND, 0));
        drop(lent);
        assert_eq!(timers.0.borrow().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_set_by_an_old_time_is_not_forgotten() {
        let begin = Instant::now();
        let mut timer = Timer::new(begin + SECOND);
        assert!(poll_fn(|cx| Poll::Ready(timer.poll(cx))).await.is_pending());
        sleep(2 * SECOND).await;
        timer.set(begin, begin + 3 * SECOND);
        let fired = timeout(9 * SECOND, poll_fn(|cx| timer.poll(cx))).await;
        assert_eq!((fired, begin.elapsed()), (Ok(()), 3 * SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_has_passed_also_for_a_task_that_has_always_something_else_to_do() {
        let begin = Instant::now();
        let mut timer = Timer::new(begin + SECOND);
        let busy = async |timer: &mut Timer| {
            let asked = poll_fn(|cx| {
                while let Poll::Ready(spent) = poll_proceed(cx) {
                    spent.made_progress();
                }
                Poll::Ready(timer.poll(cx))
            });
            asked.await
        };
        assert!(busy(&mut timer).await.is_pending());
        sleep(SECOND).await;
        assert!(busy(&mut timer).await.is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_set_behind_a_question_that_the_runtime_did_not_hear_wakes_all_the_same() {
        let begin = Instant::now();
        let (mut timer, mut turn) = (Timer::new(begin + SECOND), 0);
        let asked = poll_fn(|cx| {
            turn += 1;
            match turn {
                // Told to wait, since this turn has taken too much, and to come again.
                1 => {
                    while let Poll::Ready(spent) = poll_proceed(cx) {
                        spent.made_progress();
                    }
                }
                2 => timer.set(begin, begin + 2 * SECOND),
                _ => {}
            }
            timer.poll(cx)
        });
        let fired = timeout(9 * SECOND, asked).await;
        assert_eq!((fired, begin.elapsed()), (Ok(()), 2 * SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_timers_are_kept_at_rest_than_a_worker_needs_soon() {
        let (now, timers) = (Instant::now(), Timers::default());
        let lent: Vec<_> = (0..2 * SPARE).map(|_| timers.lend(now, now + SECOND)).collect();
        drop(lent);
        assert_eq!(timers.0.borrow().len(), SPARE);
    }
}
