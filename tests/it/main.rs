//! The front door: the real binary as a process, scripted backends behind it, one file a behaviour.

mod support;

mod admin;
mod balance;
mod byte_exact;
mod demo;
mod faults;
mod floors;
mod health;
mod history;
mod logs;
mod metrics;
mod passthrough;
mod pin;
mod refusals;
mod rescue;
mod settings;
mod sixteen;
mod stop;
mod streams;
mod supervision;
mod users;
