//! Owns which query parameters of a client go on to a backend: plain ones that do not look like a credential.

use crate::settings::is_credential;

/// Longest query that goes on, bytes; of a longer one nothing does.
const LONGEST: usize = 512;

/// The parameters that go on, as they came.
pub(super) fn passed_on(query: &str) -> Box<str> {
    if query.is_empty() || query.len() > LONGEST {
        return Box::default();
    }
    query.split('&').filter(|parameter| goes_on(parameter)).collect::<Vec<_>>().join("&").into()
}

fn goes_on(parameter: &str) -> bool {
    let name = parameter.split('=').next().unwrap_or_default();
    // An escaped name could be any name, and to some servers a ';' ends a parameter as '&' does.
    let is_plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.[]".contains(&b));
    let is_sound = parameter.bytes().all(|b| b.is_ascii_graphic() && !b";#\"<>\\^`{|}".contains(&b));
    is_plain && is_sound && !is_credential(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_go_on_as_they_came_but_for_credentials_and_what_is_not_plain() {
        let long = "a=".to_owned() + &"b".repeat(LONGEST);
        for (query, kept) in [
            ("beta=true", "beta=true"),
            ("beta=true&x=a%20b+c&flag&betas[]=1", "beta=true&x=a%20b+c&flag&betas[]=1"),
            ("key=secret&beta=true&api_key=secret&X-Api-Key=secret", "beta=true"),
            ("access_token=secret&Authorization=secret&X-Amz-Signature=secret", ""),
            ("k%65y=secret&a;key=secret&a=b;key=secret", ""),
            ("a=b c&a=\u{e9}&a=#b&&=&a=1", "a=1"),
            (&long, ""),
            ("", ""),
        ] {
            assert_eq!(&*passed_on(query), kept, "{query}");
        }
    }
}
