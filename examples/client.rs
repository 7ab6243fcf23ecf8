//! A small client: streams one answer from Greenroom and tells who gave it.
//!
//! ```text
//! cargo run --release -- serve --demo
//! GREENROOM_TOKEN=your-token cargo run --example client -- "What is 2+2?"
//! ```

use std::error::Error;

use actix_web::http::Method;
use greenroom::{upstream::plain::Plain, wire::sse};
use serde_json::{Value, json};

#[actix_web::main]
#[expect(clippy::print_stdout, reason = "an example speaks to its user")]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("GREENROOM_URL").unwrap_or_else(|_| "http://127.0.0.1:3000".to_owned());
    let bearer = format!("Bearer {}", std::env::var("GREENROOM_TOKEN").unwrap_or_default());
    let prompt = std::env::args().nth(1).unwrap_or_else(|| "Hello!".to_owned());
    let body = json!({"model": "gpt-4o", "stream": true, "messages": [{"role": "user", "content": prompt}]});
    let client = Plain::default();
    let headers = [("authorization", bearer.as_str())];
    let mut reply = client
        .send(Method::POST, &format!("{url}/v1/chat/completions"), &headers, Some(body.to_string().into()))
        .await?;
    if reply.status != 200 {
        return Err(reply.text().await?.into());
    }
    let header = |name: &str| reply.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned();
    let served = format!("{} ({})", header("x-greenroom-backend"), header("x-greenroom-route"));
    let mut splitter = sse::Splitter::default();
    let mut text = String::new();
    while let Some(piece) = reply.chunk().await {
        let run = splitter.push(piece?).map_err(|_| "a frame is too long")?;
        for data in sse::frames(&run).filter_map(|frame| frame.data) {
            if let Ok(chunk) = serde_json::from_slice::<Value>(&data) {
                text.push_str(chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
            }
        }
    }
    println!("{text}\n-- {served}");
    Ok(())
}
