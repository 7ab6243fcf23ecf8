//! Owns asking a provider whether it is well: the free models list, or a paid completion as short as the model allows.

use std::{mem, rc::Rc, sync::Arc};

use actix::{ActorFutureExt, AsyncContext, Context, Handler, ResponseActFuture, WrapFuture};

use super::{
    Backend,
    breaker::Breaker,
    diagnose::{LIST_PATIENCE, PATIENCE},
    gate::{Gate, GateCell, Why},
    messages::ProbeNow,
    trial::Trial,
    vitals::Lane,
    vouch::{List, Shown, Whose},
};
use crate::{
    clock,
    error::{Class, Failed, Owner},
    settings::{self, ProbeKind},
    upstream::Client,
};

impl Backend {
    /// Asks the provider at intervals, where the settings want it and only while a gate is shut.
    pub(super) fn watch_while_sick(&self, ctx: &mut Context<Self>) {
        ctx.run_later(self.settings.probe_every, |this, ctx| {
            let sick = is_shut(&this.vitals.gate) || this.vitals.lanes().iter().any(|lane| is_shut(&lane.gate));
            if sick && this.settings.probe != ProbeKind::Off && !this.probing {
                let probe = this.probe(this.settings.probe);
                ctx.spawn(probe.map(|_, _, _| ()));
            }
            this.watch_while_sick(ctx);
        });
    }

    /// Asks the provider, and lets the gates have the answer.
    fn probe(&mut self, kind: ProbeKind) -> ResponseActFuture<Self, Result<(), Failed>> {
        self.probing = true;
        let client = self.client.get_or_insert_with(|| Rc::new(Client::new(self.settings.clone()))).clone();
        let lanes = self.vitals.lanes();
        let names = lanes.first().map(|lane| (lane.model.clone(), lane.upstream_model.clone()));
        let (model, upstream_model) = names.unwrap_or_default();
        let asked = ask(client, self.settings.clone(), kind, upstream_model).into_actor(self);
        Box::pin(asked.map(move |said, this, _| {
            this.probing = false;
            let words = said.as_ref().map_or_else(|failed| failed.message.as_str(), |_| "answers");
            log::info!("probe: backend={} {words}", this.vitals.name);
            // A backend that was out in between may find again what it did not.
            let before = mem::take(&mut this.listed);
            said.and_then(|shown| this.learn(shown, &before, &model))
        }))
    }

    /// Lets the gates have what a probe has shown, `before` it that list; an error if that is less than a shut one needs.
    fn learn(&mut self, shown: Shown, before: &List, model: &str) -> Result<(), Failed> {
        let now = clock::now();
        let judged = |whose| {
            let shown = &shown;
            move |breaker: &mut Breaker| {
                if shown.opens(whose, breaker.gate(), now) {
                    breaker.succeeded(true);
                }
            }
        };
        self.judge_backend(None, judged(Whose::Backend));
        let lanes = self.vitals.lanes();
        for lane in lanes.iter() {
            let name = &lane.upstream_model;
            let whose = match &shown {
                // A 404 for what the list names all along, such as a model that does not chat, says more than the list.
                Shown::List(list) if list.names(name) && !before.names(name) => Whose::Listed,
                Shown::Completion if *lane.model == *model => Whose::Asked,
                _ => Whose::Other,
            };
            self.judge_lane(lane, None, judged(whose));
        }
        let shut = is_shut(&self.vitals.gate) || lanes.iter().any(|lane| is_shut(&lane.gate));
        if shut && shown == Shown::Reachable {
            let message = "it is there, but has no models list, which tells nothing of its answers";
            return Err(Failed { status: Some(404), ..Failed::new(Class::ProviderInvalid, message) });
        }
        let Shown::List(list) = shown else { return Ok(()) };
        let is_missing = |lane: &&Arc<Lane>| {
            let is_shut = matches!(lane.gate.read(), Gate::Shut(_, Why::ModelMissing));
            is_shut && list.is_whole && !list.names(&lane.upstream_model)
        };
        let missing = lanes.iter().find(is_missing).map(|lane| {
            let message = format!("its models list does not name '{}'", lane.upstream_model);
            Failed::new(Class::ProviderModelMissing, message)
        });
        self.listed = list;
        missing.map_or(Ok(()), Err)
    }
}

