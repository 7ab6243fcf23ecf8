//! Owns how long to wait for a client that does not take what is sent to it.

use std::{
    future::poll_fn,
    io,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Instant;

use super::intake::Intake;
use crate::turn::Socket;

/// Time within which a client has to take some of what waits for it; the same as nginx's `send_timeout`.
pub(super) const TAKE: Duration = Duration::from_secs(60);

/// The same while Greenroom stops: it does not spend all of its remaining time on a client that may be gone.
pub(super) const TAKE_AT_LAST: Duration = Duration::from_secs(10);

/// The bytes held for a client that takes none, and whether Greenroom was stopping, when that was last checked.
type Full = (usize, bool);

/// Ready when a client has taken nothing within its time. `full` is what the check before has found, `None` at first.
pub(super) fn poll_stuck(full: &mut Option<Full>, intake: &mut Intake, cx: &mut Context<'_>) -> Poll<()> {
    let stops = intake.closing.is_closed();
    full.take_if(|(_, stopped)| *stopped != stops);
    // Once at first, once when Greenroom begins to stop, and whenever the time is up.
    while full.is_none() || intake.late.poll(cx).is_ready() {
        let held = intake.socket.held();
        if full.replace((held, stops)).is_some_and(|(before, _)| held >= before) {
            return Poll::Ready(());
        }
        intake.allow(Instant::now(), if stops { TAKE_AT_LAST } else { TAKE });
    }
    Poll::Pending
}

/// Waits for `give`, unless the client takes nothing within its time.
pub(super) async fn taken<T>(
    intake: &mut Intake,
    mut give: impl FnMut(&mut Socket, &mut Context<'_>) -> Poll<io::Result<T>>,
) -> io::Result<T> {
    let mut full = None;
    poll_fn(|cx| match give(&mut intake.socket, cx) {
        Poll::Pending => poll_stuck(&mut full, intake, cx).map(|()| Err(io::ErrorKind::TimedOut.into())),
        done @ Poll::Ready(_) => done,
    })
    .await
}
