//! Owns where a backend or a collector of traces is, as its URL says: host, port, and whether TLS is spoken there.

use std::net::IpAddr;

use actix_web::http::Uri;

/// What a base URL ends with where the address of an endpoint was copied.
const ENDPOINTS: [&str; 2] = ["/chat/completions", "/messages"];

/// Where to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Name or IP address, the latter without brackets.
    pub host: String,
    /// The port as written, else the scheme's own.
    pub port: u16,
    /// TLS is spoken.
    pub secure: bool,
}

/// What to write instead of a URL that cannot be used.
struct Words {
    no_url: &'static str,
    no_host: &'static str,
    too_much: &'static str,
}

const OF_BACKENDS: Words = Words {
    no_url: "is not a URL; write for example \"https://api.openai.com/v1\"",
    no_host: "has no host name; write for example \"https://api.openai.com/v1\"",
    too_much: "must be scheme, host and path only; put credentials into api_key",
};

const OF_COLLECTORS: Words = Words {
    no_url: "is not a URL; write for example \"http://127.0.0.1:4318/v1/traces\"",
    no_host: "has no host name; write for example \"http://127.0.0.1:4318/v1/traces\"",
    too_much: "must be scheme, host and path only; put credentials into headers",
};

impl Address {
    /// Reads a base URL; an error tells what to write instead.
    pub(super) fn of(url: &str) -> Result<Self, &'static str> {
        let (address, uri) = Self::read(url, &OF_BACKENDS)?;
        if ENDPOINTS.iter().any(|endpoint| uri.path().trim_end_matches('/').ends_with(endpoint)) {
            return Err(
                "ends with an endpoint, which Greenroom adds itself; take that away, as in \"https://api.openai.com/v1\"",
            );
        }
        Ok(address)
    }

    /// Reads the whole URL at which a collector takes traces; an error tells what to write instead.
    pub(super) fn of_collector(url: &str) -> Result<Self, &'static str> {
        let (address, uri) = Self::read(url, &OF_COLLECTORS)?;
        if uri.path().trim_matches('/').is_empty() {
            return Err("has no path; collectors take traces at /v1/traces, as in \"http://127.0.0.1:4318/v1/traces\"");
        }
        Ok(address)
    }

    /// Whether others on the way may read what is sent there: no TLS, and as far as its name shows it is neither this machine nor
    /// in its network. Names of one part, and those under the domains kept for such networks, are not public (RFC 6761, 6762,
    /// 8375; ICANN's `.internal`; Kubernetes' `.svc`).
    pub(super) fn is_overheard(&self) -> bool {
        const NEAR: [&str; 7] = ["localhost", "local", "internal", "lan", "arpa", "svc", "test"];
        let is_near = match self.host.parse() {
            Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
            Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
            Err(_) => {
                let host = self.host.trim_end_matches('.');
                host.rsplit_once('.').is_none_or(|(_, top)| NEAR.iter().any(|near| top.eq_ignore_ascii_case(near)))
            }
        };
        !self.secure && !is_near
    }

    fn read(url: &str, words: &Words) -> Result<(Self, Uri), &'static str> {
        if url.contains(char::is_whitespace) {
            return Err("has a blank or a line end in it; take it away");
        }
        let uri: Uri = url.parse().map_err(|_| words.no_url)?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err("must start with http:// or https://"),
        };
        let host = uri.host().unwrap_or_default();
        if host.is_empty() {
            return Err(words.no_host);
        }
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if uri.query().is_some() || url.contains('#') || authority.contains('@') {
            return Err(words.too_much);
        }
        // Read here, since the parser's own answer for a port out of range is that there is none.
        let port = match authority.strip_prefix(host) {
            Some("") => Some(if secure { 443 } else { 80 }),
            after => after.and_then(|text| text.strip_prefix(':')).and_then(number),
        };
        let port = port.ok_or("has a port that does not exist; it must be from 1 to 65535")?;
        Ok((Self { host: host.trim_matches(['[', ']']).to_owned(), port, secure }, uri))
    }
}

