//! Owns `GET /admin/users`: what each user may use, has used and has left at the moment.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Map, Value, json};

use super::{admin::reply, shared};
use crate::{
    clock,
    error::{Dimension, Unit},
    limits::Use,
    settings::Money,
};

/// All users, by name.
pub(super) async fn users(request: HttpRequest) -> HttpResponse {
    reply(&request, async |_| {
        let (table, now) = (shared(&request).table(), clock::now());
        // By their names: by tokens, who has two would be there twice.
        let told = table.settings.users.values().map(|user| {
            // Nobody counts the requests of who has no limits.
            let allowance = table.allowance(user);
            let (in_flight, uses) = allowance.map(|allowance| allowance.uses(now)).unzip();
            let limits: Map<_, _> = uses.into_iter().flatten().map(|of| line(&of, now)).collect();
            json!({"name": user.name, "in_flight": in_flight, "limits": limits})
        });
        Ok(json!({"users": told.collect::<Vec<_>>()}))
    })
    .await
}

/// A limit under its key.
fn line(of: &Use, now: Duration) -> (String, Value) {
    let amount = |units: u64| match of.dimension.unit() {
        Unit::Dollars => json!(Money(units).dollars()),
        Unit::Requests | Unit::Tokens => json!(units),
    };
    let mut told = json!({"limit": amount(of.limit), "used": amount(of.used), "left": amount(of.left)});
    if of.dimension != Dimension::MaxInFlight {
        let whole_at = (!of.reset.is_zero()).then(|| clock::rfc3339(now + of.reset + ALMOST));
        told["whole_at"] = json!(whole_at);
    }
    (of.dimension.as_str().to_owned(), told)
}

/// Added to a time, makes its whole seconds round up.
const ALMOST: Duration = Duration::from_nanos(999_999_999);
