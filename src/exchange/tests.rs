//! Owns the test of what a panic costs where no part of an exchange has a guard of its own.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix::Actor;
use arc_swap::ArcSwap;
use bytes::Bytes;
use foldhash::HashMap;
use tokio::time::Instant;

use super::{Request, Worker, respond, surface::Surface};
use crate::{
    clock,
    error::Class,
    router::{
        Router,
        local::LocalRouter,
        table::{Installed, Table},
    },
    settings::{self, Failover},
    telemetry::story::{Listener, Story, Telling},
    wire::envelope,
};

#[actix::test]
async fn a_panic_is_told_once_as_a_failure_of_ours_and_not_as_a_client_that_left() {
    let settings = settings::parse("test", settings::SMALL).expect("sound settings");
    let table = Table::build(Arc::new(settings.clone()), HashMap::default(), 0);
    let installed: Installed = Arc::new(ArcSwap::from_pointee(table));
    let told = Rc::new(RefCell::new(Vec::new()));
    let heard = told.clone();
    let listener: Listener =
        Rc::new(move |story| heard.borrow_mut().extend(story.take().map(|story| (story.status, story.class))));
    let of = installed.clone();
    let start_router = move || LocalRouter::start(Router::new(of.clone()), Actor::start);
    let worker = Rc::new(Worker::new(start_router, installed, listener.clone(), None, Arc::default()));
    let user = Arc::new(settings.users["u"].clone());
    let body = Bytes::from_static(br#"{"model":"m","stream":true,"messages":[]}"#);
    let request = Request {
        telling: Telling::new(
            Story::begun("req_1".into(), user, "m".into(), "chat", None, true, clock::now()),
            listener,
        ),
        pin: None,
        surface: Surface::Chat,
        stream: true,
        envelope: envelope::read(&body).expect("it is an object"),
        body,
        query: Box::default(),
        extra: Vec::new(),
        trace: Vec::new(),
        checked: Cell::default(),
        deadline: Instant::now() + Duration::from_secs(9),
        explain: false,
        prompt_tokens: 1,
        affinity: None,
        route: None,
        is_retry: false,
        // Settings have a bound for it: no moment is so far away.
        failover: Failover { keepalive_after: Duration::MAX, ..settings.failover },
    };
    let reply = respond(worker, Rc::new(request)).await;
    assert_eq!(reply.status, 500);
    drop(reply);
    assert_eq!(*told.borrow(), [(500, Some(Class::GatewayInternal))]);
}
