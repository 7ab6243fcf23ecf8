//! Owns reading the settings again: when an operator asks, on SIGHUP, and when the file is seen to have changed.

use std::{thread, time::Duration};

use tokio::{
    signal::unix::Signal,
    sync::{Mutex, Notify, oneshot},
    time::{sleep, timeout},
};

use super::Shared;
use crate::{
    error::Error,
    settings::{Plan, Print, Source},
    supervision::messages::Reload,
};

/// What reloading needs.
#[derive(Debug)]
pub(super) struct Reloading {
    /// Where the settings are; `None`: in no file.
    source: Option<Source>,
    /// Held from reading to installing: of two at once the later one would else be overtaken by what it has replaced.
    turn: Mutex<()>,
    /// Others may be in force, and with them another pause between looks.
    done: Notify,
}

impl Reloading {
    pub(super) fn of(source: Option<Source>) -> Self {
        Self { source, turn: Mutex::default(), done: Notify::new() }
    }
}

impl Shared {
    /// Reads the settings file again and installs it, or only tells what it would change.
    pub async fn reload(&self, dry_run: bool) -> Result<Plan, Error> {
        let plan = self.read_again(dry_run).await;
        if !dry_run {
            self.counts.reloaded(plan.is_ok());
            self.reloading.done.notify_one();
        }
        plan
    }

    async fn read_again(&self, dry_run: bool) -> Result<Plan, Error> {
        let no_file =
            || Error::Conflict("Greenroom runs without a settings file, so there is nothing to reload.".into());
        let source = self.reloading.source.as_ref().ok_or_else(no_file)?;
        let _turn = self.reloading.turn.lock().await;
        let settings = source.load(dry_run).map_err(|bad| Error::Invalid {
            param: "settings".to_owned(),
            message: format!("Nothing was installed. {bad}"),
        });
        let settings = Box::new(settings?);
        self.overseer.send(Reload { settings, dry_run }).await.map_err(|_| Error::Internal)
    }

    /// Reloads for nobody who waits for an answer: a bad file is told of in the log and changes nothing.
    async fn reload_unasked(&self) {
        // What was installed, the Overseer tells.
        if let Err(error) = self.reload(false).await {
            log::error!("not reloaded: {}", error.face().message.replace("\n  ", "; "));
        }
    }
}

/// Reloads at each SIGHUP.
pub async fn when_told(shared: Shared, mut hangup: Signal) {
    while hangup.recv().await.is_some() {
        shared.reload_unasked().await;
    }
}

/// Reloads when the file has changed, where the settings in force want it watched.
pub async fn when_changed(shared: Shared) {
    let pause = || shared.table().settings.server.watch_every;
    if shared.reloading.source.is_none() {
        if !pause().is_zero() {
            log::warn!("server.watch_every does nothing: Greenroom runs without a settings file");
        }
        return;
    }
    let mut watch = Watch::default();
    loop {
        let pause = pause();
        tokio::select! {
            () = shared.reloading.done.notified() => continue,
            () = sleep(pause), if !pause.is_zero() => {}
        }
        let Some(seen) = look(&shared).await else { continue };
        let has_read = |print| shared.reloading.source.as_ref().is_some_and(|source| source.has_read(print));
        if watch.is_new(seen, has_read) {
            log::info!("the settings file has changed");
            shared.reload_unasked().await;
        }
    }
}

/// What stands in the file. Asked on a thread of its own: a file system that hangs holds up neither the actors here nor the end
/// of the process. `None` if there can be no thread.
async fn look(shared: &Shared) -> Option<Print> {
    let (tell, told) = oneshot::channel();
    let reloading = shared.reloading.clone();
    let look = move || {
        // Nobody listens any more only if the process is ending.
        let _ = reloading.source.as_ref().map(|source| tell.send(source.look()));
    };
    thread::Builder::new().name("watch".to_owned()).spawn(look).ok()?;
    let seen = timeout(LONGEST_LOOK, told).await;
    if seen.is_err() {
        log::warn!("the settings file could not be looked at within {} s", LONGEST_LOOK.as_secs());
    }
    seen.ok()?.ok()
}

/// How long a look may take: the file may be no file, or on another machine.
const LONGEST_LOOK: Duration = Duration::from_secs(5);

/// What the looks at a file have seen.
#[derive(Debug, Default)]
struct Watch {
    last: Option<Print>,
}

impl Watch {
    /// Whether what is seen now is to be read: it is what the look before saw, since a file that is being written in place may
    /// be taken for a whole one, and was not read before, good or bad.
    fn is_new(&mut self, seen: Print, has_read: impl Fn(Print) -> bool) -> bool {
        self.last.replace(seen) == Some(seen) && !has_read(seen)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_change_is_read_at_its_second_look_and_once() {
        let [good, half, bad] = [1, 2, 3].map(|n| Some([n; 32]));
        let mut watch = Watch::default();
        let mut read = good;
        let mut told = Vec::new();
        for seen in [good, good, half, bad, bad, bad, bad, None, None, None, good, bad, good, good, good] {
            let is_new = watch.is_new(seen, |print| read == print);
            if is_new {
                read = seen;
            }
            told.push(u8::from(is_new));
        }
        assert_eq!(told, [0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]);
    }

    proptest! {
        #[test]
        fn what_stays_is_read_in_the_end_and_what_passes_is_not(seen in prop::collection::vec(0_u8..3, 1..40)) {
            let print = |n: u8| (n > 0).then_some([n; 32]);
            let (mut watch, mut read) = (Watch::default(), print(1));
            for (at, n) in seen.iter().enumerate() {
                let is_new = watch.is_new(print(*n), |print| read == print);
                let stays = at > 0 && seen[at - 1] == *n;
                prop_assert_eq!(is_new, stays && read != print(*n));
                if is_new {
                    read = print(*n);
                }
            }
        }
    }
}
