//! Owns what OpenAI's models take over chat completions, told from a model's name.

use super::super::ids::Taken;

/// A model, as far as its name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Model {
    /// Another maker's, or one that does not reason.
    Plain {
        /// OpenAI's own.
        own: bool,
    },
    /// Mistral's: `mistral-large-latest`, `mixtral-8x22b`, `codestral-2508`.
    Mistral,
    /// The open weights, `gpt-oss-120b`: others serve them, with templates of their own.
    Open,
    /// `o1`, `o3`, `o4-mini`.
    O(u32),
    /// `gpt-5` and later.
    Gpt { version: (u32, u32), line: Line },
}

/// What stands behind a version and changes what the model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    Main,
    Pro,
    Codex,
    /// Cannot be kept from reasoning: `gpt-6-astra`, and Sol from 6.1.
    Tireless,
}

/// The words for efforts, from none to the most.
const EFFORTS: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];

impl Model {
    /// Reads names such as `gpt-5.4-mini`, `openai/o3`, `ft:o4-mini-2025-04-16:house::id`.
    pub(super) fn of(name: &str) -> Self {
        let name = name.rsplit('/').next().unwrap_or(name);
        let name = name.strip_prefix("ft:").unwrap_or(name);
        let o = name.strip_prefix('o').and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
        let gpt = name.strip_prefix("gpt-");
        let version = gpt.and_then(version).filter(|version| *version >= (5, 0) && !name.contains("chat"));
        let own = gpt.is_some() || name.starts_with("chatgpt-");
        match (o, version) {
            (Some(number), _) => Self::O(number),
            (None, Some(version)) => Self::Gpt { version, line: Line::of(name, version) },
            (None, None) if name.contains("gpt-oss") => Self::Open,
            (None, None) if !own && is_named_by_mistral(name) => Self::Mistral,
            (None, None) => Self::Plain { own },
        }
    }

    /// It reasons at OpenAI: it refuses `max_tokens` under that name, and any sampling but the default.
    pub(super) fn thinks(self) -> bool {
        !matches!(self, Self::Plain { .. } | Self::Open | Self::Mistral)
    }

    /// It is one of OpenAI's, which take instructions wherever they stand. Templates of other servers refuse a system message
    /// that is not the first (vllm-project/vllm#41114).
    pub(super) fn is_openais(self) -> bool {
        !matches!(self, Self::Plain { own: false } | Self::Open | Self::Mistral)
    }

    /// What it takes for the id of a call.
    pub(super) fn ids(self) -> Taken {
        match self {
            Self::Mistral => Taken::Nine,
            _ if self.is_openais() => Taken::Forty,
            _ => Taken::Any,
        }
    }

    /// It takes `verbosity`, which came with the fifth generation (OpenAI cookbook, "GPT-5 New Params and Tools").
    pub(super) fn has_verbosity(self) -> bool {
        matches!(self, Self::Gpt { .. })
    }

    /// It refuses `stop`. API reference: not supported with `o3` and `o4-mini`. Seen: gpt-5 to 5.2
    /// (huggingface/smolagents#1662, #1868, #1893), gpt-6-astra (bolna-ai/bolna#1019).
    pub(super) fn refuses_stop(self) -> bool {
        match self {
            Self::O(number) => number >= 3,
            Self::Gpt { version, line } => version <= (5, 2) || line == Line::Tireless,
            Self::Plain { .. } | Self::Open | Self::Mistral => false,
        }
    }

    /// It refuses `parallel_tool_calls`, in whichever way it is said (langchain-ai/langchain#29704, run-llama/llama_index#20865).
    pub(super) fn refuses_parallel(self) -> bool {
        matches!(self, Self::O(_))
    }

    /// With functions it refuses any effort but none, even the one it has by default
    /// (openai/openai-openapi#541, BerriAI/litellm#34569).
    pub(super) fn calls_unthinking(self) -> bool {
        matches!(self, Self::Gpt { version, .. } if version >= (5, 4))
    }

    /// It can be kept from reasoning.
    pub(super) fn takes_none(self) -> bool {
        self.efforts().first() == Some(&"none")
    }

