//! Owns the endpoints of operators: what is known of each backend and of the last requests, and reading the settings again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Shared, auth, header, request_id, shared};
use crate::{
    backend::{
        Handle,
        gate::{Gate, Why},
        messages::settled,
        report::Report,
    },
    clock,
    error::{Class, Error},
    router::table::{Route, Table, Target},
    settings::{NO_BACKEND, User},
    telemetry::{
        ledger::{SIZE, Wanted},
        story::Ending,
    },
};

/// How long to wait for a backend's actor to judge what it was told. After that its facts are reported without it.
const SETTLE: Duration = Duration::from_millis(500);

/// All backends, and what became of the other actors.
pub(super) async fn backends(request: HttpRequest) -> HttpResponse {
    reply(&request, async |user| {
        let shared = shared(&request);
        let (backends, actors) = (shared.reports(None).await, shared.counts.actors.lines());
        Ok(json!({"backends": backends, "unserved": unserved(&shared.table(), &user), "actors": actors}))
    })
    .await
}

/// One backend.
pub(super) async fn backend(request: HttpRequest, name: web::Path<String>) -> HttpResponse {
    reply(&request, async |_| {
        let report = shared(&request).reports(Some(&name)).await.pop().ok_or_else(|| unknown(&name))?;
        serde_json::to_value(report).map_err(|_| Error::Internal)
    })
    .await
}

impl Shared {
    /// What is known of one backend, or of all. Unknown names give an empty list.
    async fn reports(&self, name: Option<&str>) -> Vec<Report> {
        let table = self.table();
        let mut handles: Vec<_> =
            table.handles.values().filter(|handle| name.is_none_or(|name| **handle.name() == *name)).collect();
        handles.sort_by(|a, b| a.name().cmp(b.name()));
        // An actor that is being rebuilt or was given up cannot answer, but its facts can be read.
        settled(handles.iter().map(|handle| &handle.addr), SETTLE).await;
        let report = |handle: &Arc<Handle>| {
            let weight = |model: &str| table.weight(handle.name(), model);
            let mut report = Report::of(&handle.vitals, &handle.settings, weight);
            for lane in &mut report.models {
                lane.queued = table.routes.get(&lane.model).map_or(0, |route| route.queue.waiting.load(Relaxed));
            }
            report
        };
        handles.into_iter().map(report).collect()
    }
}

/// The models that no backend takes requests for, and why each backend does not. An account that has nothing left and that no
/// other may stand in for is looked for among the backends of this operator.
fn unserved(table: &Table, user: &User) -> Vec<Value> {
    let now = clock::now();
    let mut routes: Vec<_> = table.routes.values().collect();
    routes.sort_by_key(|route| &route.model);
    let one = |route: &Arc<Route>| {
        let asked = route.spent(now, user, |_| true).map_or(route.targets.len(), |spent| spent.from);
        if route.targets[..asked].iter().any(|target| out(target).is_none()) {
            return None;
        }
        let why = |target: &Arc<Target>| Some((target.handle.name().to_string(), out(target)?.words()));
        let reasons: BTreeMap<_, _> = route.targets.iter().filter_map(why).collect();
        Some(json!({"model": &*route.model, "reasons": reasons}))
    };
    routes.into_iter().filter_map(one).collect()
}

/// Why a backend is out for a model. A gate that is due counts as shut: nobody has been served through it since it was shut.
fn out(target: &Target) -> Option<Why> {
    let gates = [target.handle.vitals.gate.read(), target.lane.gate.read()];
    gates.into_iter().find_map(|gate| match gate {
        Gate::Open | Gate::Ramp(_) => None,
        Gate::Shut(_, why) | Gate::Held(why) => Some(why),
    })
}

/// The last requests, newest first.
pub(super) async fn requests(request: HttpRequest) -> HttpResponse {
    reply(&request, async |_| {
        let filters = web::Query::<Filters>::from_query(request.query_string()).map_err(|error| {
            Error::invalid("query", format!("{error}. Known are backend, outcome, model and limit."))
        })?;
        let wanted = filters.into_inner().wanted()?;
        let ledger = &shared(&request).ledger;
        let stories = ledger.list(&wanted);
        if let (true, Some(name)) = (stories.is_empty(), wanted.backend) {
            let any = Wanted { backend: Some(name.clone()), limit: Some(1), ..Wanted::default() };
            if !is_known(&request, &name) && ledger.list(&any).is_empty() {
                return Err(never_heard_of(&name));
            }
        }
        let reports: Vec<_> = stories.iter().map(|story| story.report()).collect();
        Ok(json!({"requests": reports}))
    })
    .await
}

/// Which requests are wanted, in the words of the query.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filters {
    backend: Option<String>,
    outcome: Option<String>,
    model: Option<String>,
    limit: Option<String>,
}

