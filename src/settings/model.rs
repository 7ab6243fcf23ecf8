//! Owns the settings of one public model: which backends serve it, in which order of preference, and under which names.

use std::{num::NonZeroU64, time::Duration};

use serde_json::Value;

use super::{
    Price,
    section::{Defaults, Problems, Section},
    value::list,
};

/// What to do with a stream that breaks after its first content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rescue {
    /// End it with an error frame.
    Off,
    /// Ask another backend from the start and pass on only what is missing, while both texts agree.
    Replay,
    /// Ask another backend to continue the partial text where it declares that it can, else as `Replay`.
    Prefix,
}

/// One backend that serves a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Name of the backend.
    pub backend: String,
    /// The backend's own name for the model; `None`: the public name.
    pub model: Option<String>,
    /// Tier: a higher number is used only when no backend of a lower one can take the request.
    pub priority: u32,
    /// Multiplies the backend's own weight for this model.
    pub weight: f64,
    /// Tokens that fit; a request too long for one backend moves only to a larger one.
    pub context_window: Option<u64>,
    /// Continues a request that ends with a partial assistant message.
    pub continues: bool,
    /// What its tokens cost; `None`: nobody has said.
    pub price: Option<Price>,
}

impl Target {
    /// The backend's own name for the model that clients know by this one.
    pub fn name_for<'a>(&'a self, public: &'a str) -> &'a str {
        self.model.as_deref().unwrap_or(public)
    }
}

/// One public model.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Who serves it; never empty.
    pub targets: Vec<Target>,
    /// What to do with a broken stream.
    pub rescue: Rescue,
    /// Answer with the public name in `model` rather than the backend's own.
    pub rewrite_model: bool,
    /// A backend whose account has no money or quota left is stood in for by the others, as one that fails is.
    pub quota_failover: bool,
    /// Prefer, among backends of about the same load, the one that had requests with the same beginning.
    pub prefix_affinity: bool,
    /// Requests that may wait when every backend is full; 0: refuse at once.
    pub queue: u32,
    /// Longest wait in that queue.
    pub queue_timeout: Duration,
}

impl Model {
    /// Reads `[models.NAME]` over `[defaults.model]`.
    pub(super) fn read(defaults: &Defaults, path: &str, value: Value, problems: &Problems) -> Self {
        let mut s = Section::over(defaults, path, value, problems);
        let missing = !s.has("backends");
        let items = list(&s.raw("backends"));
        if missing || items.as_ref().is_some_and(Vec::is_empty) {
            s.problem("backends", "is empty; name at least one, such as [{ backend = \"openai\" }]");
        } else if items.is_none() {
            s.problem("backends", "must be a list such as [{ backend = \"openai\" }]");
        }
        let path = s.key("backends");
        let targets = items.into_iter().flatten().enumerate();
        let targets = targets.map(|(n, item)| Target::read(&format!("{path}[{n}]"), item, problems));
        let targets = targets.collect();
        let rescue = s.word("rescue", &[("off", Rescue::Off), ("replay", Rescue::Replay), ("prefix", Rescue::Prefix)]);
        let rescue = rescue.unwrap_or(Rescue::Off);
        let rewrite_model = s.value("rewrite_model");
        let quota_failover = s.value("quota_failover");
        let prefix_affinity = s.value("prefix_affinity");
        let queue = s.value("queue");
        let queue_timeout: Duration = s.value("queue_timeout");
        if queue > 0 && queue_timeout.is_zero() {
            s.clash(
                "queue_timeout",
                &["queue_timeout", "queue"],
                "must be longer than 0; nobody could wait in the queue",
            );
        }
        s.finish();
        Self { targets, rescue, rewrite_model, quota_failover, prefix_affinity, queue, queue_timeout }
    }
}

impl Target {
    fn read(path: &str, value: Value, problems: &Problems) -> Self {
        let mut s = Section::open(path, value, problems);
        let backend = s.required("backend").unwrap_or_default();
        let model: Option<String> = s.optional("model");
        if model.as_deref() == Some("") {
            s.problem("model", "is empty; leave it out to use the public name");
        }
        let priority = s.value_or("priority", 1);
        let weight = s.weight();
        let context_window: Option<NonZeroU64> = s.optional("context_window");
        let context_window = context_window.map(NonZeroU64::get);
        let continues = s.value_or("continues", false);
        let price = s.within("price", Price::read);
        s.finish();
        Self { backend, model, priority, weight, context_window, continues, price }
    }
}
