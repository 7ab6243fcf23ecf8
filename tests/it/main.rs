//! The front door: the real binary as a process, scripted backends behind it, one file a behaviour.

mod support;

mod health;
mod passthrough;
mod pin;
mod refusals;
mod streams;
mod supervision;
mod users;
