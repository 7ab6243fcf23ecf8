//! Owns reading the files with backends' keys, each on a thread of its own, so that one that hangs holds up none of the others.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use serde_json::{Map, Value};

use super::{Secret, key::unusable, section::Problem};
use crate::clock;

/// Most that is read of a file with a key, bytes: more than servers take in a header.
const LARGEST: u64 = 16 << 10;

/// How long a file may take to be read; all that are read with the settings together, too.
const PATIENCE: Duration = Duration::from_secs(3);

/// The files that are being read, by whoever: a file system that is away, such as a network's, may keep a thread for ever, and each
/// file is to keep one at most.
static UNDER_WAY: Mutex<BTreeMap<PathBuf, Arc<Reading>>> = Mutex::new(BTreeMap::new());

/// What a look at a key's file has seen: the key, or why there is none, in words that show neither the file's name, which may be a
/// key in the wrong place, nor anything that is in it.
pub type Seen = Result<Secret, String>;

/// One reading of a file, for all who ask for it while it is under way.
#[derive(Debug)]
struct Reading {
    /// When it began, on the process clock.
    since: Duration,
    seen: Mutex<Option<Seen>>,
    told: Condvar,
}

/// What stands in each of these files, read side by side: several that hang take no longer than one.
pub fn keys_in(files: &[PathBuf]) -> Vec<Seen> {
    let begun: Vec<_> = files.iter().map(|file| begin(file, read)).collect();
    begun.into_iter().map(|reading| reading?.wait(PATIENCE)).collect()
}

/// The files with keys that settings name, as far as they can be told before anything is checked.
pub(super) fn named(settings: &Value) -> Vec<PathBuf> {
    let own = settings["backends"].as_object().into_iter().flat_map(Map::values);
    let all = own.chain([&settings["defaults"]["backend"]]);
    all.filter_map(|backend| backend["api_key_file"].as_str()).map(PathBuf::from).collect()
}

/// Whether this is a problem of what stands in the file, as `keys_in` says it: another writes that, and may do so any moment.
pub(super) fn is_of_file(problem: &Problem) -> bool {
    problem.key.ends_with(".api_key_file") && problem.text.starts_with("names ")
}

/// Begins to read a file, unless that is under way.
fn begin(file: &Path, read: impl FnOnce(&Path) -> Seen + Send + 'static) -> Result<Arc<Reading>, String> {
    let mut under_way = UNDER_WAY.lock();
    if let Some(reading) = under_way.get(file) {
        return Ok(reading.clone());
    }
    let reading = Arc::new(Reading { since: clock::now(), seen: Mutex::default(), told: Condvar::new() });
    let (own, path) = (reading.clone(), file.to_owned());
    let run = move || {
        let seen = read(&path);
        // Whoever asks from now on wants what stands there from now on.
        UNDER_WAY.lock().remove(&path);
        *own.seen.lock() = Some(seen);
        own.told.notify_all();
    };
    let thread = thread::Builder::new().name("key".to_owned()).spawn(run);
    thread.map_err(|error| format!("names a file that cannot be read ({error}); free threads for this"))?;
    under_way.insert(file.to_owned(), reading.clone());
    Ok(reading)
}

impl Reading {
    /// What was seen. Once one has waited in vain, nobody waits: what hangs now has hung before.
    fn wait(&self, patience: Duration) -> Seen {
        let left = patience.saturating_sub(clock::now().saturating_sub(self.since));
        let mut seen = self.seen.lock();
        self.told.wait_while_for(&mut seen, |seen| seen.is_none(), left);
        let late = || {
            let secs = patience.as_secs();
            Err(format!("names a file that could not be read within {secs} s; mend its file system, or name another"))
        };
        let seen = seen.get_or_insert_with(late).clone();
        self.told.notify_all();
        seen
    }
}

