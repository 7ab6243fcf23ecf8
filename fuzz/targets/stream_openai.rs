//! Owns fuzzing the decoder of OpenAI streams.
#![no_main]

mod stream;

use greenroom::wire::Protocol;

libfuzzer_sys::fuzz_target!(|input: &[u8]| stream::run(Protocol::Openai, input));
