//! Owns the endpoints of operators: what is known of each backend, and what can be done to it.

use std::{collections::BTreeSet, sync::Arc};

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{auth, header, request_id, shared, worker};
use crate::{
    error::{Class, Error},
    router,
    settings::{NO_BACKEND, User},
    supervision::messages::{Act, Action, AskReports, Diagnose, NotDone, Probe},
    telemetry::{
        ledger::{SIZE, Wanted},
        story::Ending,
    },
};

/// All backends, and what became of the other actors.
pub(super) async fn backends(request: HttpRequest) -> HttpResponse {
    reply(&request, async {
        allowed(&request)?;
        let reports = ask(&request, AskReports(None)).await?;
        Ok(json!({"backends": reports, "actors": shared(&request).counts.toll.lines()}))
    })
    .await
}

/// One backend.
pub(super) async fn backend(request: HttpRequest, name: web::Path<String>) -> HttpResponse {
    reply(&request, async {
        allowed(&request)?;
        let mut reports = ask(&request, AskReports(Some(name.clone()))).await?;
        let report = reports.pop().ok_or_else(|| unknown(&name))?;
        serde_json::to_value(report).map_err(|_| Error::Internal)
    })
    .await
}

/// The last requests, newest first.
pub(super) async fn requests(request: HttpRequest) -> HttpResponse {
    reply(&request, async {
        allowed(&request)?;
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

/// Which requests are wanted, as that comes.
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

/// Whether the settings in force have a backend of this name, or it is the word for requests that none was found for.
pub(super) fn is_known(request: &HttpRequest, name: &str) -> bool {
    name == NO_BACKEND || shared(request).table().settings.backends.contains_key(name)
}

/// A question about a backend that there is not and, as far as is remembered, never was: nothing found would look as if nothing
/// had happened there.
pub(super) fn never_heard_of(name: &str) -> Error {
    Error::NotFound(format!("There is no backend {name:?}, and nothing is remembered of one."))
}

/// The class that no request in the ledger has: strangers are refused before there is anything to remember.
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
    reply(&request, async {
        allowed(&request)?;
        let unknown = || Error::NotFound(format!("The ledger holds no request '{id}'; it keeps the last {SIZE}."));
        let story = shared(&request).ledger.find(&id).ok_or_else(unknown)?;
        serde_json::to_value(story.report()).map_err(|_| Error::Internal)
    })
    .await
}

/// `drain`, `resume`, `reset`.
pub(super) async fn act(request: HttpRequest, path: web::Path<(String, String)>) -> HttpResponse {
    let (name, action) = path.into_inner();
    reply(&request, async {
        let user = allowed(&request)?;
        let action: Action = action.parse().map_err(Error::NotFound)?;
        ask(&request, Act { backend: name.clone(), action }).await?.map_err(|why| not_done(&name, why))?;
        audit(&request, &user, action.as_str(), &name);
        Ok(json!({"backend": name, "action": action.as_str(), "done": true}))
    })
    .await
}

/// Asks a backend's provider now whether it is well.
pub(super) async fn probe(request: HttpRequest, name: web::Path<String>) -> HttpResponse {
    reply(&request, async {
        let user = allowed(&request)?;
        let asked = shared(&request).overseer.send(Probe(name.clone())).await.map_err(|_| Error::Internal)?;
        let said = asked.map_err(|why| not_done(&name, why))?;
        audit(&request, &user, "probe", &name);
        Ok(match said {
            Ok(()) => json!({"backend": *name, "healthy": true}),
            Err(failed) => json!({
                "backend": *name, "healthy": false, "class": failed.class.as_str(), "status": failed.status,
                "message": failed.message,
            }),
        })
    })
    .await
}

/// Tries a backend step by step.
pub(super) async fn diagnose(request: HttpRequest, name: web::Path<String>) -> HttpResponse {
    reply(&request, async {
        let user = allowed(&request)?;
        let asked = shared(&request).overseer.send(Diagnose(name.clone())).await.map_err(|_| Error::Internal)?;
        let steps = asked.map_err(|why| not_done(&name, why))?;
        audit(&request, &user, "diagnose", &name);
        Ok(json!({"backend": *name, "steps": steps}))
    })
    .await
}

/// Reads the settings file again and installs it, whole or not at all; with `?dry_run=true` only tells what would change.
pub(super) async fn reload(request: HttpRequest) -> HttpResponse {
    reply(&request, async {
        let user = allowed(&request)?;
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

/// Kills a Backend actor, where the settings allow it.
pub(super) async fn crash_backend(request: HttpRequest, name: web::Path<String>) -> HttpResponse {
    reply(&request, async {
        let user = chaos_allowed(&request)?;
        let act = Act { backend: name.clone(), action: Action::Crash };
        ask(&request, act).await?.map_err(|why| not_done(&name, why))?;
        audit(&request, &user, "crash", &name);
        Ok(json!({"crashed": format!("backend {name}")}))
    })
    .await
}

/// Kills the Router actor of this worker, where the settings allow it.
pub(super) async fn crash_router(request: HttpRequest) -> HttpResponse {
    reply(&request, async {
        let user = chaos_allowed(&request)?;
        let none = || Error::NotFound("This listener has no router; ask the clients' one.".to_owned());
        let words = "crashed on request of an operator".to_owned();
        worker(&request).ok_or_else(none)?.router().do_send(router::messages::Crash(words));
        audit(&request, &user, "crash_router", "*");
        Ok(json!({"crashed": "router"}))
    })
    .await
}

/// An answer laid out for people.
async fn reply(request: &HttpRequest, work: impl Future<Output = Result<Value, Error>>) -> HttpResponse {
    super::json(request, async { Ok(format!("{:#}\n", work.await?)) }).await
}

pub(super) fn allowed(request: &HttpRequest) -> Result<Arc<User>, Error> {
    // The clients' listener refuses it sooner.
    if auth::HEADERS.iter().any(|name| request.headers().get_all(*name).nth(1).is_some()) {
        return Err(Error::BadRequest(auth::TWICE));
    }
    auth::admin(header(request), &shared(request).table())
}

/// What an operator did, and who that was.
fn audit(request: &HttpRequest, user: &User, action: &str, backend: &str) {
    log::info!("operator: id={} user={} action={action} backend={backend}", request_id(request), user.name);
}

fn chaos_allowed(request: &HttpRequest) -> Result<Arc<User>, Error> {
    let user = allowed(request)?;
    if shared(request).table().settings.server.chaos {
        return Ok(user);
    }
    Err(Error::NotFound("Chaos actions are off; set server.chaos = true to allow them.".to_owned()))
}

fn unknown(name: &str) -> Error {
    Error::NotFound(format!("There is no backend '{name}'."))
}

fn not_done(name: &str, why: NotDone) -> Error {
    match why {
        NotDone::Unknown => unknown(name),
        NotDone::GivenUp => Error::Conflict(format!(
            "The actor of backend '{name}' was given up after too many crashes. \
             POST /admin/backends/{name}/resume starts it anew; do that first."
        )),
        NotDone::Crashed => Error::Internal,
    }
}

/// Asks the Overseer, within a time that an operator will wait.
async fn ask<M>(request: &HttpRequest, message: M) -> Result<M::Result, Error>
where
    M: actix::Message + Send + 'static,
    M::Result: Send,
    crate::supervision::Overseer: actix::Handler<M>,
{
    let answer = shared(request).overseer.send(message).timeout(std::time::Duration::from_secs(5)).await;
    answer.map_err(|_| Error::Internal)
}
