//! The front door: the real binary as a process, scripted backends behind it, one file a behaviour.

mod support;

mod admin;
mod balance;
mod byte_exact;
mod commit;
mod connections;
mod deadline;
mod demo;
mod exhausted;
mod explain;
mod faults;
mod floors;
mod health;
mod hedge;
mod history;
mod late_readers;
mod logs;
mod metrics;
mod passthrough;
mod pin;
mod probe;
mod protocols;
mod queue;
mod refusals;
mod reload;
mod rescue;
mod retry_after;
mod settings;
mod sixteen;
mod stainless;
mod stop;
mod streams;
mod supervision;
mod tools;
mod users;
