//! Owns how long a limit lasts, by the details of Google's errors, which are the same in every protocol.

use std::time::Duration;

use serde_json::Value;

use super::{
    Fault,
    json::{list, text},
};

/// Adds to a fault what the `error` that it was read from says of a limit, if that is one of Google's.
pub(super) fn heed(fault: &mut Fault, error: &Value) {
    let details = list(error, "details");
    fault.retry_after = fault.retry_after.or_else(|| details.iter().find_map(|d| delay(text(d, "retryDelay"))));
    if text(error, "status") == "RESOURCE_EXHAUSTED" && is_lasting(details, text(error, "message")) {
        "insufficient_quota".clone_into(&mut fault.kind);
        "insufficient_quota".clone_into(&mut fault.code);
    }
}

/// Whether a quota stays exhausted for hours: a daily one, or an account without billing.
fn is_lasting(details: &[Value], message: &str) -> bool {
    let mut ids = details.iter().flat_map(|d| list(d, "violations")).map(|v| text(v, "quotaId"));
    let mut any = false;
    let daily = ids.any(|id| {
        any = true;
        id.contains("PerDay")
    });
    let message = message.to_ascii_lowercase();
    daily || (!any && (message.contains("per day") || message.contains("enable billing")))
}

/// Reads a protobuf duration, such as `34.4s`.
fn delay(text: &str) -> Option<Duration> {
    let seconds: f64 = text.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}
