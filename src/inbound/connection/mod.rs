//! Owns a client's connection from its first byte to its last: requests in turn, each read, served and answered.
//!
//! For each request the framework's connections build two header maps, box the handler and register a timer, and for each
//! chunk they poll four futures. Model endpoints are served here without any of that; the rest goes over `bridge`.

mod bridge;
mod chunked;
mod closing;
mod cors;
mod head;
mod intake;
mod leaving;
mod output;
mod taking;

use std::{
    cell::Cell,
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    task::{Poll, ready},
    time::Duration,
};

use actix_rt::net::TcpStream;
use actix_web::web::ServiceConfig;
use bytes::Bytes;
use futures_util::future::{Either, select};
use tokio::time::Instant;

pub(super) use self::head::Head;
use self::{
    bridge::Bridge,
    closing::Closing,
    head::Method,
    intake::{Begun, HEAD, Intake, Share},
    leaving::{break_off, handed_over, leave},
    output::Manner,
};
use super::{Shared, chat, ids, refusal::Asker};
use crate::{
    clock,
    error::Error,
    exchange::{
        Worker,
        reply::{Body, Reply},
        surface::Surface,
    },
    turn::Socket,
    wire::{
        http1::{Coding, Framing, Unpacker},
        translate::Dialect,
    },
};

/// Largest body that is read of a request that needs none, bytes, so that its connection can carry another request.
const UNASKED: u64 = 16 << 10;

/// Time for all of that body: its sender is unknown, and otherwise each piece would have a time of its own.
const UNASKED_TAKES: Duration = HEAD;

/// What the connections of a worker have in common.
#[derive(Clone)]
pub struct Door {
    pub(super) shared: Shared,
    pub(super) worker: Rc<Worker>,
    bridge: Bridge,
    closing: Rc<Closing>,
    /// Memory of packed bodies that are still coming, bytes.
    unpacking: Rc<Cell<usize>>,
    keep_alive: Duration,
}

impl Door {
    /// Opens it on this worker; `configure` names the endpoints of the web framework. A connection without requests is closed
    /// after `keep_alive`. Once `closing` is ready, every connection is closed after its answer, and at `cut` also those whose
    /// request still runs.
    pub async fn open(
        shared: Shared,
        worker: Rc<Worker>,
        keep_alive: Duration,
        closing: impl Future<Output = ()> + 'static,
        configure: impl FnOnce(&mut ServiceConfig),
    ) -> Result<Self, ()> {
        let bridge = Bridge::new(configure).await?;
        let door = Self { shared, worker, bridge, closing: Rc::default(), unpacking: Rc::default(), keep_alive };
        let (told, worker) = (door.closing.clone(), door.worker.clone());
        let cut = door.shared.cut.clone().notified_owned();
        actix_rt::spawn(async move {
            let mut cut = pin!(cut);
            // If Greenroom is told to stop at once, `cut` comes before `closing`.
            let cut_first = matches!(select(pin!(closing), cut.as_mut()).await, Either::Right(_));
            told.close();
            if !cut_first {
                cut.await;
            }
            worker.cut.set(true);
            told.wake();
        });
        Ok(door)
    }

    /// Serves one connection to its end.
    pub async fn serve(self, io: TcpStream) {
        // Without it a small answer can wait for the acknowledgement of the one before.
        if let Err(error) = io.set_nodelay(true) {
            log::debug!("nodelay not set: {error}");
        }
        let entry = poll_fn(|cx| Poll::Ready(self.closing.enter(cx.waker()))).await;
        let mut intake = Intake::new(Socket::new(io), self.closing.clone());
        let mut is_first = true;
        loop {
            let mut head = match intake.head(is_first).await {
                Begun::Head(head) => head,
                Begun::Over => {
                    // The idle time began when the last answer was written, but the client may still be reading its end.
                    if intake.socket.is_drained() || handed_over(&mut intake).await.is_err() {
                        break;
                    }
                    intake.allow(Instant::now(), self.keep_alive);
                    continue;
                }
                Begun::Refused(error) => {
                    self.turn_away(&mut intake, &error).await;
                    break;
                }
            };
            is_first = false;
            if self.answer(&mut intake, &mut head).await.is_err() {
                break;
            }
        }
        drop(entry);
    }

    /// One request and its answer; `Err`: the connection is over.
    async fn answer(&self, intake: &mut Intake, head: &mut Head) -> Result<(), ()> {
        let served = match Surface::at(head.path()).filter(|_| head.method == Method::Post) {
            // Boxed: the memory for serving is freed before a stream's long rest, and idle connections do not hold it. Written
            // in place: otherwise three kilobytes would be moved three times.
            Some(surface) => Box::into_pin(Box::write(Box::new_uninit(), self.model(intake, head, surface))).await,
            None => Box::pin(self.other(intake, head)).await,
        };
        let Ok(mut reply) = served else {
            if intake.is_full() {
                // It has not left, but sent too much ahead. A reset might take the answers from it that it has so far.
                leave(intake, true, Manner::default()).await;
            }
            return Err(());
        };
        if head.has_origin {
            cors::tell(head, &self.worker.table().settings.server.cors_origins, &mut reply);
        }
        let unread = head.framing != Framing::Ended;
        let is_old_stream = !head.is_1_1 && matches!(reply.body, Body::Stream(_));
        // With no time to be kept for, it would be closed under the next request.
        let kept = head.keep_alive && !self.keep_alive.is_zero();
        let close = unread || !kept || is_old_stream || self.closing.is_closed();
        let manner = Manner { close, is_1_0: !head.is_1_1, head_only: head.method == Method::Head };
        let sent = self.send(intake, reply, manner).await?;
        if close {
            leave(intake, unread, manner).await;
            return Err(());
        }
        intake.allow(sent, self.keep_alive);
        Ok(())
    }

