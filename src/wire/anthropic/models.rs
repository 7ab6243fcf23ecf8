//! Owns what Anthropic's model generations take, told from a model's name.

/// What a model takes. Unknown names count as current.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "four features that the models have independently of each other")]
pub(crate) struct Generation {
    /// Thinks by itself and takes an effort; older ones take a budget of tokens.
    pub(crate) adaptive: bool,
    /// Can think at all.
    pub(crate) thinks: bool,
    /// Takes `output_config.format`.
    pub(crate) schemas: bool,
    /// Refuses temperature, `top_p` and `top_k`.
    pub(crate) fixed_sampling: bool,
}

impl Generation {
    /// Sources: the model overview, extended thinking and structured outputs pages of Anthropic's documentation.
    pub(crate) fn of(model: &str) -> Self {
        let model = model.replace('.', "-");
        let third = model.contains("claude-3") || model.contains("claude-2") || model.contains("claude-instant");
        let has = |words: &[&str]| words.iter().any(|w| model.contains(w));
        let first_fourth = has(&["-4-2025", "-4-0", "opus-4@", "sonnet-4@"]) || model.ends_with("-4");
        let early = third || first_fourth || has(&["-4-1", "-4-5"]);
        Self {
            adaptive: !early,
            thinks: !third || model.contains("3-7"),
            schemas: !third && !first_fourth,
            fixed_sampling: has(&["opus-4-7", "opus-4-8", "opus-5", "claude-fable", "claude-mythos"]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_are_told_from_names() {
        let old = Generation::of("claude-3-5-sonnet-20241022");
        assert!(!old.adaptive && !old.thinks && !old.schemas);
        let middle = Generation::of("claude-sonnet-4-5-20250929");
        assert!(!middle.adaptive && middle.thinks && middle.schemas && !middle.fixed_sampling);
        assert!(!Generation::of("claude-sonnet-4-20250514").schemas);
        assert!(Generation::of("claude-opus-4-6").adaptive);
        assert!(Generation::of("claude-opus-4-7").fixed_sampling);
    }
}
