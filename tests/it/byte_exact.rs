//! The property behind the pass-through: whatever the body, only the reserved members are touched.

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use crate::{
    passthrough::one,
    support::{
        proxy::{HELLO_STREAM, Proxy},
        script::Answer,
        sse,
        upstream::Upstream,
    },
};

/// A member of an object: its key and its value as they are written.
type Member = (String, String);

fn blank() -> impl Strategy<Value = String> {
    "[ \n\r\t]{0,2}"
}

/// A string as it can be written in JSON.
fn string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[ -!#-\\[\\]-~]{0,4}",
        "[\u{a0}-\u{d7ff}\u{10000}-\u{10ffff}]{1,2}",
        prop::sample::select(vec![
            "\\\"",
            "\\\\",
            "\\/",
            "\\n",
            "\\u00e9",
            "\\ud83d\\ude00",
            "\\u0000",
            "{",
            "}",
            ",",
            "backend"
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

/// A word, with some of its letters written as escapes.
fn spelled(word: &'static str) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::bool::weighted(0.2), word.len()).prop_map(move |escape| {
        let letter = |(c, escape): (char, bool)| if escape { format!("\\u{:04x}", c as u32) } else { c.to_string() };
        format!("\"{}\"", word.chars().zip(escape).map(letter).collect::<String>())
    })
}

fn value() -> impl Strategy<Value = String> {
    let number = ["0", "-0", "1.0", "1e400", "-1.50E-7", "12345678901234567890123", "true", "false", "null"];
    let leaf = prop_oneof![string(), prop::sample::select(number.to_vec()).prop_map(str::to_owned)];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let key = prop_oneof![string(), Just("\"backend\"".to_owned()), Just("\"model\"".to_owned())];
        let member = (key, blank(), inner.clone()).prop_map(|(k, b, v)| format!("{k}{b}:{v}"));
        prop_oneof![
            (prop::collection::vec(inner, 0..3), blank()).prop_map(|(items, b)| format!("[{b}{}]", items.join(","))),
            (prop::collection::vec(member, 0..3), blank())
                .prop_map(|(members, b)| format!("{{{}{b}}}", members.join(","))),
        ]
    })
}

/// Members that a gateway has no business with, some of them with the names of other endpoints' members.
fn strangers() -> impl Strategy<Value = Vec<Member>> {
    let named = prop::sample::select(vec!["input", "prompt", "temperature", "models", "Backend", "model "])
        .prop_flat_map(spelled);
    let any = string().prop_map(|s| format!("\"x{}", &s[1..]));
    prop::collection::vec((prop_oneof![3 => any, 1 => named], value()), 0..5)
}

/// All members of a request in any order, and whether it goes by the name that the backend uses.
fn request() -> impl Strategy<Value = (Vec<Member>, bool)> {
    let model = prop_oneof![spelled("m"), spelled("alias")];
    let pin = prop::option::of((spelled("backend"), spelled("one")));
    let stream =
        prop::option::of((spelled("stream"), prop::sample::select(vec!["true", "false"]).prop_map(str::to_owned)));
    let messages = (spelled("messages"), value().prop_map(|v| format!("[{v}]")));
    (strangers(), (spelled("model"), model), messages, pin, stream)
        .prop_map(|(mut members, model, messages, pin, stream)| {
            let same = serde_json::from_str::<String>(&model.1).is_ok_and(|name| name == "m");
            members.extend([model, messages].into_iter().chain(pin).chain(stream));
            (members, same)
        })
        .prop_flat_map(|(members, same)| (Just(members).prop_shuffle(), Just(same)))
}

/// A request as text, each member with its own blanks, and the members' own texts.
fn written() -> impl Strategy<Value = (String, Vec<(Member, String)>, bool)> {
    request().prop_flat_map(|(members, same)| {
        let blanks = prop::collection::vec([blank(), blank(), blank(), blank()], members.len());
        (Just(members), blanks, Just(same)).prop_map(|(members, blanks, same)| {
            let (mut text, mut pieces) = ("{".to_owned(), Vec::new());
            for (n, ((key, value), [before, a, b, after])) in members.into_iter().zip(blanks).enumerate() {
                let comma = if n == 0 { "" } else { "," };
                let colon = format!("{a}:{b}");
                text.push_str(&[comma, &before, &key, &colon, &value, &after].concat());
                pieces.push(((key, value), colon));
            }
            (text + "}", pieces, same)
        })
    })
}

/// What is left of `text` behind `piece`, with blanks before it skipped.
fn behind<'t>(text: &'t str, piece: &str) -> Result<&'t str, TestCaseError> {
    let text = text.trim_start_matches([' ', '\n', '\r', '\t']);
    text.strip_prefix(piece).ok_or_else(|| TestCaseError::fail(format!("no {piece:?} at {text:?}")))
}

#[test]
fn whatever_the_body_only_the_reserved_members_are_touched() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (upstream, proxy) = runtime.block_on(async {
        let upstream = Upstream::saying("hi").await;
        let proxy = Proxy::start(&one(&upstream)).await;
        (upstream, proxy)
    });
    let config = Config { cases: 300, max_shrink_iters: 200, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&written(), |(sent, pieces, same)| {
        let reply = runtime.block_on(proxy.chat(sent.clone()));
        prop_assert_eq!(reply.status(), 200, "{}", reply.text());
        let got = upstream.last().text();
        let is = |key: &str, word: &str| serde_json::from_str::<String>(key).is_ok_and(|key| key == word);
        let pinned = pieces.iter().any(|((key, _), _)| is(key, "backend"));
        if same && !pinned {
            prop_assert_eq!(&got, &sent);
        }
        let mut rest = behind(&got, "{")?;
        let kept: Vec<_> = pieces.iter().filter(|((key, _), _)| !is(key, "backend")).collect();
        for (n, ((key, value), colon)) in kept.iter().enumerate() {
            let value = if is(key, "model") && !same { "\"real-name\"" } else { value };
            rest = behind(if n == 0 { rest } else { behind(rest, ",")? }, &format!("{key}{colon}{value}"))?;
        }
        prop_assert_eq!(behind(rest, "}")?, "");
        Ok(())
    });
    drop(proxy);
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

#[tokio::test]
async fn a_stream_with_long_line_ends_goes_out_as_it_came_wherever_it_is_cut() {
    let whole = [sse::role(), sse::text("Hel"), sse::text("lo"), sse::finish(), sse::DONE.to_owned()].concat();
    let whole = whole.replace('\n', "\r\n");
    let cuts: Vec<usize> = whole.match_indices('\n').map(|(at, _)| at).collect();
    let (sent, at) = (whole.clone(), cuts.clone());
    let upstream = Upstream::start(move |number, _| {
        let (head, tail) = sent.split_at(at[number]);
        Answer::stream().chunk(head).chunk(tail).end()
    })
    .await;
    let proxy = Proxy::start(&one(&upstream)).await;
    for cut in cuts {
        assert_eq!(proxy.chat(HELLO_STREAM).await.text(), whole, "cut at {cut}");
    }
}
