//! The auditor's tools against real logs, intact and tampered.

mod bad_input;
mod export;
mod fail_closed;
mod forks;
mod golden;
mod http;
mod newer;
mod places;
mod replay;
mod restored;
mod since;
mod support;
mod tampering;
mod voided;
mod witnesses;
