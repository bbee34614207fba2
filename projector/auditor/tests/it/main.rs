//! The auditor's tools against real logs, honest ones and others.

mod bad_input;
mod export;
mod golden;
mod http;
mod replay;
mod support;
mod tampering;