    /// Sends an answer; tells when that was done.
    async fn send(&self, intake: &mut Intake, mut reply: Reply, manner: Manner) -> Result<Instant, ()> {
        let now = reply.at.unwrap_or_else(Instant::now);
        let body = std::mem::replace(&mut reply.body, Body::Whole(Bytes::new()));
        match body {
            Body::Whole(body) => output::whole(intake, &reply, &body, manner, now).await.map_err(|_| ()),
            Body::Stream(mut body) => {
                intake.shrink();
                let streamed = output::stream(intake, &reply, |cx| body.poll_piece(cx), manner, now).await;
                if streamed.is_err() {
                    // What it holds, of a backend and of its user's limits, is given back at once, and not after the client has
                    // had its time to leave.
                    drop((body, reply.admission.take()));
                    break_off(intake, manner).await;
                }
                streamed.map(|()| Instant::now())
            }
        }
    }

    /// A request to a model; `Err`: its client has left.
    async fn model(&self, intake: &mut Intake, head: &mut Head, surface: Surface) -> Result<Reply, ()> {
        let is_whole = intake.has(&head.framing);
        let arrival = match chat::admit(self, &mut intake.known, &intake.socket, head, surface, is_whole) {
            Ok(arrival) => arrival,
            Err(reply) => return Ok(reply),
        };
        let limit = arrival.body_limit();
        let body = match head.coding {
            Coding::Identity => {
                self.allow(intake, head, limit);
                self.worker.unless_cut(pin!(intake.body(&mut head.framing, limit, arrival.deadline()))).await
            }
            coding => match Unpacker::of(coding, limit) {
                Some(unpacker) => {
                    self.allow(intake, head, limit);
                    // Boxed, so that other requests need no room for it.
                    let share = Share::of(&self.unpacking);
                    let unpacked = intake.unpacked(&mut head.framing, unpacker, limit, share, arrival.deadline());
                    self.worker.unless_cut(Box::pin(unpacked).as_mut()).await
                }
                None => Err(Error::UnknownCoding { taken: Coding::TAKEN }),
            },
        };
        served(intake, pin!(chat::serve(self, arrival, head, body))).await
    }

    /// Any other request; `Err`: its client has left.
    async fn other(&self, intake: &mut Intake, head: &mut Head) -> Result<Reply, ()> {
        let received = clock::now();
        if head.has_origin {
            let allowed = cors::preflight(head, &self.worker.table().settings.server.cors_origins, &ids::new_id());
            if let Some(reply) = allowed {
                return Ok(reply);
            }
        }
        // None of these endpoints takes a body, and the sender is not known yet, so more than a little is left unread.
        let body = match head.framing {
            Framing::Length(..=UNASKED) => {
                self.allow(intake, head, UNASKED as usize);
                intake.body(&mut head.framing, UNASKED as usize, Instant::now() + UNASKED_TAKES).await
            }
            _ => Ok(Bytes::new()),
        };
        let (endpoint, peer) = (Surface::at(head.path()), intake.socket.peer());
        let served = match body {
            Ok(_) if endpoint.is_some() && head.wants_websocket() => Err(Error::NoWebsocket),
            Ok(_) if endpoint.is_some() => {
                Err(Error::WrongMethod { method: head.method.as_str().into(), allow: "POST" })
            }
            Ok(body) => served(intake, pin!(self.bridge.serve(head, body, peer))).await?,
            Err(error) => Err(error),
        };
        let dialect = endpoint.map_or(Dialect::Chat, Surface::dialect);
        let (header, table) = (|name: &str| head.text(name), self.worker.table());
        let user = intake.known.user(header, &table).ok();
        let refuse = |error| {
            let id = ids::id_of(header, &table);
            Asker::stranger(&id, endpoint, received, peer).astray(user.as_deref()).refuse(self, &error, None)
        };
        let allowance = user.as_ref().and_then(|user| table.allowance(user));
        Ok(chat::with_limits(served.unwrap_or_else(refuse), allowance.as_deref(), dialect))
    }

    /// Tells a client that waits for permission to send its body, if that body will be read.
    fn allow(&self, intake: &Intake, head: &Head, limit: usize) {
        let fits = match head.framing {
            Framing::Length(length) => length <= limit as u64,
            Framing::Chunked(_) => true,
            Framing::UntilClose | Framing::Ended => false,
        };
        if head.expects && fits && !self.closing.is_closed() {
            intake.socket.hold(|out| out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n"));
        }
    }

    /// Refuses bytes that are no request.
    async fn turn_away(&self, intake: &mut Intake, error: &Error) {
        let reply = Asker::stranger(&ids::new_id(), None, clock::now(), intake.socket.peer()).refuse(self, error, None);
        let manner = Manner { close: true, ..Manner::default() };
        if self.send(intake, reply, manner).await.is_ok() {
            leave(intake, true, manner).await;
        }
    }
}

/// Waits for `work` unless the client leaves first; then the caller drops it with all that it holds. The caller pins it: taken
/// by value it would be held twice.
async fn served<T>(intake: &mut Intake, mut work: Pin<&mut impl Future<Output = T>>) -> Result<T, ()> {
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Ok(done));
        }
        ready!(intake.poll_gone(cx));
        Poll::Ready(Err(()))
    })
    .await
}
