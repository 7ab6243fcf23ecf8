//! Streams: rounds of them to their end, every byte checked, or many held open at a slow pace.

use std::{
    cell::{Cell, RefCell},
    io,
    io::Write as _,
    rc::Rc,
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    PATIENCE,
    client::{Check, Client},
    plain::Target,
    tally::Tally,
    wire,
};

/// Body bytes up to the end of the first token event.
fn first_token_end() -> usize {
    wire::event(0, 1).len() + wire::event(1, 1).len()
}

/// Reads one stream to its end; gives whether it was exact to the byte.
async fn one(client: &mut Client, target: &Target, tally: &RefCell<Tally>) -> io::Result<bool> {
    let first_end = first_token_end();
    let begun = Instant::now();
    timeout(PATIENCE, client.ask(&target.request)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    let mut check = Check::new(&target.expected);
    let mut last = None;
    loop {
        let before = check.at;
        let done =
            timeout(PATIENCE, client.more(&mut check)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        let now = Instant::now();
        let mut tally = tally.borrow_mut();
        if check.at > before {
            tally.reads += 1;
            if before < first_end && check.at >= first_end {
                tally.first_token.add(now - begun);
            }
            if let Some(last) = last.replace(now) {
                tally.gap.add(now - last);
            }
        }
        if done {
            return Ok(check.exact());
        }
    }
}

/// Runs `total` streams, `connections` at a time, the first ones spread over `spread` so that they do not tick together.
pub(crate) async fn rounds(target: Rc<Target>, connections: usize, total: u64, spread: Duration) -> Tally {
    let tally = Rc::new(RefCell::new(Tally::default()));
    let started = Rc::new(Cell::new(0_u64));
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for index in 0..connections {
        let (target, tally, started) = (Rc::clone(&target), Rc::clone(&tally), Rc::clone(&started));
        let due = begin + spread.mul_f64(index as f64 / connections as f64);
        tasks.spawn_local(async move {
            sleep_until(due).await;
            let mut client = None;
            while started.get() < total {
                started.set(started.get() + 1);
                let outcome = async {
                    let mut open = match client.take() {
                        Some(open) => open,
                        None => Client::connect(target.address).await?,
                    };
                    let exact = one(&mut open, &target, &tally).await?;
                    client = Some(open);
                    Ok(exact)
                };
                match outcome.await {
                    Ok(exact) => tally.borrow_mut().finished(exact),
                    Err(error) => tally.borrow_mut().error(&error),
                }
            }
        });
    }
    while tasks.join_next().await.is_some() {}
    tally.take()
}

/// What became of the streams held.
#[derive(Default)]
pub(crate) struct Held {
    /// Streams whose first bytes came.
    pub open: usize,
    /// Streams that ended, or brought a wrong byte, before the hold was over.
    pub lost: usize,
    /// Streams silent for longer than `STALL`.
    pub stalled: usize,
}

/// Silence after which a stream of one token a second counts as stalled.
const STALL: Duration = Duration::from_secs(3);

/// Opens `streams`, `per_second` of them a second, prints a line of JSON once all are open, and holds them for `span`.
pub(crate) async fn hold(target: Rc<Target>, streams: usize, per_second: f64, span: Duration) -> (Held, Tally) {
    let held = Rc::new(RefCell::new(Held::default()));
    let tally = Rc::new(RefCell::new(Tally::default()));
    let settled = Rc::new(Cell::new(0_usize));
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for index in 0..streams {
        let (target, held, tally) = (Rc::clone(&target), Rc::clone(&held), Rc::clone(&tally));
        let settled = Rc::clone(&settled);
        let due = begin + Duration::from_secs_f64(index as f64 / per_second);
        tasks.spawn_local(async move {
            sleep_until(due).await;
            let opening = async {
                let mut client = Client::connect(target.address).await?;
                client.ask(&target.request).await?;
                Ok(client)
            };
            let opened = timeout(PATIENCE, opening).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            settled.set(settled.get() + 1);
            let mut client = match opened {
                Ok(client) => client,
                Err(error) => return tally.borrow_mut().error(&error),
            };
            held.borrow_mut().open += 1;
            let mut check = Check::new(&target.expected);
            let mut silent = false;
            loop {
                match timeout(STALL, client.more(&mut check)).await {
                    Ok(Ok(false)) if check.same => tally.borrow_mut().reads += 1,
                    Ok(_) => {
                        held.borrow_mut().lost += 1;
                        return;
                    }
                    Err(_) if silent => {}
                    Err(_) => {
                        silent = true;
                        held.borrow_mut().stalled += 1;
                    }
                }
            }
        });
    }
    while settled.get() < streams {
        sleep(Duration::from_millis(20)).await;
    }
    let ready = serde_json::json!({ "open": held.borrow().open, "open_secs": begin.elapsed().as_secs_f64() });
    drop(writeln!(io::stdout(), "{ready}"));
    sleep(span).await;
    // The streams are cut here, all at once; what that does is not part of the figures.
    tasks.abort_all();
    (held.take(), tally.take())
}
