//! Owns which backends a subcommand asks, and for which model.

use actix_web::http::Method;
use clap::Args;
use serde_json::Value;

use super::{answer::Answer, client::Client};
use crate::settings::NO_BACKEND;

/// Which backends to ask for which model.
#[derive(Debug, Clone, Args)]
pub(super) struct Whom {
    /// Backends to ask; all that Greenroom lists, if left out
    #[arg(long, num_args = 1.., value_name = "NAME")]
    pub(super) backends: Vec<String>,
    /// Model to ask for; the first that each backend serves, if left out
    #[arg(long)]
    pub(super) model: Option<String>,
}

impl Whom {
    /// The backends that are named, each asked for this model.
    fn asked_for(&self, model: &str) -> Vec<Aim> {
        self.backends.iter().map(|backend| Aim::of(backend, model)).collect()
    }
}

/// A backend and the model to ask it for; or a model that no backend takes requests for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Aim {
    pub(super) backend: String,
    pub(super) model: String,
    /// It is such a model. No name tells: a backend may have any.
    pub(super) is_unserved: bool,
}

impl Aim {
    /// A backend, to be asked for this model.
    pub(super) fn of(backend: &str, model: &str) -> Self {
        Self { backend: backend.to_owned(), model: model.to_owned(), is_unserved: false }
    }

    /// What it is called in a table.
    pub(super) fn name(&self) -> String {
        if self.is_unserved { format!("model {}", self.model) } else { self.backend.clone() }
    }
}

impl Client {
    /// The backends to ask, each with a model that it serves: one at least.
    pub(super) async fn aims(&self, whom: &Whom) -> Result<Vec<Aim>, String> {
        if let (false, Some(model)) = (whom.backends.is_empty(), &whom.model) {
            // Only to see that Greenroom can be asked; if it cannot, all backends would look as if they failed.
            self.models().await?;
            return Ok(whom.asked_for(model));
        }
        let listed = match self.listed().await? {
            (200, listed) => listed,
            // With server.admin_bind they are listed at another address, which a user who names backends need not know.
            (403 | 404, _) if !whom.backends.is_empty() => return self.aims_without_admin(whom).await,
            (403, _) => return Err(self.lang.may_not_list().to_owned()),
            (status, body) => {
                let nothing_here = format!("{}{}", self.lang.no_admin_here(), self.lang.or_name_them());
                return Err(self.refusal(status, &body, &nothing_here));
            }
        };
        if !self.has_admin_url() {
            self.models().await?;
        }
        let aims = aims(whom, &listed)?;
        if aims.is_empty() { Err(self.lang.no_backends().to_owned()) } else { Ok(aims) }
    }

    /// The list of all backends, and with what status it comes.
    async fn listed(&self) -> Result<(u16, Value), String> {
        let (status, listed) = self.fetch(Method::GET, "/admin/backends").await?;
        if matches!(status, 403 | 404) {
            self.is_refused.set(true);
        }
        Ok((status, listed))
    }

    /// The models that no backend takes requests for, as far as `whom` is about them; `None`: that cannot be known, now or with this
    /// token. A backend is asked for one model only, and its answer says nothing about the others.
    pub(super) async fn unserved(&self, whom: &Whom) -> Option<Vec<Answer>> {
        // Each refusal is a line in Greenroom's log, so that one has to do.
        if self.is_refused.get() {
            return None;
        }
        match self.listed().await {
            Ok((200, listed)) => Some(unserved(whom, &listed)),
            _ => None,
        }
    }

    /// The models that the token may ask for.
    async fn models(&self) -> Result<Value, String> {
        match self.fetch(Method::GET, "/v1/models").await? {
            (200, models) => Ok(models),
            (status, body) => Err(self.refusal(status, &body, self.lang.no_models_here())),
        }
    }

    /// A user who is no admin still may know which models there are.
    async fn aims_without_admin(&self, whom: &Whom) -> Result<Vec<Aim>, String> {
        let models = self.models().await?;
        let model = models["data"][0]["id"].as_str().ok_or_else(|| self.lang.may_use_no_model().to_owned())?;
        Ok(whom.asked_for(model))
    }
}

/// The backends to ask, by the list of all.
fn aims(whom: &Whom, listed: &Value) -> Result<Vec<Aim>, String> {
    let listed: Vec<(&str, Option<&str>)> = listed["backends"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|backend| (backend["name"].as_str().unwrap_or_default(), backend["models"][0]["model"].as_str()))
        .collect();
    let mut aims = Vec::new();
    for (name, first) in &listed {
        let wanted = whom.backends.is_empty() || whom.backends.iter().any(|b| b == name);
        if let (true, Some(model)) = (wanted, whom.model.as_deref().or(*first)) {
            aims.push(Aim::of(name, model));
        }
    }
    let any = listed.iter().find_map(|(_, first)| *first);
    for name in &whom.backends {
        if aims.iter().any(|aim| aim.backend == *name) {
            continue;
        }
        if listed.iter().any(|(known, _)| known == name) {
            return Err(format!("no model is served by backend '{name}'; name one to ask it for with --model"));
        }
        // A backend that is not listed is asked all the same, for a model that exists: the answer tells the user.
        let model = whom.model.as_deref().or(any).ok_or("no backend serves a model; name one with --model")?;
        aims.push(Aim::of(name, model));
    }
    Ok(aims)
}

/// The models without a backend, by the list of all backends.
fn unserved(whom: &Whom, listed: &Value) -> Vec<Answer> {
    let models = listed["unserved"].as_array().into_iter().flatten().filter_map(|one| {
        let (model, reasons) = (one["model"].as_str()?, one["reasons"].as_object()?);
        let is_meant = whom.model.as_deref().is_none_or(|wanted| wanted == model)
            && (whom.backends.is_empty() || whom.backends.iter().any(|backend| reasons.contains_key(backend)));
        let why = |(backend, why): (&String, &Value)| format!("{backend}: {}", why.as_str().unwrap_or_default());
        let why = reasons.iter().map(why).collect::<Vec<_>>().join("; ");
        is_meant.then(|| Answer {
            error: Some(format!("no backend takes requests for it; {why}")),
            ..Answer::none(&Aim { is_unserved: true, ..Aim::of(NO_BACKEND, model) })
        })
    });
    models.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(backends: &[&str], model: Option<&str>, listed: &Value) -> Result<Vec<(String, String)>, String> {
        let backends = backends.iter().map(ToString::to_string).collect();
        let whom = Whom { backends, model: model.map(ToOwned::to_owned) };
        aims(&whom, listed).map(|aims| aims.into_iter().map(|aim| (aim.backend, aim.model)).collect())
    }

    #[test]
    fn a_name_that_nobody_has_is_asked_for_a_model_that_there_is() {
        let listed = json!({"backends": [
            {"name": "idle", "models": []}, {"name": "a", "models": [{"model": "m"}]}, {"name": "b", "models": [{"model": "n"}]}
        ]});
        let pair = |backend: &str, model: &str| (backend.to_owned(), model.to_owned());
        assert_eq!(asked(&["nobody"], None, &listed), Ok(vec![pair("nobody", "m")]));
        assert_eq!(asked(&["b", "nobody"], Some("x"), &listed), Ok(vec![pair("b", "x"), pair("nobody", "x")]));
        assert_eq!(asked(&[], None, &listed), Ok(vec![pair("a", "m"), pair("b", "n")]));
        assert!(asked(&["idle"], None, &listed).is_err_and(|why| why.contains("'idle'") && why.contains("--model")));
        assert!(asked(&["nobody"], None, &json!({"backends": []})).is_err_and(|why| why.contains("--model")));
    }
}
