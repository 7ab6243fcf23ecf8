//! What a client's connection takes in: within its time, up to its bounds, and what it makes of one that has left.

use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    time::{pause, resume, sleep},
};

use super::*;

/// A client, and what its connection takes in.
pub(in crate::inbound::connection) async fn pair() -> (TcpStream, Intake) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("it listens");
    let (server, _) = listener.accept().await.expect("a client");
    (client, Intake::new(Socket::new(server), Rc::default()))
}

/// What comes of a client that sends `bytes` and then nothing, and how long that took. The clock runs ahead while nothing
/// happens, so the bytes are waited for first.
async fn after(bytes: &[u8], begun: bool) -> (Begun, Duration) {
    let (mut client, mut intake) = pair().await;
    client.write_all(bytes).await.expect("it reads");
    if !bytes.is_empty() {
        poll_fn(|cx| intake.poll_fill(cx)).await.expect("bytes");
    }
    pause();
    let now = Instant::now();
    intake.allow(now, if begun { HEAD } else { Duration::from_secs(75) });
    let came = intake.head(begun).await;
    let took = now.elapsed();
    resume();
    (came, took)
}

#[tokio::test]
async fn a_head_has_ten_seconds_from_its_first_byte() {
    let (came, took) = after(b"POST / HTTP/1.1\r\nhost:", false).await;
    assert!(matches!(came, Begun::Refused(Error::Slow)) && took.abs_diff(HEAD) < Duration::from_millis(5), "{took:?}");
    // A new connection on which nothing comes is no request that came too late.
    let (came, took) = after(b"", true).await;
    assert!(matches!(came, Begun::Over) && took.abs_diff(HEAD) < Duration::from_millis(5), "{took:?}");
}

#[tokio::test]
async fn line_ends_in_front_of_a_request_begin_none() {
    for blank in ["\r\n", "\n", "\r\n\r\n\r"] {
        let (came, took) = after(blank.as_bytes(), false).await;
        let idle = Duration::from_secs(75);
        assert!(matches!(came, Begun::Over) && took.abs_diff(idle) < Duration::from_millis(5), "{blank:?} {took:?}");
        let (came, _) = after(format!("{blank}\nGET /x HTTP/1.1\r\nhost: h\r\n\r\n").as_bytes(), false).await;
        assert!(matches!(came, Begun::Head(head) if head.path() == "/x"), "{blank:?}");
    }
}

#[tokio::test]
async fn a_body_has_time_for_each_piece() {
    let (mut client, mut intake) = pair().await;
    client.write_all(b"abc").await.expect("it reads");
    poll_fn(|cx| intake.poll_fill(cx)).await.expect("bytes");
    pause();
    let now = Instant::now();
    let came = intake.body(&mut Framing::Length(4), 10, now + 9 * PIECE).await;
    assert_eq!(came, Err(Error::Slow));
    assert!(now.elapsed().abs_diff(PIECE) < Duration::from_millis(5), "{:?}", now.elapsed());
}

