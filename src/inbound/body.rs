//! Owns reading a request body: up to its limit, into a buffer of the right size, not copied where it comes in one piece.

use actix_web::{HttpRequest, http::header, web};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use crate::error::Error;

/// The body, or why it cannot be taken.
pub(super) async fn read(request: &HttpRequest, mut payload: web::Payload, limit: usize) -> Result<Bytes, Error> {
    let length: Option<usize> =
        request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if length.is_some_and(|length| length > limit) {
        return Err(Error::TooLarge(limit));
    }
    let mut first: Option<Bytes> = None;
    let mut joined: Option<BytesMut> = None;
    let mut size = 0;
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| Error::InvalidJson("it ended before it was complete".to_owned()))?;
        size += chunk.len();
        if size > limit {
            return Err(Error::TooLarge(limit));
        }
        match (&first, &mut joined) {
            (None, _) => first = Some(chunk),
            (Some(start), None) => {
                let mut all = BytesMut::with_capacity(length.unwrap_or(2 * size).max(size));
                all.extend_from_slice(start);
                all.extend_from_slice(&chunk);
                joined = Some(all);
            }
            (_, Some(all)) => all.extend_from_slice(&chunk),
        }
    }
    Ok(joined.map(BytesMut::freeze).or(first).unwrap_or_default())
}
