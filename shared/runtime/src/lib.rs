//! The frame of every service.
//!
//! - [`key_file`]: creates files with keys
//! - [`run`]: the life of a service, from start to drained stop, with its [`tasks`]; [`run_loop`]: the loop of a task
//! - [`access`]: authentication and authorization
//! - [`http`]: the frame of every HTTP interface; [`healthcheck`]: the container health check
//! - [`nats`]: the connection to NATS, and the names of streams and subjects
//! - [`pooler`]: refuses poolers between the service and its databases
//! - [`log_output`]: where log lines go; [`log_events`]: stable names of log events; [`log_limits`]: bounds of what clients cause in
//!   the log
//! - [`traces`], [`process_metrics`]: observability of requests and of the process
//! - [`backoff`]: delays between retries
//! - [`fail_points`]: where a process dies in trials

pub mod access;
pub mod backoff;
pub mod fail_points;
pub mod healthcheck;
pub mod http;
pub mod key_file;
pub mod log_events;
pub mod log_limits;
pub mod log_output;
pub mod nats;
pub mod pooler;
pub mod process_metrics;
pub mod run;
pub mod run_loop;
pub mod tasks;
pub mod traces;

/// The allocator of the images. With glibc's, a purchase took a fifth more of command-api's CPU time.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
