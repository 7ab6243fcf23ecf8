//! Owns reading the settings again: when an operator asks, on SIGHUP, and when the file is seen to have changed.

use std::{sync::Arc, thread, time::Duration};

use tokio::{
    signal::unix::Signal,
    sync::{Mutex, Notify, Semaphore, oneshot},
    time::{sleep, timeout},
};

use super::{
    Shared,
    operate::{PATIENCE, ask},
};
use crate::{
    error::Error,
    settings::{BadSettings, Plan, Print, Source},
    supervision::messages::Reload,
};

/// What reloading needs.
#[derive(Debug)]
pub(super) struct Reloading {
    /// Where the settings are; `None`: in no file.
    source: Option<Arc<Source>>,
    /// Held from reading to installing: of two at once the later one would else be overtaken by what it has replaced.
    pub(super) turn: Mutex<()>,
    /// Others may be in force, and with them another pause between looks.
    done: Notify,
    /// One for each thread that may hang over the settings.
    places: Arc<Semaphore>,
    /// For the one thread that waits for backends' key files, so that a settings file that hangs takes no place of its.
    pub(super) key_place: Arc<Semaphore>,
}

/// How many threads may hang over the settings. There are several, since one that began when the file hung may never notice that
/// another file is there by now.
const HANGING: usize = 8;

/// How long files may take to be read: what is there may be no file, or on another machine.
const LONGEST: Duration = Duration::from_secs(5);

impl Reloading {
    pub(super) fn of(source: Option<Source>) -> Self {
        let [places, key_place] = [HANGING, 1].map(|threads| Arc::new(Semaphore::new(threads)));
        Self { source: source.map(Arc::new), turn: Mutex::default(), done: Notify::new(), places, key_place }
    }

    /// What `read` makes of files, on a thread of its own: a file system that hangs holds up neither the actors here nor the end
    /// of the process, and takes no more than a few threads from them. `None`: it took too long, or there can be no thread.
    pub(super) async fn aside<T: Send + 'static>(
        places: &Arc<Semaphore>,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (tell, told) = oneshot::channel();
        let told = async {
            let place = places.clone().acquire_owned().await.ok()?;
            let read = move || {
                // Nobody listens any more if it took too long, or the process is ending.
                let _ = tell.send(read());
                drop(place);
            };
            thread::Builder::new().name("settings".to_owned()).spawn(read).ok()?;
            told.await.ok()
        };
        timeout(LONGEST, told).await.ok()?
    }
}

impl Shared {
    /// Reads the settings file again and installs it, or only tells what it would change. A bad file changes nothing, and the log
    /// says why, whoever asked.
    pub async fn reload(&self, dry_run: bool) -> Result<Plan, Error> {
        let plan = self.read_again(dry_run).await;
        if !dry_run {
            // What was installed, the Overseer tells.
            if let Err(error) = &plan {
                // Where there is no file none is bad.
                let level = if self.reloading.source.is_none() { log::Level::Warn } else { log::Level::Error };
                log::log!(level, "not reloaded: {}", error.face().message.replace("\n  ", "; "));
            }
            self.counts.reloaded(plan.is_ok());
            self.reloading.done.notify_one();
        }
        plan
    }

    async fn read_again(&self, dry_run: bool) -> Result<Plan, Error> {
        let no_file =
            || Error::Conflict("Greenroom runs without a settings file, so there is nothing to reload.".into());
        let source = self.reloading.source.clone().ok_or_else(no_file)?;
        let too_late = || {
            let secs = LONGEST.as_secs();
            Error::Conflict(format!("Nothing was installed. The settings file could not be read within {secs} s."))
        };
        let _turn = self.reloading.turn.lock().await;
        let from = source.clone();
        let (read, settings) =
            Reloading::aside(&self.reloading.places, move || from.load()).await.ok_or_else(too_late)?;
        if !dry_run {
            // A file with a key may come a moment later than the settings that name it: they are tried again until it is there.
            let waits = settings.as_ref().is_err_and(BadSettings::lacks_keys_alone);
            source.note(read.filter(|_| !waits));
        }
        let settings = settings.map_err(|bad| Error::Invalid {
            param: "settings".to_owned(),
            message: format!("Nothing was installed. {bad}"),
        });
        let settings = Box::new(settings?);
        ask(self.overseer.clone(), Reload { settings, dry_run }, PATIENCE).await
    }
}

/// Reloads at each SIGHUP.
pub async fn when_told(shared: Shared, mut hangup: Signal) {
    while hangup.recv().await.is_some() {
        let _ = shared.reload(false).await;
    }
}

/// Reloads when the file has changed, where the settings in force want it watched.
pub async fn when_changed(shared: Shared) {
    let pause = || shared.table().settings.server.watch_every;
    let Some(source) = shared.reloading.source.clone() else {
        if !pause().is_zero() {
            log::warn!("server.watch_every does nothing: Greenroom runs without a settings file");
        }
        return;
    };
    let mut watch = Watch::default();
    // The file that was refused last, and with which words.
    let mut refused: Option<(Print, String)> = None;
    loop {
        let pause = pause();
        tokio::select! {
            () = shared.reloading.done.notified() => continue,
            () = sleep(pause), if !pause.is_zero() => {}
        }
        let file = source.clone();
        let Some(seen) = Reloading::aside(&shared.reloading.places, move || file.look()).await else {
            log::warn!("the settings file could not be looked at within {} s", LONGEST.as_secs());
            continue;
        };
        if watch.is_new(seen, |print| source.has_read(print)) {
            let words = |error: Error| error.face().message;
            // One that only lacks keys is tried again, but refused aloud only once, unless all has been well in between.
            if let Some((print, told)) = &refused
                && *print == seen
                && !shared.counts.last_reload_succeeded()
                && shared.reload(true).await.is_err_and(|error| words(error) == *told)
            {
                continue;
            }
            log::info!("the settings file has changed");
            refused = shared.reload(false).await.err().map(|error| (seen, words(error)));
        }
    }
}

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
    use std::sync::{
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    };

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

    #[tokio::test]
    async fn a_file_that_hangs_takes_a_few_threads_and_no_more_until_it_is_read_again() {
        let (reloading, asked) = (Reloading::of(None), Arc::new(AtomicUsize::new(0)));
        let (hang, hanging) = mpsc::channel::<()>();
        let hanging = Arc::new(parking_lot::Mutex::new(hanging));
        // Time goes by as soon as nobody here has anything to do.
        tokio::time::pause();
        for _ in 0..3 * HANGING {
            let (asked, hanging) = (asked.clone(), hanging.clone());
            let read = move || {
                asked.fetch_add(1, SeqCst);
                // Until nobody can end it any more.
                hanging.lock().recv()
            };
            assert!(Reloading::aside(&reloading.places, read).await.is_none());
        }
        drop(hang);
        tokio::time::resume();
        let all = timeout(4 * LONGEST, reloading.places.acquire_many(HANGING as u32)).await.expect("each thread ends");
        assert_eq!(asked.load(SeqCst), HANGING);
        drop(all);
        assert_eq!(Reloading::aside(&reloading.places, || 7).await, Some(7));
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
