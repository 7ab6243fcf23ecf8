//! Owns finding a backend's own secrets in what it says: some quote the key that they do not take.

use memchr::memmem;

use super::Backend;

/// Shortest secret that is looked for in what a backend says: a shorter one is none, and may be part of any word.
const SECRET: usize = 8;

impl Backend {
    /// Whether something that it says has one of its own secrets in it.
    pub fn echoes(&self, said: &[u8]) -> bool {
        self.secrets().any(|secret| memmem::find(said, secret.as_bytes()).is_some())
    }

    /// Takes its own secrets out of what it says; whether there were any.
    pub fn hush(&self, said: &mut String) -> bool {
        let echoes = self.echoes(said.as_bytes());
        for secret in self.secrets().filter(|_| echoes) {
            *said = said.replace(secret, "…");
        }
        echoes
    }

    /// Its key, and what its own headers carry behind the name of a scheme.
    fn secrets(&self) -> impl Iterator<Item = &str> {
        let all = self.api_key.iter().chain(self.headers.values());
        all.filter_map(|value| value.reveal().rsplit(' ').next()).filter(|secret| secret.len() >= SECRET)
    }
}
