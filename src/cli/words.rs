//! Owns what check, monitor and benchmark say, in English and in Chinese.

use clap::ValueEnum;

/// A language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Lang {
    /// English
    En,
    /// 中文
    Zh,
}

impl Lang {
    /// What was asked for, else what `LANG` says.
    pub(super) fn chosen(asked: Option<Self>) -> Self {
        let from_environment = || match std::env::var("LANG") {
            Ok(lang) if lang.starts_with("zh") => Self::Zh,
            _ => Self::En,
        };
        asked.unwrap_or_else(from_environment)
    }

    fn pick(self, en: &'static str, zh: &'static str) -> &'static str {
        match self {
            Self::En => en,
            Self::Zh => zh,
        }
    }
}

macro_rules! words {
    ($($name:ident: $en:literal, $zh:literal;)*) => {
        impl Lang {
            $(pub(super) fn $name(self) -> &'static str { self.pick($en, $zh) })*
        }
    };
}

words! {
    backend: "BACKEND", "后端";
    state: "STATE", "状态";
    status: "HTTP", "HTTP";
    time: "TIME", "耗时";
    first_token: "FIRST TOKEN", "首个词元";
    says: "SAYS", "回答";
    success: "SUCCESS", "成功率";
    latency: "LATENCY", "延迟";
    min: "MIN", "最小";
    mean: "MEAN", "平均";
    max: "MAX", "最大";
    speed: "TOKENS/S", "词元/秒";
    healthy: "healthy", "健康";
    failing: "failing", "故障";
    suspect: "suspect", "可疑";
    fastest: "fastest", "最快";
    are_healthy: "healthy", "个健康";
    of: "of", "/";
    recovered: "recovered", "已恢复";
    fails: "fails", "出现故障";
    no_backends: "there are no backends to ask", "没有可检查的后端";
}