impl Filters {
    fn wanted(self) -> Result<Wanted, Error> {
        let Self { backend, outcome, model, limit } = self;
        if let Some(outcome) = outcome.as_deref().filter(|outcome| !is_outcome(outcome)) {
            return Err(no_outcome(outcome));
        }
        let bad = |_| Error::invalid("limit", "'limit' must be a whole number.");
        let limit = limit.map(|text| text.parse().map_err(bad)).transpose()?;
        Ok(Wanted { backend, outcome, model, limit })
    }
}

/// Whether the settings in force have a backend of this name, or it is the word for requests that found none.
pub(super) fn is_known(request: &HttpRequest, name: &str) -> bool {
    name == NO_BACKEND || shared(request).table().settings.backends.contains_key(name)
}

/// The error for a question about a backend that does not exist and, as far as is remembered, never did. An empty answer would
/// look as if nothing had happened there.
pub(super) fn never_heard_of(name: &str) -> Error {
    Error::NotFound(format!("There is no backend {name:?}, and nothing is remembered of one."))
}

/// No request in the ledger has this class: strangers are refused before there is a story.
const NEVER: Class = Class::PolicyAuth;

fn classes() -> impl Iterator<Item = &'static str> {
    Class::ALL.into_iter().filter(|class| *class != NEVER).map(Class::as_str)
}

fn is_outcome(word: &str) -> bool {
    Ending::WORDS.contains(&word) || classes().any(|class| class == word)
}

fn no_outcome(word: &str) -> Error {
    let classes: BTreeSet<_> = classes().collect();
    let known = Ending::WORDS.into_iter().chain(classes).collect::<Vec<_>>().join(", ");
    let message = format!("No request ends as {word:?}. Known are {known}.");
    Error::invalid("outcome", message)
}

/// One request, by its id.
pub(super) async fn request(request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    reply(&request, async |_| {
        let unknown = || Error::NotFound(format!("The ledger holds no request '{id}'; it keeps the last {SIZE}."));
        let story = shared(&request).ledger.find(&id).ok_or_else(unknown)?;
        let mut report = serde_json::to_value(story.report()).map_err(|_| Error::Internal)?;
        for (n, attempt) in story.attempts.iter().enumerate() {
            if let Some(said) = attempt.said.as_deref() {
                report["attempts"][n]["said"] = said.into();
            }
        }
        Ok(report)
    })
    .await
}

/// Reads the settings file again and installs it, whole or not at all; with `?dry_run=true` only tells what would change.
pub(super) async fn reload(request: HttpRequest) -> HttpResponse {
    reply(&request, async |user| {
        let dry_run = match request.query_string() {
            "" | "dry_run=false" => false,
            "dry_run=true" => true,
            _ => {
                let message = "Known is dry_run=true.".to_owned();
                return Err(Error::invalid("query", message));
            }
        };
        let plan = shared(&request).reload(dry_run).await;
        if !dry_run {
            audit(&request, &user, if plan.is_ok() { "reload" } else { "refused_reload" }, "*");
        }
        let plan = plan?;
        Ok(json!({"installed": !dry_run, "plan": plan}))
    })
    .await
}

/// An answer laid out for people, to a request that must be an operator's.
pub(super) async fn reply(
    request: &HttpRequest,
    work: impl AsyncFnOnce(Arc<User>) -> Result<Value, Error>,
) -> HttpResponse {
    super::json(request, async { Ok(format!("{:#}\n", work(allowed(request)?).await?)) }).await
}

/// The operator that a request comes from.
pub(super) fn allowed(request: &HttpRequest) -> Result<Arc<User>, Error> {
    // The clients' listener refuses this sooner.
    if auth::HEADERS.iter().any(|name| request.headers().get_all(*name).nth(1).is_some()) {
        return Err(Error::BadRequest(auth::TWICE));
    }
    auth::admin(header(request), &shared(request).table())
}

/// What an operator did, and who that was.
pub(super) fn audit(request: &HttpRequest, user: &User, action: &str, backend: &str) {
    log::info!("operator: id={} user={} action={action} backend={backend}", request_id(request), user.name);
}

pub(super) fn unknown(name: &str) -> Error {
    Error::NotFound(format!("There is no backend '{name}'."))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::{settings, supervision, telemetry::counts::Counts};

    #[actix::test]
    async fn what_is_known_of_backends_is_told_though_the_overseer_is_gone() {
        let (counts, settings) =
            (Arc::new(Counts::default()), settings::parse("test", settings::SMALL).expect("sound"));
        let counted = counts.clone();
        let began = thread::spawn(|| actix_rt::System::new().block_on(async { supervision::start(settings, counted) }));
        let (overseer, installed) = began.join().expect("it starts");
        assert!(!overseer.connected(), "its thread has ended");
        let shared = Shared::new(installed, overseer, counts, None);
        let names = async |name| shared.reports(name).await.into_iter().map(|report| report.name).collect::<Vec<_>>();
        assert_eq!((names(None).await, names(Some("b")).await), (vec!["a".to_owned()], vec![]));
    }
}
