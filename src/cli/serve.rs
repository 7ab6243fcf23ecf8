//! Owns `greenroom serve`: settings, listeners, signals, and the first words to the user.

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;
use tokio::{
    net::TcpSocket,
    signal::unix::{SignalKind, signal},
};

use super::{BAD_SETTINGS, NO_KEYS_YET, complain, say};
use crate::{
    app,
    settings::{self, BadSettings, Settings, Source},
    simulator,
    telemetry::{self, log::Form},
};

/// Sockets that may wait to be accepted: a burst of a thousand clients is no reason to keep any waiting.
const BACKLOG: u32 = 4096;

/// Run the proxy
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  greenroom serve --demo")]
pub(super) struct Serve {
    /// Serve four simulated providers, to try things out
    #[arg(long, conflicts_with = "config")]
    demo: bool,
    /// The settings file
    #[arg(long, value_name = "FILE", default_value = "settings/greenroom.toml")]
    config: PathBuf,
    /// Address to listen on, in place of `server.bind`
    #[arg(long, value_name = "ADDR")]
    bind: Option<SocketAddr>,
    /// How the log is written
    #[arg(long, value_parser = ["text", "json"], default_value = "text", env = "GREENROOM_LOG_FORMAT", value_name = "FORMAT")]
    log_format: String,
}

pub(super) fn run(serve: &Serve) -> ExitCode {
    telemetry::log::init(if serve.log_format == "json" { Form::Json } else { Form::Text });
    // Two sockets a stream: the usual soft limit of 1,024 would end at five hundred.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        log::warn!("the limit of open files stays as it is: {error}");
    }
    actix::System::new().block_on(async {
        // Held until the end: the simulated providers stop with it.
        let mut providers = Vec::new();
        let source = (!serve.demo).then(|| Source::new(serve.config.clone(), serve.bind));
        let settings = match load(serve, source.as_ref(), &mut providers) {
            Ok(settings) => settings,
            Err(bad) => {
                let code = if bad.lacks_keys_alone() { NO_KEYS_YET } else { BAD_SETTINGS };
                complain(bad);
                return ExitCode::from(code);
            }
        };
        let served = serve_until_told(settings, source).await;
        telemetry::log::flush();
        match served {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(error);
                ExitCode::FAILURE
            }
        }
    })
}

fn load(
    serve: &Serve,
    source: Option<&Source>,
    providers: &mut Vec<simulator::Running>,
) -> Result<Settings, BadSettings> {
    if let Some(source) = source {
        let (read, settings) = source.load();
        source.note(read);
        return settings.inspect(|settings| settings.doubts().iter().for_each(|doubt| log::warn!("note: {doubt}")));
    }
    let mut urls = BTreeMap::new();
    for (name, path, provider) in simulator::demo() {
        let running = simulator::start(provider).map_err(|error| BadSettings {
            source: "the built-in demo".to_owned(),
            problems: vec![settings::Problem { key: name.to_owned(), text: format!("cannot be simulated: {error}") }],
        })?;
        urls.insert(name.to_owned(), format!("http://{}{path}", running.addr));
        providers.push(running);
    }
    let mut settings = settings::demo(&urls)?;
    settings.server.bind = serve.bind.unwrap_or(settings.server.bind);
    Ok(settings)
}

async fn serve_until_told(settings: Settings, source: Option<Source>) -> io::Result<()> {
    let listen = |addr: SocketAddr| {
        listener(addr).map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {addr}: {error}")))
    };
    let clients = listen(settings.server.bind)?;
    let operators = settings.server.admin_bind.map(listen).transpose()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let hangup = signal(SignalKind::hangup())?;
    greet(&clients, operators.as_ref(), &settings, source.is_none())?;
    let (told, signals) = tokio::sync::watch::channel(0_u32);
    actix_rt::spawn(async move {
        while told.receiver_count() > 0 {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            told.send_modify(|count| *count += 1);
        }
    });
    let after = |count: u32| {
        let mut signals = signals.clone();
        async move {
            // Fails only once the task above is gone, and then no signal will come.
            if signals.wait_for(|told| *told >= count).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    app::run(app::Serving { settings, clients, operators, source, hangup }, after(1), after(2)).await
}

fn listener(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart is not to wait for connections of the one before.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)?.into_std()
}

fn greet(clients: &TcpListener, operators: Option<&TcpListener>, settings: &Settings, is_demo: bool) -> io::Result<()> {
    let addr = clients.local_addr()?;
    say(format_args!("greenroom listening on http://{addr}"));
    if let Some(operators) = operators {
        say(format_args!("admin and metrics on http://{}", operators.local_addr()?));
    }
    if let Some(model) = settings.models.keys().next() {
        let token = if is_demo { "your-token" } else { "$TOKEN" };
        say(format_args!(
            "try: curl http://{addr}/v1/chat/completions -H \"Authorization: Bearer {token}\" \
             -H 'Content-Type: application/json' -d '{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"user\",\"content\":\"Hello!\"}}]}}'"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_burst_of_clients_is_taken_in_before_any_of_them_is_served() {
        let listener = listener("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let addr = listener.local_addr().expect("bound");
        let connect = |_| std::net::TcpStream::connect_timeout(&addr, Duration::from_millis(900));
        let clients: io::Result<Vec<_>> = (0..400).map(connect).collect();
        assert_eq!(clients.expect("room for all").len(), 400);
    }
}
