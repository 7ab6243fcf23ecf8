//! stub
use std::{io, net::SocketAddr};
/// x
pub struct Running {
    /// x
    pub addr: SocketAddr,
}
/// x
pub struct Simulated;
/// x
pub fn start(_: Simulated) -> io::Result<Running> {
    Err(io::Error::other("x"))
}
/// x
pub fn demo() -> Vec<(&'static str, &'static str, Simulated)> {
    vec![]
}