    /// The effort nearest to the one asked for: the next above that the model knows, else its highest.
    pub(super) fn effort(self, asked: &str) -> Option<&'static str> {
        let known = self.efforts();
        // A word of tomorrow is more than those of today.
        let rank = |word: &str| EFFORTS.iter().position(|w| *w == word).unwrap_or(EFFORTS.len());
        known.iter().find(|word| rank(word) >= rank(asked)).or(known.last()).copied()
    }

    /// What it knows, from the least. Sources: API reference of `reasoning_effort`; enricoros/big-AGI#1159,
    /// anomalyco/opencode#26268 and openai/codex#6647, which asked the API; BerriAI/litellm-docs#1173 for the sixth
    /// generation and that `max` is for the Responses API only. Of the open weights: BerriAI/litellm#13608 (vLLM),
    /// ollama/ollama#11766 and apache/maka#995 (Ollama, these three only), egoist/chatwise-releases#987 (Groq, LM Studio).
    fn efforts(self) -> &'static [&'static str] {
        match self {
            Self::Plain { .. } | Self::Mistral => &[],
            Self::Gpt { version: (5, 0), line: Line::Main } => &["minimal", "low", "medium", "high"],
            Self::Gpt { version: (5, 0), line: Line::Pro } => &["high"],
            Self::Gpt { version: (5, 1), line: Line::Main } => &["none", "low", "medium", "high"],
            Self::Open | Self::O(_) | Self::Gpt { version: (5, 0 | 1), .. } => &["low", "medium", "high"],
            Self::Gpt { line: Line::Main, .. } => &["none", "low", "medium", "high", "xhigh"],
            Self::Gpt { .. } => &["low", "medium", "high", "xhigh"],
        }
    }
}

impl Line {
    fn of(name: &str, version: (u32, u32)) -> Self {
        let has = |word: &str| name.split(['-', ':']).any(|w| w == word);
        if has("codex") {
            Self::Codex
        } else if has("pro") {
            Self::Pro
        } else if has("astra") || (version >= (6, 1) && has("sol")) {
            Self::Tireless
        } else {
            Self::Main
        }
    }
}

/// Whether a model is Google's, whose `OpenAI` endpoint wants its signatures back. Strict servers refuse them.
pub(super) fn is_googles(name: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or(name);
    name.get(..6).is_some_and(|begin| begin.eq_ignore_ascii_case("gemini"))
}

/// Whether a model bears a name such as Mistral gives its own, by how those end. Whose API it is behind, the name does not tell.
fn is_named_by_mistral(name: &str) -> bool {
    ["stral", "xtral"].iter().any(|end| name.contains(end))
}

/// The version at the beginning of what follows `gpt-`.
fn version(rest: &str) -> Option<(u32, u32)> {
    let number = match rest.split(['-', ':']).next()? {
        // Azure's names, which have no points.
        "35" => "3.5",
        "45" => "4.5",
        number => number,
    };
    let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasoning_models_are_told_from_names_of_any_generation() {
        for name in [
            "o3",
            "openai/o4-mini",
            "ft:o4-mini-2025-04-16:house::id",
            "gpt-5",
            "ft:gpt-5-mini:house::id",
            "gpt-6-luna",
            "gpt-10.2",
        ] {
            assert!(Model::of(name).thinks(), "{name}");
        }
        for name in [
            "gpt-4o",
            "gpt-4.1",
            "gpt-oss-120b",
            "gpt-5-chat-latest",
            "omni",
            "kimi-k2",
            "ft:gpt-4o:house::id",
            "gpt-35-turbo",
            "gpt-35-turbo-16k",
            "gpt-45-preview",
            "",
        ] {
            assert!(!Model::of(name).thinks(), "{name}");
        }
        for (name, own) in [
            ("gpt-4o", true),
            ("gpt-35-turbo", true),
            ("gpt-4o-australiaeast", true),
            ("ft:gpt-4o:mistral-fans::id", true),
            ("Qwen/Qwen3.6-27B", false),
            ("mistral-small", false),
            ("openai/gpt-oss-120b", false),
            ("gpt-oss:20b", false),
        ] {
            assert_eq!(Model::of(name).is_openais(), own, "{name}");
        }
    }

    #[test]
    fn googles_models_are_told_from_names_with_and_without_a_place() {
        for (name, googles) in [
            ("gemini-3-pro-preview", true),
            ("google/Gemini-2.5-flash", true),
            ("models/gemini-3-pro", true),
            ("mistral-large-latest", false),
            ("gemini/mistral", false),
            ("gemma-3", false),
            ("", false),
        ] {
            assert_eq!(is_googles(name), googles, "{name}");
        }
    }

    #[test]
    fn an_effort_becomes_the_nearest_that_the_model_knows() {
        for (name, asked, sent) in [
            ("gpt-5", "none", Some("minimal")),
            ("gpt-5", "xhigh", Some("high")),
            ("gpt-5.1", "none", Some("none")),
            ("gpt-5.1", "minimal", Some("low")),
            ("gpt-5.1-codex", "none", Some("low")),
            ("gpt-5.2", "max", Some("xhigh")),
            ("gpt-5-pro", "low", Some("high")),
            ("o3", "minimal", Some("low")),
            ("gpt-6-astra", "none", Some("low")),
            ("gpt-6-luna", "none", Some("none")),
            ("gpt-6.1-sol", "none", Some("low")),
            ("gpt-6-sol", "none", Some("none")),
            ("gpt-4o", "high", None),
            ("openai/gpt-oss-120b", "high", Some("high")),
            ("gpt-oss:20b", "xhigh", Some("high")),
            ("openai.gpt-oss-20b-1:0", "none", Some("low")),
        ] {
            assert_eq!(Model::of(name).effort(asked), sent, "{name} {asked}");
        }
    }
}
