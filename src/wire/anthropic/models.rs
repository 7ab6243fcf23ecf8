//! Owns what Anthropic's model generations take, told from a model's name.

/// What a model takes. Unknown names count as current.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Generation {
    /// Thinks by itself and takes an effort; older ones take a budget of tokens.
    pub(crate) adaptive: bool,
    /// Can think at all.
    pub(crate) thinks: bool,
    /// Takes `output_config.format`.
    pub(crate) schemas: bool,
    /// Refuses temperature, `top_p` and `top_k`; knows all efforts; tells its thoughts only if asked to.
    pub(crate) latest: bool,
    /// Knows the highest effort, `max` (guide to effort). Not assumed of a model that only counts as current because
    /// its name tells nothing.
    max: bool,
    /// How it is kept from thinking.
    pub(crate) quiet: Quiet,
    /// Refuses a choice that forces a call.
    pub(crate) refuses_force: bool,
    /// Refuses a thought if something in front of it has changed, unless it is asked to drop such thoughts.
    pub(crate) bound: bool,
    /// The longest answer, thoughts included, tokens; `None`: not known.
    pub(crate) most_tokens: Option<u64>,
}

/// How a model is kept from thinking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quiet {
    /// It thinks only if asked to.
    Anyway,
    /// By `thinking` of this type.
    By(&'static str),
    /// Not at all: the least effort comes nearest.
    Never,
}

impl Generation {
    /// Sources: the model overview, extended thinking and structured outputs pages of Anthropic's documentation, and the
    /// migration guides: what 4.7 dropped, later models do not take either. For the fifth generation its pages: "What's new"
    /// of Opus 5.5, Sonnet 5.5 and Haiku 5.5, and the migration guides of Fable 5 and 5.1.
    pub(crate) fn of(model: &str) -> Self {
        // Names without a version are the newest of their kind where that is known, else of the middle.
        let newest = ["claude-fable", "claude-mythos"].iter().any(|name| model.contains(name));
        let told = version(model);
        let version = told.unwrap_or(if newest { (5, 0) } else { (4, 6) });
        Self {
            max: version >= (4, 7) || told == Some((4, 6)),
            adaptive: version >= (4, 6),
            thinks: version >= (3, 7),
            schemas: version >= (4, 1),
            latest: version >= (4, 7),
            quiet: match version {
                _ if version < (5, 0) => Quiet::Anyway,
                _ if newest => Quiet::Never,
                _ if version >= (5, 5) && model.contains("opus") => Quiet::Never,
                _ if version >= (5, 5) && model.contains("sonnet") => Quiet::By("between_tools"),
                _ => Quiet::By("disabled"),
            },
            // "Preserved thinking" (Anthropic's documentation, and Amazon Bedrock's).
            bound: version >= if newest { (5, 1) } else { (5, 5) },
            // "Max output" of the model overview; from 4.6 on as Effect-TS/effect#7129 has it.
            most_tokens: match version {
                _ if told.is_none() => None,
                _ if version < (3, 5) => Some(4_096),
                _ if version < (3, 7) => Some(8_192),
                (4, 0..=1) if model.contains("opus") => Some(32_000),
                _ if version >= (4, 6) && !model.contains("haiku") => Some(128_000),
                _ => Some(64_000),
            },
            refuses_force: if newest { version >= (5, 1) } else { version >= (5, 5) && !model.contains("haiku") },
        }
    }

    /// Whether it knows an effort.
    pub(crate) fn knows(self, effort: &str) -> bool {
        match effort {
            "xhigh" => self.latest,
            "max" => self.max,
            _ => true,
        }
    }

    /// Goes on with a message of the assistant's that stands last.
    pub(crate) fn prefill(self) -> bool {
        !self.adaptive
    }
}

/// Reads a version from names such as `claude-3-5-haiku-20241022`, `claude-opus-4.7`, `anthropic.claude-sonnet-5-v1:0`.
fn version(model: &str) -> Option<(u32, u32)> {
    let mut words = model[model.find("claude")?..].split(|c: char| !c.is_ascii_alphanumeric());
    // Longer numbers are dates.
    let number = |word: &str| word.parse().ok().filter(|_| word.len() <= 2);
    let major = words.find_map(number)?;
    Some((major, words.next().and_then(number).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_are_told_from_names() {
        let old = Generation::of("claude-3-5-sonnet-20241022");
        assert!(!old.adaptive && !old.thinks && !old.schemas);
        let middle = Generation::of("claude-sonnet-4-5-20250929");
        assert!(!middle.adaptive && middle.thinks && middle.schemas && !middle.latest);
        assert!(!Generation::of("claude-sonnet-4-20250514").schemas);
        assert!(Generation::of("claude-opus-4-6").adaptive);
        assert!(!Generation::of("claude-sonnet-4-6").latest);
        for name in ["claude-opus-4-7", "claude-opus-4.8", "claude-sonnet-5", "anthropic.claude-fable-5-v1:0"] {
            assert!(Generation::of(name).latest, "{name}");
        }
        let house = Generation::of("house-model");
        assert!(house.adaptive && !house.latest && !house.knows("max") && house.knows("high"));
        let most = |name| Generation::of(name).most_tokens;
        assert_eq!((most("claude-3-haiku-20240307"), most("claude-3-5-sonnet-20241022")), (Some(4_096), Some(8_192)));
        assert_eq!((most("claude-opus-4-1-20250805"), most("claude-sonnet-4-20250514")), (Some(32_000), Some(64_000)));
        assert_eq!(
            (most("claude-opus-4-8"), most("claude-haiku-4-5"), most("house-model")),
            (Some(128_000), Some(64_000), None)
        );
        let sixth = Generation::of("anthropic.claude-opus-4-6-v1:0");
        assert!(sixth.knows("max") && !sixth.knows("xhigh") && Generation::of("claude-fable").knows("max"));
    }

    #[test]
    fn the_fifth_generation_thinks_unless_it_is_kept_from_it() {
        for (name, quiet, refuses_force) in [
            ("claude-opus-4-8", Quiet::Anyway, false),
            ("house-model", Quiet::Anyway, false),
            ("claude-opus-5", Quiet::By("disabled"), false),
            ("claude-sonnet-5", Quiet::By("disabled"), false),
            ("claude-haiku-5-5", Quiet::By("disabled"), false),
            ("claude-sonnet-5-5", Quiet::By("between_tools"), true),
            ("anthropic.claude-opus-5-5", Quiet::Never, true),
            ("claude-fable-5", Quiet::Never, false),
            ("claude-fable-5-1", Quiet::Never, true),
            ("claude-mythos-5-2", Quiet::Never, true),
        ] {
            let generation = Generation::of(name);
            assert_eq!((generation.quiet, generation.refuses_force), (quiet, refuses_force), "{name}");
            assert_eq!(generation.bound, refuses_force || name.ends_with("5-5"), "{name}");
        }
    }
}
