//! Owns the scripted backends: real sockets that record what they are asked and answer exactly what the script says.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::sleep,
};

use super::{
    script::{Answer, Step},
    wire::{Head, Wire},
    within,
};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    /// Request line and headers.
    pub(crate) head: Head,
    /// The body, byte for byte.
    pub(crate) body: Vec<u8>,
}

impl Received {
    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// An answer that says `text`, streamed or whole, as it is asked.
    pub(crate) fn saying(&self, text: &str) -> Answer {
        if self.wants_stream() { Answer::streams(text) } else { Answer::says(text) }
    }

    /// Whether a stream was asked for.
    pub(crate) fn wants_stream(&self) -> bool {
        #[derive(Default, serde::Deserialize)]
        #[serde(default)]
        struct Wish {
            stream: Option<bool>,
        }
        serde_json::from_slice::<Wish>(&self.body).unwrap_or_default().stream == Some(true)
    }
}

/// What a backend has seen so far.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Requests in order of arrival.
    pub(crate) requests: Vec<Received>,
    /// Connections open now.
    pub(crate) open: usize,
    /// Answers under way now.
    pub(crate) busy: usize,
    /// Most answers under way at a time.
    pub(crate) busiest: usize,
    /// Answers during which the proxy closed the connection.
    pub(crate) abandoned: usize,
    /// Bytes that `Answer::flood` has got rid of.
    pub(crate) flooded: usize,
}

type Script = Arc<dyn Fn(usize, &Received) -> Answer + Send + Sync>;

/// A backend. Dropped, it closes its port and all its connections.
pub(crate) struct Upstream {
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    seen: Arc<watch::Sender<Seen>>,
    serving: AbortHandle,
}

impl Upstream {
    /// Starts one that answers by `script`, which gets the number of the request, from 0, and the request.
    pub(crate) async fn start(script: impl Fn(usize, &Received) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0".parse().expect("an address"), script).await
    }

    /// As `start`, on an address that another one had before.
    pub(crate) async fn start_at(
        addr: SocketAddr,
        script: impl Fn(usize, &Received) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(addr).await.expect("a loopback port is free");
        let addr = listener.local_addr().expect("a bound socket has an address");
        let seen = Arc::new(watch::Sender::new(Seen::default()));
        let serving = tokio::spawn(accept(listener, Arc::new(script), seen.clone())).abort_handle();
        Self { addr, seen, serving }
    }

    /// Starts one that always gives the same answer.
    pub(crate) async fn always(answer: Answer) -> Self {
        Self::start(move |_, _| answer.clone()).await
    }

    /// Starts one that says `text`, streamed or whole, as it is asked.
    pub(crate) async fn saying(text: &'static str) -> Self {
        Self::start(move |_, ask| ask.saying(text)).await
    }

    /// Looks at what it has seen.
    pub(crate) fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.borrow())
    }

    /// Number of requests so far.
    pub(crate) fn asked(&self) -> usize {
        self.seen(|seen| seen.requests.len())
    }

    /// The latest request.
    pub(crate) fn last(&self) -> Received {
        self.seen(|seen| seen.requests.last().cloned()).expect("the backend was asked")
    }

    /// Waits until what it has seen is as wanted.
    pub(crate) async fn until(&self, what: &str, wanted: impl FnMut(&Seen) -> bool) {
        let mut seen = self.seen.subscribe();
        within(what, seen.wait_for(wanted)).await.expect("the sender is ours");
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn accept(listener: TcpListener, script: Script, seen: Arc<watch::Sender<Seen>>) {
    let asked = Arc::new(AtomicUsize::new(0));
    // Dropped with this task, and all connections with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                connections.spawn(serve(stream, script.clone(), seen.clone(), asked.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Keeps a count right on every way out, an abort included.
struct Counted(Arc<watch::Sender<Seen>>, fn(&mut Seen) -> &mut usize);

impl Counted {
    fn new(seen: &Arc<watch::Sender<Seen>>, count: fn(&mut Seen) -> &mut usize) -> Self {
        seen.send_modify(|seen| *count(seen) += 1);
        Self(seen.clone(), count)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|seen| *self.1(seen) -= 1);
    }
}

async fn serve(stream: TcpStream, script: Script, seen: Arc<watch::Sender<Seen>>, asked: Arc<AtomicUsize>) {
    let _open = Counted::new(&seen, |seen| &mut seen.open);
    let mut wire = Wire::new(stream);
    while let Some(head) = wire.head().await {
        let mut body = Vec::new();
        while let Some(piece) = wire.piece().await {
            body.extend_from_slice(&piece);
        }
        let received = Received { head, body };
        let answer = script(asked.fetch_add(1, SeqCst), &received);
        let busy = Counted::new(&seen, |seen| &mut seen.busy);
        seen.send_modify(|seen| {
            seen.requests.push(received);
            seen.busiest = seen.busiest.max(seen.busy);
        });
        let played = play(&mut wire, answer, &seen).await;
        drop(busy);
        match played {
            Played::Whole => {}
            Played::Closed => return,
            Played::Reset => return wire.reset(),
            Played::Abandoned => return seen.send_modify(|seen| seen.abandoned += 1),
        }
    }
}

enum Played {
    Whole,
    Closed,
    Reset,
    Abandoned,
}

async fn play(wire: &mut Wire, answer: Answer, seen: &watch::Sender<Seen>) -> Played {
    for step in answer.0 {
        let stays = match step {
            Step::Write(bytes) => wire.write(&bytes).await,
            Step::Flood(bytes, times) => flood(wire, &bytes, times, seen).await,
            Step::Wait(gate) => tokio::select! { () = gate.pass() => true, () = wire.closed() => false },
            Step::Work(time) => tokio::select! { () = sleep(time) => true, () = wire.closed() => false },
            Step::Hang => {
                wire.closed().await;
                false
            }
            Step::Reset => return Played::Reset,
            Step::Close => return Played::Closed,
        };
        if !stays {
            return Played::Abandoned;
        }
    }
    Played::Whole
}

async fn flood(wire: &mut Wire, bytes: &[u8], times: usize, seen: &watch::Sender<Seen>) -> bool {
    for _ in 0..times {
        if !wire.write(bytes).await {
            return false;
        }
        seen.send_modify(|seen| seen.flooded += bytes.len());
    }
    true
}
