//! What sending at the end of a turn has to keep: order, room, failures told, one runtime after another.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::{coop::poll_proceed, yield_now},
    time::timeout,
};

use super::{ending::TOGETHER, *};

async fn pair() -> (TcpStream, Socket) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let peer = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("it listens");
    (peer, Socket::new(listener.accept().await.expect("a peer").0))
}

fn listed() -> usize {
    TURN.with(|turn| turn.list.borrow().len())
}

#[actix::test]
async fn what_is_written_in_a_turn_goes_out_at_its_end_in_order() {
    let (mut peer, mut socket) = pair().await;
    socket.hold(|out| out.extend_from_slice(b"ab"));
    socket.hold(|out| out.extend_from_slice(b"cd"));
    assert!(!socket.is_drained() && listed() == 1);
    // A large one does not overtake them, and does not wait.
    let large = vec![b'x'; 4 * HIGH_WATER];
    let write = async { socket.write_all(&large).await };
    let mut read = vec![0; 4 + large.len()];
    let (wrote, got) = futures_util::future::join(write, peer.read_exact(&mut read)).await;
    assert!(wrote.is_ok() && got.is_ok() && read.starts_with(b"abcdx"));
    socket.hold(|out| out.extend_from_slice(b"e"));
    let mut last = [0];
    peer.read_exact(&mut last).await.expect("sent at the end of the turn");
    assert_eq!((&last, listed()), (b"e", 0));
}

#[actix::test]
async fn a_long_turn_sends_before_its_end() {
    let mut pairs = Vec::new();
    for _ in 0..TOGETHER {
        pairs.push(pair().await);
    }
    for (n, (_, socket)) in pairs.iter().enumerate() {
        assert_eq!(listed(), n);
        socket.hold(|out| out.push(b'x'));
    }
    assert_eq!(listed(), 0);
    assert!(pairs.iter().all(|(_, socket)| socket.is_drained()));
}

#[actix::test]
async fn a_peer_that_does_not_read_holds_up_its_writer_and_nobody_else() {
    let (mut peer, mut socket) = pair().await;
    let mut written = 0;
    // Until the kernel's buffers and this one are full.
    while poll_fn(|cx| Poll::Ready(socket.poll_room(cx).is_ready())).await {
        socket.hold(|out| out.resize(out.len() + HIGH_WATER, b'x'));
        written += HIGH_WATER;
        yield_now().await;
    }
    let (mut other_peer, other) = pair().await;
    other.hold(|out| out.push(b'y'));
    let mut one = [0];
    other_peer.read_exact(&mut one).await.expect("not held up");
    let read = async {
        let mut all = vec![0; written];
        peer.read_exact(&mut all).await
    };
    let (flushed, read) = futures_util::future::join(socket.flush(), read).await;
    assert!(flushed.is_ok() && read.is_ok() && socket.is_drained());
}

#[actix::test]
async fn a_stuck_socket_is_closed_once_it_is_dropped_though_its_peer_never_reads() {
    let until = |is: &dyn Fn() -> bool, cx: &mut Context<'_>| {
        cx.waker().wake_by_ref();
        if is() { Poll::Ready(()) } else { Poll::Pending }
    };
    // Dropped before the end of the turn in which it gets stuck, when it is just stuck, and later.
    for moment in 0..3 {
        let (_peer, mut socket) = pair().await;
        socket.hold(|out| out.resize(64 << 20, b'x'));
        let held = Rc::downgrade(&socket.0);
        match moment {
            0 => {}
            1 => assert!(poll_fn(|cx| Poll::Ready(Pin::new(&mut socket).poll_flush(cx))).await.is_pending()),
            _ => in_time(poll_fn(|cx| until(&|| socket.0.stuck.get(), cx))).await,
        }
        drop(socket);
        in_time(poll_fn(|cx| until(&|| held.strong_count() == 0, cx))).await;
    }
}

#[actix::test]
async fn who_writes_to_a_peer_that_is_gone_is_told() {
    let (peer, mut socket) = pair().await;
    drop(peer);
    let failed = async {
        loop {
            socket.hold(|out| out.push(b'x'));
            if let Err(error) = socket.flush().await {
                return error;
            }
            yield_now().await;
        }
    };
    let kind = failed.await.kind();
    assert!(matches!(kind, io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset), "{kind:?}");
}

#[test]
fn a_thread_that_runs_one_runtime_after_another_still_sends() {
    for _ in 0..2 {
        actix_rt::System::new().block_on(async {
            let (mut peer, socket) = pair().await;
            socket.hold(|out| out.push(b'x'));
            let mut one = [0];
            let read = timeout(Duration::from_secs(5), peer.read_exact(&mut one));
            read.await.expect("sent in time").expect("sent");
        });
    }
}

/// Whether there is nothing to read: what the runtime says, once it has been tried.
async fn is_empty(socket: &mut Socket) -> bool {
    poll_fn(|cx| {
        while socket.poll_read_ready(cx).is_ready() {
            if Pin::new(&mut *socket).poll_read(cx, &mut ReadBuf::new(&mut [0; 9])).is_ready() {
                return Poll::Ready(false);
            }
        }
        Poll::Ready(true)
    })
    .await
}

#[actix::test]
async fn who_asks_again_and_again_is_woken_for_what_comes_whoever_asked_in_between() {
    let (mut peer, mut socket) = pair().await;
    for round in 0..4 {
        // A task that waits for other things, too, asks each time it is woken for one of them.
        for _ in 0..3 {
            assert!(is_empty(&mut socket).await);
        }
        if round > 1 {
            assert!(socket.poll_read_ready(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        let woken = poll_fn(|cx| socket.poll_read_ready(cx));
        let (wrote, woken) = in_time(futures_util::future::join(peer.write_all(b"x"), woken)).await;
        assert!(wrote.is_ok() && woken.is_ok());
        assert_eq!(socket.read(&mut [0; 9]).await.expect("a byte"), 1);
    }
    drop(peer);
    assert!(in_time(poll_fn(|cx| socket.poll_read_ready(cx))).await.is_ok());
}

#[actix::test]
async fn a_reader_that_has_used_up_its_turn_is_not_taken_for_one_that_waits() {
    let (_peer, socket) = pair().await;
    poll_fn(|cx| {
        // As after reading very much: the runtime makes it wait for its next turn without noting for what.
        while has_budget_remaining() {
            let _ = poll_proceed(cx).map(|spent| spent.made_progress());
        }
        assert!(socket.poll_read_ready(cx).is_pending() && !socket.0.reader_waits.get());
        Poll::Ready(())
    })
    .await;
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(5), work).await.expect("woken in time")
}
