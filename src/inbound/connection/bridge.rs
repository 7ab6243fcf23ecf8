//! Owns handing requests over to the web framework, which serves everything but the model endpoints.

use std::{net::SocketAddr, rc::Rc};

use actix_http::{Payload, Request};
use actix_service::{IntoServiceFactory, Service, ServiceFactory, boxed, map_config};
use actix_web::{
    App, Error as WebError,
    body::{BoxBody, to_bytes},
    dev::{AppConfig, ServiceResponse},
    http::header::{HeaderName, HeaderValue},
    web::ServiceConfig,
};
use bytes::Bytes;
use futures_util::stream;

use super::head::Head;
use crate::{error::Error, exchange::reply::Reply};

/// The framework's application on this worker.
#[derive(Clone)]
pub(super) struct Bridge(Rc<boxed::BoxService<Request, ServiceResponse<BoxBody>, WebError>>);

impl Bridge {
    /// Starts the application.
    pub(super) async fn new(configure: impl FnOnce(&mut ServiceConfig)) -> Result<Self, ()> {
        let app = map_config(App::new().configure(configure).into_factory(), |()| AppConfig::default());
        Ok(Self(Rc::new(boxed::service(app.new_service(()).await?))))
    }

    /// Has a request of this peer's served.
    pub(super) async fn serve(&self, head: &Head, body: Bytes, peer: Option<SocketAddr>) -> Result<Reply, Error> {
        let uri = head.target.parse().map_err(|_| Error::BadRequest("its target is not a path"))?;
        let method = head.method.as_str().parse().map_err(|_| Error::BadRequest("its method is unknown"))?;
        let piece = stream::once(async move { Ok(body) });
        let mut request = Request::with_payload(Payload::from(Box::pin(piece) as actix_http::BoxedPayloadStream));
        let asked = request.head_mut();
        (asked.uri, asked.method, asked.peer_addr) = (uri, method, peer);
        for (name, value) in head.lines.iter() {
            // The parser of the head has let only valid headers through.
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                asked.headers_mut().append(name, value);
            }
        }
        let response = self.0.call(request).await.map_err(|error| {
            log::error!("the framework failed to serve {}: {error}", head.path());
            Error::Internal
        })?;
        let (response, body) = response.into_parts().1.into_parts();
        let mut lines = Vec::new();
        for (name, value) in response.headers() {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                lines.extend_from_slice(part);
            }
        }
        let body = to_bytes(body).await.map_err(|_| Error::Internal)?;
        Ok(Reply::new(response.status(), lines).body(body))
    }
}
