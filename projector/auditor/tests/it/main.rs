//! The auditor's tools against real logs, intact and tampered.

mod bad_input;
mod export;
mod golden;
mod http;
mod replay;
mod support;
mod tampering;
mod voided;
mod witnesses;
