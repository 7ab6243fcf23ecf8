//! Owns composition: actors, workers, listeners, and the order in which everything stops.

use std::{
    future::Future,
    io, iter,
    net::TcpListener,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use actix_rt::net::TcpStream;
use actix_service::{fn_factory, fn_service};
use actix_web::{
    App, HttpServer,
    dev::{Server, ServerHandle},
};
use futures_util::{
    FutureExt,
    future::{Either, join, select, try_join, try_join_all},
};
use tokio::{signal::unix::Signal, time::sleep};

use crate::{
    clock,
    exchange::Worker,
    inbound::{self, Door, Shared, reload, rotate},
    settings::{self, Settings, Source},
    supervision,
    telemetry::{counts::Counts, traces::Traces},
};

/// Time for the last error frames to be written out after the drain is over.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Time for the collector of traces to take the last spans; where Greenroom is told to stop at once, as for last words.
const LAST_SPANS: Duration = Duration::from_secs(5);

/// Time for error frames where Greenroom is told to stop at once.
const CUT: Duration = Duration::from_millis(100);

/// Connections per worker; leases bound the work, this bounds the sockets.
const CONNECTIONS: usize = 60_000;

/// What to serve, and where.
pub struct Serving {
    /// Settings.
    pub settings: Settings,
    /// The clients' listener.
    pub clients: TcpListener,
    /// The operators' own listener.
    pub operators: Option<TcpListener>,
    /// Where the settings are read again on reload.
    pub source: Option<Source>,
    /// Asks for that; made before anybody is told that Greenroom listens, since it kills a process that has none.
    pub hangup: Signal,
}

/// Serves until `stop` is ready, then drains; ready a second time, `stop_now` ends at once.
pub async fn run(
    serving: Serving,
    stop: impl Future<Output = ()>,
    stop_now: impl Future<Output = ()>,
) -> io::Result<()> {
    let Serving { settings, clients, operators, source, hangup } = serving;
    let (server, history, traces) = (settings.server.clone(), settings.history.clone(), settings.traces.clone());
    let counts = Arc::new(Counts::default());
    let (overseer, installed) = supervision::start(settings, counts.clone());
    let mut shared = Shared::new(installed, overseer, counts, source);
    if history.enabled {
        shared.history = supervision::start_recorder(history, shared.counts.clone(), &shared.installed).await;
        if let Some(history) = &shared.history {
            shared.installed.load().restore(&history.days().await, clock::now());
        }
    }
    shared.traces = supervision::start_exporter(&traces, shared.counts.clone());
    actix_rt::spawn(clock::follow());
    actix_rt::spawn(reload::when_told(shared.clone(), hangup));
    actix_rt::spawn(reload::when_changed(shared.clone()));
    actix_rt::spawn(rotate::when_rotated(shared.clone()));
    let main = clients_server(&shared, &server, clients, operators.is_none())?;
    let admin = operators.map(|listener| operators_server(&shared, listener)).transpose()?;
    let (clients, operating) = (main.handle(), admin.as_ref().map(Server::handle));
    let serving = try_join_all(iter::once(main).chain(admin));
    let ending = async {
        stop.await;
        drain(&shared, &clients, server.drain_settle, server.drain_timeout).await;
        // Last, so that operators see the whole drain: who still runs, and that readiness is off.
        if let Some(operating) = operating {
            operating.stop(false).await;
        }
    };
    let in_peace = async {
        // A server that cannot start has ended, and then nobody is told to stop.
        let ended = try_join(serving, ending.map(Ok)).await;
        last_records(&shared, false, LAST_SPANS).await;
        ended
    };
    match select(std::pin::pin!(in_peace), std::pin::pin!(stop_now)).await {
        Either::Left((ended, _)) => ended.map(|_| ()),
        Either::Right(_) => {
            log::warn!("stopping at once");
            shared.cut.notify_waiters();
            sleep(CUT).await;
            last_records(&shared, true, LAST_WORDS).await;
            Ok(())
        }
    }
}

/// The clients' own server, on all workers; `mixed`: operators are served there, too.
fn clients_server(
    shared: &Shared,
    server: &settings::Server,
    listener: TcpListener,
    mixed: bool,
) -> io::Result<Server> {
    let grace = server.drain_timeout + 2 * LAST_WORDS;
    let builder = Server::build()
        .workers(server.workers)
        .max_concurrent_connections(CONNECTIONS)
        .shutdown_timeout(grace.as_secs().max(1))
        .disable_signals();
    let (stopping, keep_alive, shared) = (builder.graceful_shutdown_signal(), server.keep_alive, shared.clone());
    let blame = Arc::default();
    let door = move || {
        let (installed, counts) = (shared.installed.clone(), shared.counts.clone());
        let start_router = move || supervision::start_router(&installed, counts.clone());
        let traces = shared.traces.as_ref().map(Traces::feed);
        let listener = shared.listener(traces.clone());
        let worker = Worker::new(start_router, shared.installed.clone(), listener, traces, Arc::clone(&blame));
        let worker = Rc::new(worker);
        let (shared, stopping) = (shared.clone(), stopping.clone());
        async move {
            let (known, of) = (shared.clone(), worker.clone());
            let stopping = async move { stopping.notified().await };
            let door = Door::open(shared, worker, keep_alive, stopping, move |config| {
                inbound::client_routes(config, known, of);
                if mixed {
                    inbound::admin_routes(config);
                }
            });
            let door = door.await?;
            Ok::<_, ()>(fn_service(move |io: TcpStream| door.clone().serve(io).map(Ok::<_, ()>)))
        }
    };
    Ok(builder.listen("clients", listener, move || fn_factory(door.clone()))?.run())
}

/// The operators' own server.
fn operators_server(shared: &Shared, listener: TcpListener) -> io::Result<Server> {
    let shared = shared.clone();
    let app = move || {
        let shared = shared.clone();
        App::new().configure(|config| inbound::admin_only_routes(config, shared))
    };
    Ok(HttpServer::new(app).workers(1).disable_signals().shutdown_timeout(1).listen(listener)?.run())
}

/// What was gathered of requests goes where it belongs, to a slow disk and a slow collector at the same time.
async fn last_records(shared: &Shared, at_once: bool, patience: Duration) {
    let history = async {
        if let Some(history) = &shared.history {
            history.close(at_once).await;
        }
    };
    let traces = async {
        if let Some(traces) = &shared.traces {
            traces.close(at_once, patience).await;
        }
    };
    join(history, traces).await;
}

/// Not ready at once; no new work after the settle time; running streams until the timeout, then their last words.
async fn drain(shared: &Shared, clients: &ServerHandle, settle: Duration, timeout: Duration) {
    log::info!("draining: readiness is off, running requests have {} s", timeout.as_secs_f64());
    shared.draining.store(true, Relaxed);
    sleep(settle).await;
    shared.closed.store(true, Relaxed);
    let stopping = clients.stop(true);
    let cutting = async {
        sleep(timeout).await;
        log::warn!("drain timeout: streams that still run are ended with an error");
        shared.cut.notify_waiters();
        sleep(LAST_WORDS).await;
        clients.stop(false).await;
    };
    select(std::pin::pin!(stopping), std::pin::pin!(cutting)).await;
    log::info!("drained");
}
