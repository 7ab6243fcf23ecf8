//! Owns a volume with a key in it, as Kubernetes mounts one.

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use tempfile::TempDir;

/// A volume as Kubernetes mounts a secret: the file is a link through `..data`, which is moved to the next version in one step.
pub(crate) struct Volume(TempDir);

impl Volume {
    pub(crate) fn with(key: &str) -> Self {
        let volume = Self(tempfile::tempdir().expect("a temporary directory can be made"));
        volume.publish(key);
        symlink("..data/token", volume.file()).expect("a link can be made");
        volume
    }

    pub(crate) fn publish(&self, key: &str) {
        let (dir, version) = (self.0.path(), format!("..{key}"));
        fs::create_dir(dir.join(&version)).expect("a folder can be made");
        fs::write(dir.join(&version).join("token"), format!("{key}\n")).expect("a temporary file can be written");
        symlink(version, dir.join("..next")).expect("a link can be made");
        fs::rename(dir.join("..next"), dir.join("..data")).expect("a link can be moved");
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.0.path().join("token")
    }
}