/// Sends a byte after each of these pauses.
async fn drip(client: &mut TcpStream, pauses: impl IntoIterator<Item = Duration>) {
    for pause in pauses {
        sleep(pause).await;
        if client.write_all(b"x").await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_body_that_comes_byte_by_byte_has_one_time_for_all_of_it() {
    let (mut client, mut intake) = pair().await;
    pause();
    let now = Instant::now();
    let dripping = drip(&mut client, [PIECE / 2; 99]);
    let mut framing = Framing::Length(100);
    let body = intake.body(&mut framing, 100, now + 2 * PIECE + PIECE / 4);
    let came = async {
        tokio::select! { came = body => came, () = dripping => panic!("it was never cut off") }
    };
    assert_eq!(came.await, Err(Error::Slow));
    assert!(now.elapsed().abs_diff(2 * PIECE + PIECE / 4) < Duration::from_millis(5), "{:?}", now.elapsed());
}

/// How long a client is heard out that sends a byte after each of these pauses, and then nothing.
async fn heard_out(stops: bool, pauses: impl IntoIterator<Item = Duration>) -> Duration {
    let (mut client, mut intake) = pair().await;
    if stops {
        intake.closing.close();
    }
    pause();
    let now = Instant::now();
    let dripping = async {
        drip(&mut client, pauses).await;
        std::future::pending::<()>().await;
    };
    tokio::select! { () = intake.drain() => {}, () = dripping => {} }
    let took = now.elapsed();
    resume();
    took
}

#[tokio::test]
async fn who_still_sends_what_nobody_reads_is_heard_out_up_to_a_pause_and_an_end() {
    let second = Duration::from_secs(1);
    for (pauses, took) in
        [(vec![], LINGER), (vec![4 * second; 2], 8 * second + LINGER), (vec![2 * second; 40], LINGER_IN_ALL)]
    {
        let heard = heard_out(false, pauses.clone()).await;
        assert!(heard.abs_diff(took) < Duration::from_millis(5), "{pauses:?} {heard:?}");
    }
    let heard = heard_out(true, vec![second / 4; 40]).await;
    assert!(heard.abs_diff(LEAVE) < Duration::from_millis(5), "{heard:?}");
}

#[tokio::test]
async fn that_a_client_has_left_is_seen_behind_all_that_it_sent_ahead() {
    let (mut client, mut intake) = pair().await;
    let ahead = async {
        client.write_all(&vec![b'x'; 300 << 10]).await.expect("it reads");
        drop(client);
    };
    let gone = async { tokio::join!(ahead, poll_fn(|cx| intake.poll_gone(cx))) };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("it has left");
}

#[tokio::test]
async fn a_client_that_sends_ahead_without_end_counts_as_gone() {
    let (mut client, mut intake) = pair().await;
    let flood = async { while client.write_all(&[b'x'; 4096]).await.is_ok() {} };
    let gone = poll_fn(|cx| intake.poll_gone(cx));
    let first = async {
        tokio::select! { () = flood => panic!("it was cut off"), () = gone => {} }
    };
    tokio::time::timeout(Duration::from_secs(20), first).await.expect("it is gone");
}

#[tokio::test]
async fn what_follows_a_body_is_kept_for_the_next_request() {
    let (mut client, mut intake) = pair().await;
    client.write_all(b"abcGET /x HTTP/1.1\r\nhost: h\r\n\r\n").await.expect("it reads");
    let until = Instant::now() + PIECE;
    assert_eq!(intake.body(&mut Framing::Length(3), 10, until).await, Ok(Bytes::from_static(b"abc")));
    let Begun::Head(head) = intake.head(false).await else { panic!("no head") };
    assert_eq!(head.path(), "/x");
}

#[tokio::test]
async fn a_large_body_takes_a_buffer_of_its_size_of_which_the_connection_keeps_nothing() {
    let (mut client, mut intake) = pair().await;
    let (length, next) = (40_000, b"GET /x HTTP/1.1\r\nhost: h\r\n\r\n");
    for ahead in [&b""[..], next] {
        // The last piece comes alone, and is a small one.
        client.write_all(&vec![b'x'; length - 1000]).await.expect("it reads");
        poll_fn(|cx| intake.poll_fill(cx)).await.expect("bytes");
        let (mut framing, until) = (Framing::Length(length as u64), Instant::now() + PIECE);
        let body = {
            let mut body = std::pin::pin!(intake.body(&mut framing, length, until));
            assert!(poll_fn(|cx| Poll::Ready(body.as_mut().poll(cx).is_pending())).await);
            client.write_all(&[&[b'x'; 1000], ahead].concat()).await.expect("it reads");
            body.await.expect("it has come")
        };
        assert!(intake.input.capacity() <= ROOM, "{}", intake.input.capacity());
        let held = body.try_into_mut().expect("nobody else has it").capacity();
        assert!((length..=length + ROOM).contains(&held), "{held}");
    }
    let Begun::Head(head) = intake.head(false).await else { panic!("no head") };
    assert_eq!(head.path(), "/x");
}

#[tokio::test]
async fn a_body_longer_than_its_first_piece_is_read_into_the_room_made_for_it() {
    for first in [0, 1, 100] {
        let (_client, mut intake) = pair().await;
        intake.input.extend_from_slice(&vec![b'x'; first]);
        intake.make_room(100_000).expect("there is memory");
        let begin = intake.input.as_ptr();
        assert_eq!((intake.input.len(), intake.input.capacity()), (first, 100_000));
        intake.input.extend_from_slice(&vec![b'y'; 100_000 - first]);
        assert_eq!(intake.input.as_ptr(), begin, "it was copied");
        assert!(intake.make_room(usize::MAX).is_err());
    }
}

#[tokio::test]
async fn of_what_nobody_reads_no_more_is_taken_in_than_so_much() {
    let (mut client, mut intake) = pair().await;
    let floods = async {
        let (piece, mut sent) = (vec![0; 1 << 20], 0);
        while client.write_all(&piece).await.is_ok() {
            sent += piece.len();
        }
        sent
    };
    let drains = async move { intake.drain().await };
    let (sent, ()) = tokio::join!(floods, drains);
    // Some of it was still under way.
    assert!((LINGER_MOST..LINGER_MOST + (64 << 20)).contains(&sent), "{sent}");
}
