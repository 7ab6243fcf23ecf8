//! Owns the settings of traces: which collector they go to, whose share of requests is told, and how much may wait for it.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

use super::{
    Address, Secret,
    headers::read_headers,
    section::{Problems, Section},
};

/// Most spans that may wait: memory is taken for them while nothing can be sent.
const MOST_SPANS: u64 = 1_000_000;

/// Most spans in one request to the collector: at some 1.5 KiB each, and collectors take bodies of 20 MiB.
const LARGEST_BATCH: u64 = 10_000;

/// `[traces]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Traces {
    /// Where they go; `None`: there are none.
    pub collector: Option<Collector>,
    /// Share of the requests without a trace of their own that begin one, from 0 to 1.
    pub sample: f64,
    /// `service.name` of what is told.
    pub service: String,
    /// Longest time that a span waits for others to go along with.
    pub flush_every: Duration,
    /// Most spans in one request to the collector.
    pub batch: usize,
    /// Spans that may wait to be sent; more are dropped and counted.
    pub queue: usize,
    /// How long the collector may take to answer.
    pub timeout: Duration,
}

/// What takes traces by `OpenTelemetry`'s protocol, OTLP over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collector {
    /// The whole URL; it has no credentials in it.
    pub url: String,
    /// Where that leads.
    pub address: Address,
    /// Extra request headers.
    pub headers: BTreeMap<String, Secret>,
}

impl Traces {
    pub(super) fn read(value: Value, problems: &Problems) -> Self {
        let mut s = Section::open("traces", value, problems);
        let url: String = s.value("endpoint");
        let headers = read_headers(&mut s, problems);
        let address = match url.as_str() {
            "" => None,
            url => Address::of_collector(url).map_err(|why| s.problem("endpoint", why)).ok(),
        };
        let collector = address.map(|address| Collector { url, address, headers });
        let sample = s.share("sample");
        let service: String = s.value("service");
        if service.trim().is_empty() {
            s.problem("service", "is empty; name the service as your traces shall show it, such as \"greenroom\"");
        }
        let flush_every = s.pause("flush_every");
        let (batch, queue): (usize, usize) = (s.count("batch", LARGEST_BATCH), s.count("queue", MOST_SPANS));
        if queue < batch && batch as u64 <= LARGEST_BATCH {
            s.clash("queue", &["queue", "batch"], "is less than `batch`, so that no whole batch could ever wait");
        }
        let timeout = s.time("timeout");
        s.finish();
        Self { collector, sample, service, flush_every, batch, queue, timeout }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BadSettings, SMALL, Settings, parse};

    fn read(lines: &str) -> Result<Settings, BadSettings> {
        parse("test", &format!("{SMALL}\n[traces]\n{lines}\n"))
    }

    #[test]
    fn every_problem_is_told_with_its_key_and_no_value() {
        let endpoint = "endpoint = \"http://h/v1/traces\"";
        for (lines, keys) in [
            ("endpoint = \"127.0.0.1:4318\"", &["endpoint"][..]),
            ("endpoint = \"http://user:sk-live@h/v1/traces\"\nsample = 1.1", &["endpoint", "sample"]),
            ("sample = -0.1\nservice = \" \"\nflush_every = \"1ns\"", &["flush_every", "sample", "service"]),
            ("batch = 0\nqueue = 1000001\ntimeout = \"0s\"", &["batch", "queue", "timeout"]),
            ("batch = 10001", &["batch"]),
            ("batch = 20\nqueue = 10", &["queue"]),
            ("headers = { x = 7, host = \"sk-live\" }", &["headers.host", "headers.x"]),
            ("headers = { authorization = \"${NOT_SET_ANYWHERE}\" }", &["headers.authorization"]),
            ("endpont = \"sk-live\"", &["endpont"]),
        ] {
            for text in
                [lines.to_owned(), format!("{lines}\n{}", if lines.contains("endpoint") { "" } else { endpoint })]
            {
                let bad = read(&text).expect_err(lines);
                let told: Vec<&str> = bad.problems.iter().filter_map(|p| p.key.strip_prefix("traces.")).collect();
                assert!(told == keys && !bad.to_string().contains("sk-live"), "{bad}");
            }
        }
    }

    #[test]
    fn without_an_endpoint_there_are_no_traces_and_with_one_its_headers_are_secrets() {
        assert_eq!(read("headers = { x = \"sk-live\" }").expect("good settings").traces.collector, None);
        let lines =
            "endpoint = \"https://h:1/v1/traces\"\nheaders = { x = \"sk-live\" }\nbatch = 10000\nqueue = 1000000";
        let traces = read(lines).expect("good settings").traces;
        assert!(!format!("{traces:?}").contains("sk-live"), "{traces:?}");
        let collector = traces.collector.expect("a collector");
        assert_eq!(collector.headers["x"].reveal(), "sk-live");
    }
}