fn is_shut(cell: &GateCell) -> bool {
    matches!(cell.read(), Gate::Shut(..))
}

impl Handler<ProbeNow> for Backend {
    type Result = ResponseActFuture<Self, Result<(), Failed>>;

    fn handle(&mut self, _: ProbeNow, _: &mut Self::Context) -> Self::Result {
        // Whoever asks wants a list to count once more.
        self.listed = List::default();
        self.probe(self.settings.probe.on_demand())
    }
}

/// Asks once; what the provider said in case it is not well.
async fn ask(
    client: Rc<Client>,
    backend: Arc<settings::Backend>,
    kind: ProbeKind,
    model: Arc<str>,
) -> Result<Shown, Failed> {
    let limit = if kind == ProbeKind::Completion { PATIENCE } else { LIST_PATIENCE };
    let late = |_| Err(Failed::new(Class::ProviderTimeoutTtft, format!("the probe got no answer within {limit:?}")));
    let trial = Trial::new(backend, client, model);
    let asked = async {
        match kind {
            // It has to be an answer: a provider may also say inside of a 200 that it has none.
            ProbeKind::Completion => trial.ask_for_one_token().await.map(|_| Shown::Completion),
            ProbeKind::Models | ProbeKind::Off => trial.list().await,
        }
    };
    tokio::time::timeout(limit, asked).await.unwrap_or_else(late).map_err(|failed| match failed.class.owner() {
        // A probe is nobody's request: that it is refused lies between its provider and the settings.
        Owner::Caller => Failed { class: Class::ProviderInvalid, ..failed },
        _ => failed,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::join;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        time::{Instant, pause, resume},
    };

    use super::*;

    /// A probe of a server that says `begun` and then hangs: what it showed, and how long it took.
    async fn asked_in_vain(kind: ProbeKind, begun: &str) -> (Result<Shown, Failed>, Duration) {
        let server = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let text = settings::SMALL
            .replace("127.0.0.1:9", &server.local_addr().expect("bound").to_string())
            .replace("[models.m]", "first_token_soft = \"1h\"\n[models.m]");
        let settings = settings::parse("test", &text).expect("sound settings");
        let backend = Arc::new(settings.backends["a"].clone());
        let client = Rc::new(Client::new(backend.clone()));
        let hears = async {
            let (mut probe, _) = server.accept().await.expect("a probe");
            probe.read_u8().await.expect("it asks");
            probe.write_all(begun.as_bytes()).await.expect("it listens");
            // From here on time goes by as soon as nobody has anything to do.
            pause();
            (probe, Instant::now())
        };
        let (said, (_probe, heard)) = join(ask(client, backend, kind, "m".into()), hears).await;
        let took = heard.elapsed();
        resume();
        (said, took)
    }

    #[actix::test]
    async fn a_probe_of_a_server_that_hangs_ends_however_late_a_second_backend_is_asked() {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n";
        for (kind, limit) in [(ProbeKind::Models, LIST_PATIENCE), (ProbeKind::Completion, PATIENCE)] {
            for begun in ["", head] {
                let (said, took) = asked_in_vain(kind, begun).await;
                assert_eq!(said.map_err(|failed| failed.class), Err(Class::ProviderTimeoutTtft));
                assert!(took < 2 * limit, "{took:?}");
            }
        }
    }

    #[actix::test]
    async fn a_models_list_that_does_not_end_in_time_is_judged_by_what_has_come() {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n";
        let (said, took) = asked_in_vain(ProbeKind::Models, &format!("{head}{{\"data\":[")).await;
        assert_eq!(said.map_err(|failed| failed.message), Ok(Shown::List(List::default())));
        assert!(took < LIST_PATIENCE, "{took:?}");
        let (said, _) = asked_in_vain(ProbeKind::Models, &format!("{head}<title>")).await;
        assert_eq!(said.map_err(|failed| failed.class), Err(Class::ProviderInvalid));
    }
}
