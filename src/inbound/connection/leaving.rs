//! Owns how a client's connection ends: in order once the client has had all of the answer, or broken off.

use std::{io, pin::Pin, time::Duration};

use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    time::timeout,
};

use super::{intake::Intake, output::Manner, taking::taken};

/// Time that a client has to leave.
pub(super) const LEAVE: Duration = Duration::from_secs(1);

/// Waits until the kernel has taken over what is held for a client, as long as the client keeps taking some of it in time. A
/// connection closed earlier loses the end of the answer.
pub(super) async fn handed_over(intake: &mut Intake) -> io::Result<()> {
    taken(intake, |socket, cx| Pin::new(socket).poll_flush(cx)).await
}

/// Closes a connection after its last answer; `unread`: a part of the request has not been read.
pub(super) async fn leave(intake: &mut Intake, unread: bool, manner: Manner) {
    if handed_over(intake).await.is_err() {
        // Without chunks an orderly end would make a partial answer look whole.
        if manner.is_1_0 {
            intake.socket.reset_at_end();
        }
        return;
    }
    if intake.socket.shutdown().await.is_ok() && unread {
        intake.drain().await;
    }
}

/// Sends the last bytes of an answer without the end that would make it look whole.
pub(super) async fn break_off(intake: &mut Intake, manner: Manner) {
    let flushed = timeout(LEAVE, intake.socket.flush()).await;
    if manner.is_1_0 {
        // Without chunks an orderly end of the connection is the end of the answer. But a reset may overtake the last bytes,
        // and some systems throw away what was not read by then. So the client has time to read them and to leave.
        intake.socket.reset_at_end();
        let _ = timeout(LEAVE, intake.drain()).await;
    } else if matches!(flushed, Ok(Ok(()))) && intake.is_full() {
        // It has not left, but sent too much ahead. A reset might take from it what it has so far.
        leave(intake, true, manner).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::AsyncReadExt,
        net::TcpStream,
        task::yield_now,
        time::{Instant, advance, pause},
    };

    use super::{
        super::{intake::tests::pair, taking::TAKE},
        *,
    };

    /// More than the kernel takes over from one who writes to nobody.
    const LARGE: usize = 64 << 20;

    async fn held_for_a_client() -> (TcpStream, Intake) {
        let (client, intake) = pair().await;
        intake.socket.hold(|out| out.resize(LARGE, b'x'));
        pause();
        (client, intake)
    }

    #[actix::test]
    async fn a_client_that_reads_slowly_has_the_end_of_its_answer_before_the_connection_ends() {
        let (mut client, mut intake) = held_for_a_client().await;
        let began = Instant::now();
        let leaving = async move { leave(&mut intake, false, Manner::default()).await };
        let take = async {
            let (mut some, mut had) = (vec![0; LARGE / 16], 0);
            loop {
                advance(TAKE / 4).await;
                match client.read_exact(&mut some).await {
                    Ok(_) => had += some.len(),
                    Err(_) => return had,
                }
            }
        };
        // With something to do always, no time passes but what the client lets pass: the kernel may be slow to hand bytes over.
        let had = tokio::select! {
            ((), had) = futures_util::future::join(leaving, take) => had,
            () = async { loop { yield_now().await } } => unreachable!("it is busy for ever"),
        };
        assert_eq!(had, LARGE);
        assert!(began.elapsed() > 3 * TAKE, "{:?}", began.elapsed());
    }

    #[actix::test]
    async fn an_answer_without_chunks_that_is_not_taken_to_its_end_does_not_end_in_order() {
        for is_1_0 in [true, false] {
            let (mut client, mut intake) = held_for_a_client().await;
            let began = Instant::now();
            let manner = Manner { is_1_0, ..Manner::default() };
            timeout(99 * TAKE, leave(&mut intake, false, manner)).await.expect("it comes to an end");
            // Once more than its time, if the kernel has taken something at first.
            assert!((TAKE..3 * TAKE).contains(&began.elapsed()), "{:?}", began.elapsed());
            drop(intake);
            let mut had = Vec::new();
            assert_eq!(client.read_to_end(&mut had).await.is_err(), is_1_0);
            assert!(had.len() < LARGE);
            tokio::time::resume();
        }
    }

    #[actix::test]
    async fn whose_answer_without_chunks_broke_off_has_time_to_take_its_last_words() {
        let (client, mut intake) = pair().await;
        intake.socket.hold(|out| out.extend_from_slice(b"the last words"));
        pause();
        let began = Instant::now();
        break_off(&mut intake, Manner { is_1_0: true, ..Manner::default() }).await;
        assert!((LEAVE..2 * LEAVE).contains(&began.elapsed()), "{:?}", began.elapsed());
        drop(client);
    }
}
