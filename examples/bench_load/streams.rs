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
    wire::{self, FRAME_EVENTS, MODEL},
};

/// A stream of chat chunks as the backend sends it, and where its first token ends.
pub(crate) fn chat(chunks: usize) -> (Vec<u8>, usize) {
    let all = (0..chunks + FRAME_EVENTS).flat_map(|index| wire::event(index, chunks)).collect();
    (all, wire::event(0, chunks).len() + wire::event(1, chunks).len())
}

/// The same stream as Messages events, and where its first token ends.
pub(crate) fn messages(chunks: usize) -> (Vec<u8>, usize) {
    let event = |data: String| {
        let kind = data.split('"').nth(3).unwrap_or_default();
        format!("event: {kind}\ndata: {data}\n\n")
    };
    let usage = |input: usize, output: usize| {
        format!(
            r#"{{"input_tokens":{input},"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":{output}}}"#
        )
    };
    let mut all = event(format!(
        r#"{{"type":"message_start","message":{{"id":"msg_chatcmpl-bench","type":"message","role":"assistant","model":"{MODEL}","content":[],"stop_reason":null,"stop_sequence":null,"usage":{}}}}}"#,
        usage(0, 0)
    ));
    let block = r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
    all += &event(block.to_owned());
    let mut first_token_end = 0;
    for index in 0..chunks {
        let text = wire::token(index);
        let delta =
            format!(r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{text}"}}}}"#);
        all += &event(delta);
        if index == 0 {
            first_token_end = all.len();
        }
    }
    all += &event(r#"{"type":"content_block_stop","index":0}"#.to_owned());
    let stop = r#""delta":{"stop_reason":"end_turn","stop_sequence":null}"#;
    all += &event(format!(r#"{{"type":"message_delta",{stop},"usage":{}}}"#, usage(256, chunks)));
    all += &event(r#"{"type":"message_stop"}"#.to_owned());
    (all.into_bytes(), first_token_end)
}

/// Reads one stream to its end; gives whether it was exact to the byte.
async fn one(client: &mut Client, target: &Target, tally: &RefCell<Tally>) -> io::Result<bool> {
    let first_end = target.first_token_end;
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
    /// Streams silent for longer than `STALL` tokens take.
    pub stalled: usize,
}

/// Tokens that are due while a stream is silent, and which make it count as stalled.
const STALL: u32 = 3;

/// Opens `streams`, `per_second` of them a second, prints a line of JSON once all are open, and holds them for `span`, with a
/// token each `pace`.
pub(crate) async fn hold(
    target: Rc<Target>,
    streams: usize,
    per_second: f64,
    pace: Duration,
    span: Duration,
) -> (Held, Tally) {
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
                match timeout(STALL * pace, client.more(&mut check)).await {
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