fn read(file: &Path) -> Seen {
    if file.as_os_str().is_empty() {
        return Err("is empty; name a file with the key, or leave it out".to_owned());
    }
    let mut bytes = Vec::new();
    // Opening what is no regular file, such as a pipe, may block forever.
    if fs::metadata(file).is_ok_and(|seen| !seen.is_file()) {
        return Err("has to name a regular file; write the key into one".to_owned());
    }
    let read = File::open(file).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        return Err(format!("names a file that cannot be read ({error}); write the key into it, or another path"));
    }
    if bytes.len() as u64 > LARGEST {
        return Err(format!("names a file of more than {} KiB; write the key alone into it", LARGEST >> 10));
    }
    // What is no text has characters then that no header may carry.
    let text = String::from_utf8_lossy(&bytes);
    let key = text.trim_start_matches('\u{feff}').trim();
    if key.is_empty() {
        return Err("names an empty file; write the key into it".to_owned());
    }
    if key.contains(['\r', '\n']) {
        return Err("names a file of several lines; write the key alone into it".to_owned());
    }
    unusable(key).map_or_else(|| Ok(Secret::new(key.to_owned())), |why| Err(format!("names a file whose key {why}")))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::{
        super::{SMALL, parse},
        *,
    };

    fn key_in(file: &Path) -> Seen {
        keys_in(&[file.to_owned()]).remove(0)
    }

    /// What becomes of settings whose backend has these lines.
    fn told(lines: &str) -> String {
        let text = SMALL.replace("[models.m]", &format!("{lines}\n[models.m]"));
        parse("test", &text).map_or_else(|bad| bad.to_string(), |_| String::new())
    }

    #[test]
    fn a_key_stands_alone_in_its_file_whatever_blanks_are_around_it() {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let file = dir.path().join("token");
        for (text, key) in [("k-1", "k-1"), ("\u{feff}k-1\n", "k-1"), (" \n\tk-1 \r\n\n", "k-1"), ("k 1\n", "k 1")] {
            fs::write(&file, text).expect("a temporary file can be written");
            assert_eq!(key_in(&file).expect(text).reveal(), key);
        }
        fs::write(&file, "k".repeat(16 << 10)).expect("a temporary file can be written");
        assert!(key_in(&file).is_ok());
    }

    #[test]
    fn a_file_without_a_sound_key_is_a_problem_of_its_setting_that_shows_neither_path_nor_content() {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let file = dir.path().join("SECRETPATH");
        let line = format!("api_key_file = \"{}\"", file.display());
        let large = "SECRET".repeat(16 << 10);
        for (text, word) in [
            (None, "cannot be read"),
            (Some(""), "empty"),
            (Some(" \n\n"), "empty"),
            (Some("SECRET\nSECRET"), "several lines"),
            (Some("SECRET\rSECRET"), "several lines"),
            (Some(&*large), "16 KiB"),
            (Some("SECRET\u{e9}"), "no HTTP header"),
            (Some("SECRET\0"), "no HTTP header"),
            (Some("Bearer SECRET"), "no part of it"),
            (Some("\"SECRET\""), "quotes"),
        ] {
            if let Some(text) = text {
                fs::write(&file, text).expect("a temporary file can be written");
            }
            let told = told(&line);
            assert!(told.contains("1 problem ") && told.contains("\n  backends.a.api_key_file: names a"), "{told}");
            assert!(told.contains(word) && !told.contains("SECRET"), "{word}: {told}");
        }
        fs::write(&file, b"SECRET\xff").expect("a temporary file can be written");
        assert!(told(&line).contains("no HTTP header"));
        assert!(told("api_key_file = \"\"").contains("is empty; name a file"));
        for other in [dir.path(), Path::new("/dev/zero")] {
            assert!(told(&format!("api_key_file = \"{}\"", other.display())).contains("a regular file"));
        }
        fs::write(&file, "SECRET").expect("a temporary file can be written");
        assert_eq!(told(&line), "");
        let both = told(&format!("{line}\napi_key = \"SECRET\""));
        assert!(both.contains("backends.a.api_key: stands beside api_key_file") && !both.contains("SECRET"), "{both}");
    }

    #[test]
    fn a_file_that_hangs_keeps_one_thread_whoever_asks_and_is_read_anew_once_that_has_ended() {
        let (file, patience) = (Path::new("on a file system that is away"), Duration::from_millis(1));
        let (come_back, away) = mpsc::channel::<()>();
        let hangs = move |_: &Path| {
            let _ = away.recv();
            Err("the mount is back".to_owned())
        };
        let late = |seen: Seen| seen.is_err_and(|why| why.contains("could not be read within"));
        let first = begin(file, hangs).expect("there is a thread");
        assert!(late(first.wait(patience)));
        for _ in 0..3 {
            let next = begin(file, |_| panic!("a second thread")).expect("there is a thread");
            assert!(Arc::ptr_eq(&first, &next));
            // It would never end if it waited.
            assert!(late(next.wait(Duration::MAX)));
        }
        come_back.send(()).expect("it waits");
        while UNDER_WAY.lock().contains_key(file) {
            thread::yield_now();
        }
        let now = begin(file, |_| Ok(Secret::new("k-1".to_owned()))).expect("there is a thread");
        assert_eq!(now.wait(Duration::MAX).expect("a key").reveal(), "k-1");
    }

    #[test]
    fn the_files_of_all_backends_are_known_before_any_is_read() {
        let named = |text: &str| named(&toml::from_str(text).expect("TOML"));
        let all =
            "defaults.backend.api_key_file = \"d\"\n[backends]\na.api_key_file = \"a\"\nb.api_key_file = 7\nc = 1";
        assert_eq!(named(all), [PathBuf::from("a"), PathBuf::from("d")]);
        assert!(named("backends = []\ndefaults = 1").is_empty());
    }
}
