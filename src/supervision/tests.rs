//! Owns the tests of what the Overseer starts, where an actor's own unit tests cannot reach a guard.

use std::{sync::Arc, time::Duration};

use actix::MailboxError;
use foldhash::HashMap;
use serde_json::Value;
use tokio::time::Instant;

use super::{build_table, start, start_router};
use crate::{
    backend::entry::Want,
    clock,
    error::Error,
    router::{
        local::LocalRouter,
        messages::{Assign, Refusal},
    },
    settings::{self, Backend, Settings},
    telemetry::counts::Counts,
};

/// More than a router needs to be rebuilt.
const PATIENCE: Duration = Duration::from_secs(60);

fn settings() -> Settings {
    settings::parse("test", settings::SMALL).expect("sound settings")
}

fn ask(settings: &Settings, able: fn(&Backend) -> bool) -> Assign {
    Assign {
        now: clock::now(),
        model: "m".into(),
        user: Arc::new(settings.users["u"].clone()),
        pin: None,
        tried: Vec::new(),
        context_above: None,
        able,
        want: Want::Whole,
        beside_chat: None,
        prompt_tokens: 1,
        affinity: None,
        explain: false,
    }
}

fn entry(counts: &Counts) -> Value {
    let lines = serde_json::to_value(counts.actors.lines()).expect("plain data");
    lines.as_array().and_then(|all| all.iter().find(|line| line["actor"] == "router")).expect("the routers").clone()
}

#[actix::test]
async fn a_router_that_panics_while_it_is_asked_in_place_is_rebuilt_and_answers_again() {
    tokio::time::pause();
    let (settings, counts) = (settings(), Arc::new(Counts::default()));
    let (_overseer, installed) = start(settings.clone(), counts.clone());
    let router = start_router(&installed, counts.clone());
    let asked = |router: &LocalRouter, able: fn(&Backend) -> bool, within: Duration| {
        router.assign(ask(&settings, able), Instant::now() + within)
    };
    let answers = async |router: &LocalRouter| asked(router, |_| true, PATIENCE).await.map(|found| found.is_ok());
    assert_eq!(answers(&router).await, Ok(true));
    let lost = asked(&router, |_| panic!("in place"), PATIENCE).await;
    assert_eq!(lost.map(|_| ()), Err(MailboxError::Closed));
    // While the router is away nobody waits for it beyond the time there is.
    let hasty = asked(&router, |_| true, Duration::from_millis(1)).await;
    assert_eq!(hasty.map(|_| ()), Err(MailboxError::Timeout));
    // Waits in the mailbox until the router is back.
    assert_eq!((answers(&router).await, &entry(&counts)["restarts"]), (Ok(true), &1.into()));
    assert_eq!(entry(&counts)["last_cause"], "in place");
    for _ in 0..10 {
        assert_eq!(entry(&counts)["given_up"], false);
        let lost = asked(&router, |_| panic!("again"), PATIENCE).await;
        assert_eq!(lost.map(|_| ()), Err(MailboxError::Closed));
        let _ = answers(&router).await;
    }
    assert_eq!(entry(&counts)["given_up"], true);
    assert_eq!(answers(&router).await, Err(MailboxError::Closed));
}

#[actix::test]
async fn a_model_that_a_reload_adds_is_there_for_the_next_request() {
    let (settings, counts) = (settings(), Arc::new(Counts::default()));
    let (_overseer, installed) = start(settings.clone(), counts.clone());
    let router = start_router(&installed, counts);
    let answer = async || {
        router.assign(Assign { model: "new".into(), ..ask(&settings, |_| true) }, Instant::now()).await.expect("alive")
    };
    assert!(matches!(answer().await, Err(Refusal { error: Error::ModelNotFound(_), .. })));
    let mut more = settings.clone();
    more.models.insert("new".into(), settings.models["m"].clone());
    installed.store(Arc::new(build_table(more, &HashMap::default())));
    assert!(answer().await.is_ok());
}