/// Digits only: a sign before them is no part of a port.
fn number(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_the_one_written_or_the_schemes_own() {
        let of = |url: &str| Address::of(url).map(|address| (address.host, address.port, address.secure));
        let at = |host: &str, port, secure| Ok((host.to_owned(), port, secure));
        assert_eq!(of("https://api.example.com/v1"), at("api.example.com", 443, true));
        assert_eq!(of("http://api.example.com"), at("api.example.com", 80, false));
        assert_eq!(of("http://127.0.0.1:65535/v1"), at("127.0.0.1", 65535, false));
        assert_eq!(of("http://[::1]:8080/v1"), at("::1", 8080, false));
        assert_eq!(of("https://[::1]/v1"), at("::1", 443, true));
    }

    #[test]
    fn what_is_sent_in_the_clear_beyond_the_own_network_is_told_from_the_rest() {
        let is_overheard = |url: &str| Address::of(url).is_ok_and(|address| address.is_overheard());
        for near in [
            "https://api.example.com",
            "http://localhost:1",
            "http://127.0.0.2",
            "http://10.1.2.3/v1",
            "http://192.168.0.9",
            "http://169.254.0.9",
            "http://[::1]:8080",
            "http://[fd00::1]",
            "http://[fe80::1]",
            "http://vllm:8000/v1",
            "http://vllm.default.svc:8000",
            "http://vllm.default.svc.cluster.local",
            "http://host.docker.internal",
        ] {
            assert!(!is_overheard(near), "{near}");
        }
        for far in ["http://api.example.com/v1", "http://8.8.8.8", "http://172.32.0.1", "http://[2001:db8::1]"] {
            assert!(is_overheard(far), "{far}");
        }
    }

    #[test]
    fn a_blank_in_a_url_is_named() {
        for url in ["https://api.example.com/v1 ", " https://api.example.com/v1", "https://api.example.com/v1\n"] {
            assert!(Address::of(url).is_err_and(|why| why.contains("blank")), "{url:?}");
        }
    }

    #[test]
    fn the_address_of_an_endpoint_is_no_base_url() {
        for endpoint in ["v1/chat/completions", "v1/chat/completions/", "v1/messages", "messages"] {
            let url = format!("https://api.example.com/{endpoint}");
            assert!(Address::of(&url).is_err_and(|why| why.contains("endpoint")), "{url}");
        }
        for base in ["", "/v1", "/chat/completions/v1", "/my-messages", "/completions"] {
            assert!(Address::of(&format!("https://api.example.com{base}")).is_ok(), "{base}");
        }
    }

    #[test]
    fn a_collector_is_named_with_the_path_at_which_it_takes_traces() {
        let of = |url: &str| Address::of_collector(url).map(|address| (address.host, address.port));
        assert_eq!(of("http://127.0.0.1:4318/v1/traces"), Ok(("127.0.0.1".to_owned(), 4318)));
        assert_eq!(of("https://otel.example.com/any/path"), Ok(("otel.example.com".to_owned(), 443)));
        for bad in ["http://127.0.0.1:4318", "http://127.0.0.1:4318/", "127.0.0.1:4318", "grpc://h/v1/traces"] {
            assert!(of(bad).is_err(), "{bad}");
        }
        for more in ["http://user:key@h/v1/traces", "http://h/v1/traces?key=x", "http://h/v1/traces#x"] {
            assert!(of(more).is_err_and(|why| why.contains("headers")), "{more}");
        }
    }

    #[test]
    fn a_port_that_does_not_exist_is_refused_and_no_other_taken_in_its_place() {
        for port in ["0", "65536", "99999", "", "-1", "+80", "8o", "80:80"] {
            for host in ["127.0.0.1", "[::1]", "api.example.com"] {
                let url = format!("http://{host}:{port}/v1");
                assert!(Address::of(&url).is_err(), "{url}");
            }
        }
    }
}
