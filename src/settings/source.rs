//! Owns where settings come from, and whether what stands there now has been read already.

use std::{net::SocketAddr, path::PathBuf};

use parking_lot::Mutex;

use super::{BadSettings, Settings, TokenDigest, digest, load, parse};

/// Where settings come from, at the start and at each reload.
#[derive(Debug)]
pub struct Source {
    file: PathBuf,
    bind: Option<SocketAddr>,
    /// What was read last to be installed.
    read: Mutex<Print>,
}

/// What stands in a settings file; `None`: it cannot be read. A digest, as the text has secrets in it.
pub type Print = Option<TokenDigest>;

impl Source {
    /// A file, and the listening address as given on the command line, which outranks the file's.
    pub fn new(file: PathBuf, bind: Option<SocketAddr>) -> Self {
        Self { file, bind, read: Mutex::default() }
    }

    /// Reads the settings as they are now; tells what stands there, too, to be noted where they are to be installed.
    pub fn load(&self) -> (Print, Result<Settings, BadSettings>) {
        let text = load::text(&self.file);
        (print(&text), text.and_then(|text| self.parsed(&text)))
    }

    fn parsed(&self, text: &str) -> Result<Settings, BadSettings> {
        let mut settings = parse(&self.file.display().to_string(), text)?;
        settings.server.bind = self.bind.unwrap_or(settings.server.bind);
        Ok(settings)
    }

    /// This has been read to be installed.
    pub fn note(&self, read: Print) {
        *self.read.lock() = read;
    }

    /// What stands there now. Read to the end each time: neither a time of change, which some file systems tell coarsely or
    /// late, nor another file under the same name (an editor's, a link that Kubernetes has moved) can be missed.
    pub fn look(&self) -> Print {
        print(&load::text(&self.file))
    }

    /// Whether this was the last to be read.
    pub fn has_read(&self, seen: Print) -> bool {
        *self.read.lock() == seen
    }
}

fn print(text: &Result<String, BadSettings>) -> Print {
    text.as_deref().ok().map(digest)
}
