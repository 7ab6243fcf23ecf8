//! Owns `GET /v1/models`: the models in the settings that the user may use; no backend is asked.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::{auth, header, shared};
use crate::{
    clock,
    error::Error,
    router::table::{Route, Table},
};

/// All models of the user.
pub(super) async fn list(request: HttpRequest) -> HttpResponse {
    super::json(&request, async {
        let table = shared(&request).table();
        let user = auth::user(header(&request), &table)?;
        let mut routes: Vec<_> = table.routes.values().filter(|route| route.is_open_to(&user)).collect();
        routes.sort_by_key(|route| route.model.clone());
        let (first, last) = (routes.first().map(|route| &*route.model), routes.last().map(|route| &*route.model));
        let mut list = json!({"object": "list", "has_more": false, "first_id": first, "last_id": last});
        list["data"] = routes.into_iter().map(|route| card(route, &table)).collect();
        Ok(list.to_string())
    })
    .await
}

/// One of them.
pub(super) async fn one(request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    super::json(&request, async {
        let table = shared(&request).table();
        let user = auth::user(header(&request), &table)?;
        let route = table.routes.get(&*id).filter(|route| route.is_open_to(&user));
        let card = route.map(|route| card(route, &table));
        card.map(|card| card.to_string()).ok_or_else(|| Error::ModelNotFound(id.into_inner()))
    })
    .await
}

/// A model as the SDKs of OpenAI and of Anthropic know one: `object`, `created` and `owned_by` are the former's, `type`,
/// `display_name` and `created_at` the latter's.
fn card(route: &Route, table: &Table) -> Value {
    json!({
        "id": &*route.model,
        "object": "model",
        "created": table.created,
        "owned_by": "greenroom",
        "type": "model",
        "display_name": &*route.model,
        "created_at": clock::timestamp(table.created.cast_signed()),
    })
}
