//! Owns fuzzing what an operator may write: any text is either settings or a list of problems, each with words.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &str| {
    if let Err(bad) = greenroom::settings::parse("fuzz.toml", input) {
        assert!(!bad.to_string().trim().is_empty());
    }
});
