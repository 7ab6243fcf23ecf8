//! Owns what Gemini models take, told from a model's name: how they think, and what goes together.

use serde_json::{Value, json};

use super::super::chat::Reasoning;

/// A model, as far as its name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Model {
    /// None for names such as `gemini-flash-latest`, which stand for the newest.
    version: Option<(u32, u32)>,
    pro: bool,
    lite: bool,
    image: bool,
}

impl Model {
    /// Reads names such as `gemini-2.5-flash-lite` and `gemini-3-pro-preview`.
    pub(crate) fn of(name: &str) -> Self {
        let number = name.split_once("gemini-").and_then(|(_, rest)| rest.split('-').next());
        let version = number.and_then(|number| {
            let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
            Some((major.parse().ok()?, minor.parse().ok()?))
        });
        Self { version, pro: name.contains("pro"), lite: name.contains("lite"), image: name.contains("image") }
    }

    /// From the third generation: calls in the history need a proof of the thought behind them, and tools go together
    /// with a format for the answer.
    pub(crate) fn is_third(self) -> bool {
        self.version.is_none_or(|v| v >= (3, 0))
    }

    /// Takes penalties; later ones answer "Penalty is not enabled for this model".
    pub(crate) fn takes_penalties(self) -> bool {
        self.version.is_some_and(|v| v < (2, 5))
    }

    /// Takes Google's search as a tool of its own; before, there was another, and the first that drew have none (guide to grounding).
    pub(crate) fn searches(self) -> bool {
        self.version.is_none_or(|v| v >= (2, 0)) && (!self.image || self.is_third())
    }

    /// It draws, and of its words, too, it wants a proof back.
    pub(crate) fn proves_words(self) -> bool {
        self.image && self.is_third()
    }

    /// The thinking configuration; none if the model does not think. Source: Gemini API guide to thinking.
    pub(crate) fn thinking(self, reasoning: &Reasoning) -> Option<Value> {
        if self.version.is_some_and(|v| v < (2, 5)) {
            return None;
        }
        if self.version.is_some_and(|v| v >= (3, 0)) {
            let level = match reasoning {
                Reasoning::Adaptive => return Some(json!({"includeThoughts": true})),
                // These models cannot be kept from thinking.
                Reasoning::Off => return Some(json!({"thinkingLevel": if self.pro { "low" } else { "minimal" }})),
                other => match other.word() {
                    "minimal" | "low" => "low",
                    // The first professional one did not know the middle level.
                    "medium" if !self.pro || self.version != Some((3, 0)) => "medium",
                    _ => "high",
                },
            };
            return Some(json!({"includeThoughts": true, "thinkingLevel": level}));
        }
        Some(match reasoning {
            Reasoning::Off => json!({"thinkingBudget": self.budget(0)}),
            Reasoning::Adaptive => json!({"includeThoughts": true, "thinkingBudget": -1}),
            other => json!({"includeThoughts": true, "thinkingBudget": self.budget(other.budget())}),
        })
    }

    /// The nearest budget taken, tokens.
    fn budget(self, wanted: u64) -> u64 {
        match (self.pro, self.lite) {
            (true, _) => wanted.clamp(128, 32_768),
            (_, true) if wanted > 0 => wanted.clamp(512, 24_576),
            _ => wanted.min(24_576),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_generation_is_told_to_think_in_its_own_words() {
        let told = |name, reasoning| Model::of(name).thinking(&reasoning).unwrap_or_default();
        assert_eq!(told("gemini-2.0-flash", Reasoning::Budget(100)), Value::Null);
        assert_eq!(told("gemini-2.5-flash", Reasoning::Off), json!({"thinkingBudget": 0}));
        assert_eq!(told("gemini-2.5-pro", Reasoning::Off), json!({"thinkingBudget": 128}));
        assert_eq!(told("gemini-3-flash", Reasoning::Off), json!({"thinkingLevel": "minimal"}));
        let medium = |name| told(name, Reasoning::Effort("medium".into()))["thinkingLevel"].clone();
        assert_eq!((medium("gemini-3-pro"), medium("gemini-3.1-pro")), (json!("high"), json!("medium")));
        assert!(Model::of("gemini-flash-latest").is_third() && !Model::of("gemini-2.5-pro").is_third());
    }
}
