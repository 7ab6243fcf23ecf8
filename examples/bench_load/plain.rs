//! Plain requests: as fast as answers come (closed loop), or on a schedule that waits for no answer (open loop).

use std::{cell::RefCell, io, net::SocketAddr, rc::Rc, time::Duration};

use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{PATIENCE, client::Client, tally::Tally};

/// One proxy under load, with the request it gets and the answer it must give.
pub(crate) struct Target {
    pub address: SocketAddr,
    pub request: Vec<u8>,
    pub expected: Vec<u8>,
    /// Body bytes up to the end of the first token of a stream.
    pub first_token_end: usize,
}

/// When a closed loop ends.
#[derive(Clone, Copy)]
pub(crate) enum Until {
    /// After so many requests in all.
    Total(u64),
    /// At this time.
    Time(Instant),
}

async fn exchange(client: &mut Option<Client>, target: &Target) -> io::Result<bool> {
    let mut open = match client.take() {
        Some(open) => open,
        None => Client::connect(target.address).await?,
    };
    let exact = timeout(PATIENCE, open.exchange(&target.request, &target.expected))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    *client = Some(open);
    Ok(exact)
}

/// Keeps `connections` requests in flight.
pub(crate) async fn closed(target: Rc<Target>, connections: usize, until: Until) -> Tally {
    let tally = Rc::new(RefCell::new(Tally::default()));
    let started = Rc::new(RefCell::new(0_u64));
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let (target, tally, started) = (Rc::clone(&target), Rc::clone(&tally), Rc::clone(&started));
        tasks.spawn_local(async move {
            let mut client = None;
            loop {
                let go = match until {
                    Until::Total(total) => *started.borrow() < total,
                    Until::Time(end) => Instant::now() < end,
                };
                if !go {
                    return;
                }
                *started.borrow_mut() += 1;
                let begun = Instant::now();
                let outcome = exchange(&mut client, &target).await;
                let mut tally = tally.borrow_mut();
                match outcome {
                    Ok(exact) => {
                        tally.latency.add(begun.elapsed());
                        tally.finished(exact);
                    }
                    Err(error) => tally.error(&error),
                }
            }
        });
    }
    while tasks.join_next().await.is_some() {}
    tally.take()
}

/// Sends a due time for each request, in order, from a thread that does nothing else: the runtime's own timers are good
/// to a millisecond only, which is more than what is measured.
#[expect(clippy::disallowed_methods, reason = "a thread of its own, which no task waits for")]
fn pace(due: &mpsc::Sender<(usize, Instant)>, targets: usize, per_second: f64, until: Instant) {
    let step = Duration::from_secs_f64(1.0 / per_second / targets as f64);
    let mut next = Instant::now() + step;
    for turn in 0_usize.. {
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        // Late by this thread's own wake-up, which is no fault of the proxy's: the request is due now.
        if next >= until || due.blocking_send((turn % targets, Instant::now())).is_err() {
            return;
        }
        next += step;
    }
}

/// Starts `per_second` requests a second to each target by turns, whether or not earlier ones came back; latencies count
/// from the moment a request was due, so a stall is charged to every request that was due during it.
pub(crate) async fn rate(targets: Vec<Rc<Target>>, per_second: f64, span: Duration, warm: Duration) -> Vec<Tally> {
    let tallies: Vec<_> = targets.iter().map(|_| Rc::new(RefCell::new(Tally::default()))).collect();
    let idle: Vec<_> = targets.iter().map(|_| Rc::new(RefCell::new(Vec::new()))).collect();
    let (sender, mut due) = mpsc::channel(1 << 16);
    let begin = Instant::now() + warm;
    let count = targets.len();
    let pacer = std::thread::spawn(move || pace(&sender, count, per_second, begin + span));
    let mut running = JoinSet::new();
    while let Some((which, at)) = due.recv().await {
        let (target, tally, idle) = (Rc::clone(&targets[which]), Rc::clone(&tallies[which]), Rc::clone(&idle[which]));
        running.spawn_local(async move {
            let mut client = idle.borrow_mut().pop();
            let outcome = exchange(&mut client, &target).await;
            idle.borrow_mut().extend(client);
            if at < begin {
                return;
            }
            let mut tally = tally.borrow_mut();
            match outcome {
                Ok(exact) => {
                    tally.latency.add(at.elapsed());
                    tally.finished(exact);
                }
                Err(error) => tally.error(&error),
            }
        });
        while running.try_join_next().is_some() {}
    }
    while running.join_next().await.is_some() {}
    pacer.join().expect("the pacer only sleeps and sends");
    tallies.into_iter().map(|tally| tally.take()).collect()
}
