//! Greenroom: an actor-based LLM proxy. The modules, in the order in which a request meets them.

pub mod app;
pub mod cli;
pub mod inbound;

pub mod exchange;
pub mod router;
pub mod supervision;

pub mod backend;
pub mod limits;
pub mod telemetry;
pub mod upstream;

pub mod clock;
pub mod error;
pub mod pause;
pub mod settings;
pub mod simulator;
pub mod timer;
pub mod turn;
pub mod wire;
