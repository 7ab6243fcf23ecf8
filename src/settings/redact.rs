//! Owns finding a backend's own secrets in what it says: some quote the key that they do not take.

use memchr::memmem;

use super::{Backend, secret::is_credential};

/// Shortest secret that is looked for in what a backend says: a shorter one is none, and may be part of any word.
const SECRET: usize = 8;

impl Backend {
    /// Whether something that it says has one of its own secrets in it.
    pub fn quotes_secret(&self, said: &[u8]) -> bool {
        self.secrets().any(|secret| memmem::find(said, secret.as_bytes()).is_some())
    }

    /// Takes its own secrets out of what it says; whether there were any.
    pub fn redact(&self, said: &mut String) -> bool {
        let quoted = self.quotes_secret(said.as_bytes());
        for secret in self.secrets().filter(|_| quoted) {
            *said = said.replace(secret, "…");
        }
        quoted
    }

    /// Its key, and what those of its headers that are credentials carry behind the name of a scheme.
    fn secrets(&self) -> impl Iterator<Item = &str> {
        let headers = self.headers.iter().filter(|(name, _)| is_credential(name)).map(|(_, value)| value);
        let all = self.api_key.iter().chain(headers);
        all.filter_map(|value| value.reveal().rsplit(' ').next()).filter(|secret| secret.len() >= SECRET)
    }
}

#[cfg(test)]
mod tests {
    use crate::settings;

    #[test]
    fn the_key_and_credentials_in_headers_are_secrets_and_other_headers_are_none() {
        let headers = "base_url = \"http://127.0.0.1:9/v1\"\napi_key = \"sk-of-backend\"\n\
                       headers = { \"X-Title\" = \"Greenroom\", \"Proxy-Authorization\" = \"Basic of-the-proxy\" }";
        let text = settings::SMALL.replacen("base_url = \"http://127.0.0.1:9/v1\"", headers, 1);
        let settings = settings::parse("test", &text).expect("sound settings");
        let backend = settings.backends.values().next().expect("one");
        for (said, redacted) in [
            ("Greenroom asked in the name of sk-of-backend", "Greenroom asked in the name of …"),
            ("of-the-proxy is not allowed", "… is not allowed"),
            ("Greenroom is not allowed", "Greenroom is not allowed"),
        ] {
            let mut told = said.to_owned();
            assert_eq!((backend.redact(&mut told), told.as_str()), (said != redacted, redacted));
        }
    }
}
