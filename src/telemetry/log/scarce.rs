//! Owns the log line for running out of file descriptors, so that no client can be let in: once a minute, with advice.
//! The framework would write it twice a second for as long as that lasts.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use log::Record;

/// The log target of the framework's line about it.
const ACCEPTING: &str = "actix_server::accept";

/// How the system's words for it end, of the process and of the whole machine: `EMFILE`, `ENFILE` in Linux's errno(3).
const SCARCE: [&str; 2] = ["(os error 24)", "(os error 23)"];

const ADVICE: &str =
    "; clients wait until others leave: raise the limit of open files (ulimit -n, or systemd's LimitNOFILE)";

const PAUSE: Duration = Duration::from_mins(1);

/// When it was last said: milliseconds on the process clock, plus one; 0: never.
#[derive(Debug, Default)]
pub(super) struct Scarce(AtomicU64);

impl Scarce {
    /// Writes a line, unless it says again what was said within the last minute.
    pub(super) fn write(
        &self,
        record: &Record<'_>,
        now: Duration,
        write: impl FnOnce(&Record<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        if record.target() != ACCEPTING {
            return write(record);
        }
        let said = record.args().to_string();
        if !SCARCE.iter().any(|end| said.ends_with(end)) {
            return write(record);
        }
        let now = now.as_millis() as u64 + 1;
        let last = self.0.load(Relaxed);
        if last > 0 && now.saturating_sub(last) < PAUSE.as_millis() as u64 {
            return Ok(());
        }
        self.0.store(now, Relaxed);
        let mut line = Record::builder();
        write(&line.metadata(record.metadata().clone()).args(format_args!("{said}{ADVICE}")).build())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written of lines of this kind, said at these seconds.
    fn written(target: &str, said: &str, at: &[u64]) -> Vec<String> {
        let (scarce, mut lines) = (Scarce::default(), Vec::new());
        for second in at {
            let mut take = |record: &Record<'_>| {
                lines.push(record.args().to_string());
                Ok(())
            };
            let now = Duration::from_secs(*second);
            scarce
                .write(&Record::builder().target(target).args(format_args!("{said}")).build(), now, &mut take)
                .expect("nothing fails here");
        }
        lines
    }

    #[test]
    fn a_want_of_descriptors_is_told_once_a_minute_with_what_to_do() {
        let want = "Error accepting connection: Too many open files (os error 24)";
        let lines = written(ACCEPTING, want, &[0, 1, 30, 59, 60, 61, 200]);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines.iter().all(|line| line.starts_with(want) && line.contains("ulimit -n")), "{lines:?}");
    }

    #[test]
    fn whatever_else_is_said_is_written_as_it_is() {
        for (target, said) in [(ACCEPTING, "No workers"), ("greenroom::x", "Too many open files (os error 24)")] {
            assert_eq!(written(target, said, &[0, 0]), [said, said]);
        }
    }
}
