//! Owns `GET /v1/models`: the models in the settings that the user may use; no backend is asked.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::{auth, chat::request_id, shared};
use crate::{
    error::Error,
    exchange::response,
    router::table::{Route, Table},
    wire::translate::Dialect,
};

/// All models of the user.
pub(super) async fn list(request: HttpRequest) -> HttpResponse {
    let table = shared(&request).table();
    let user = match auth::user(&request, &table) {
        Ok(user) => user,
        Err(error) => return response::refused(&request_id(&request), &error, Dialect::Chat),
    };
    let mut routes: Vec<_> = table.routes.values().filter(|route| route.is_open_to(&user)).collect();
    routes.sort_by_key(|route| route.model.clone());
    let data: Vec<Value> = routes.into_iter().map(|route| card(route, &table)).collect();
    answer(&request, &json!({"object": "list", "data": data}))
}

/// One of them.
pub(super) async fn one(request: HttpRequest, id: web::Path<String>) -> HttpResponse {
    let table = shared(&request).table();
    let found = auth::user(&request, &table).and_then(|user| {
        let route = table.routes.get(&*id).filter(|route| route.is_open_to(&user));
        route.map(|route| card(route, &table)).ok_or_else(|| Error::ModelNotFound(id.into_inner()))
    });
    match found {
        Ok(card) => answer(&request, &card),
        Err(error) => response::refused(&request_id(&request), &error, Dialect::Chat),
    }
}

fn answer(request: &HttpRequest, value: &Value) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(("x-request-id", &*request_id(request)))
        .content_type("application/json")
        .body(value.to_string())
}

fn card(route: &Route, table: &Table) -> Value {
    json!({"id": &*route.model, "object": "model", "created": table.created, "owned_by": "greenroom"})
}
