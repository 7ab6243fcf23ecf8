//! Owns what check, monitor and benchmark say, of failures of their own too, in English and in Chinese.

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
    /// What was asked for, else what the environment says: the first variable that is set and not empty, as POSIX has it (XBD, 8.2).
    pub(super) fn chosen(asked: Option<Self>) -> Self {
        let told = || {
            ["LC_ALL", "LC_MESSAGES", "LANG"]
                .into_iter()
                .find_map(|name| std::env::var(name).ok().filter(|said| !said.is_empty()))
        };
        let from_environment = || if told().is_some_and(|lang| lang.starts_with("zh")) { Self::Zh } else { Self::En };
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
    cannot_be_asked: "cannot be asked", "无法访问";
    no_answer_within: "no answer within", "没有回答，已等";
    no_whole_answer_within: "no complete answer within", "没有完整的回答，已等";
    cut_off: "the stream ended before it was complete", "流在完整之前就结束了";
    the_token: "the token", "令牌";
    unknown_token:
        "the token is missing or unknown; set --token or GREENROOM_TOKEN",
        "没有给出令牌，或令牌无效；请设置 --token 或 GREENROOM_TOKEN";
    may_not_list:
        "the token may not list the backends; name them with --backends, or use that of an admin",
        "此令牌不能列出后端；请用 --backends 写出名称，或使用管理员的令牌";
    no_admin_here:
        "the admin endpoints are not at this address; set --admin-url or GREENROOM_ADMIN_URL to that of server.admin_bind",
        "管理端点不在这个地址；请把 --admin-url 或 GREENROOM_ADMIN_URL 设为 server.admin_bind 的地址";
    or_name_them: ", or name the backends with --backends", "，或用 --backends 写出后端的名称";
    no_models_here:
        "this address serves no models; if it is that of server.admin_bind, give it as --admin-url, and the clients' as --url",
        "这个地址不提供模型；如果它是 server.admin_bind 的地址，请用 --admin-url 给出它，用 --url 给出客户端的地址";
    why_one_fails:
        "`greenroom diagnose NAME` tells the step that fails and the likely fix; it takes an admin's token",
        "`greenroom diagnose 名称` 会指出失败的步骤和可能的解决办法；需要管理员的令牌";
    may_use_no_model: "the token may use no model", "此令牌不能使用任何模型";
}
