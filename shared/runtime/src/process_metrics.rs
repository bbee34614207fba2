//! Process metrics: those that every Prometheus client library exports, under their usual names, and the time to readiness.

use std::{
    fmt,
    fs::read_to_string,
    str::FromStr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{
        counter::ConstCounter,
        gauge::{ConstGauge, Gauge},
        info::Info,
    },
    registry::{Registry, Unit},
};
use tokio::time::interval;
use tracing::info;

use crate::{log_events, log_output, tasks::Tasks};

/// Whether the process can do its job, or the reason why not.
pub type Readiness = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The kernel's unit `USER_HZ`: 100 on every architecture that we build for.
const TICKS_PER_SECOND: f64 = 100.0;
/// Resolution of the startup time: services start within some milliseconds.
const READY_POLL: Duration = Duration::from_millis(2);

/// Registers readiness, startup time and version. The returned flag turns true when the process first becomes ready.
pub fn observe(readiness: Readiness, registry: &mut Registry, tasks: &mut Tasks) -> Arc<AtomicBool> {
    let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "Version of the program", version);
    let help = "Log lines that could not be written";
    registry.register("log_lines_lost", help, log_output::lost_lines());
    let startup = Gauge::<f64, AtomicU64>::default();
    let help = "Time from the start of the process until it was ready for the first time; 0 until then";
    registry.register_with_unit("startup", help, Unit::Seconds, startup.clone());
    registry.register_collector(Box::new(Ready(Arc::clone(&readiness))));
    let started = Arc::new(AtomicBool::new(false));
    let has_started = Arc::clone(&started);
    tasks.spawn("startup", async move |stop| {
        let mut look = interval(READY_POLL);
        while !stop.is_cancelled() {
            look.tick().await;
            if readiness().is_ok() {
                let age = age().unwrap_or_default();
                startup.set(age.as_secs_f64());
                has_started.store(true, Ordering::Relaxed);
                info!(
                    event.name = log_events::READY,
                    startup.duration_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
                    "Ready"
                );
                break;
            }
        }
        stop.cancelled().await;
        Ok(())
    });
    started
}

/// 1 while `/readyz` reports readiness.
struct Ready(Readiness);

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ready").finish_non_exhaustive()
    }
}

impl Collector for Ready {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        gauge(&mut encoder, "ready", "1 while the process can do its job", None, i64::from((self.0)().is_ok()))
    }
}

/// The metrics that every client library exports, without a prefix of ours.
pub fn standard_metrics() -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Standard));
    registry
}

#[derive(Debug)]
struct Standard;

impl Collector for Standard {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        if let Some(since) = started_at() {
            let help = "Start time of the process since the Unix epoch";
            gauge(&mut encoder, "process_start_time", help, Some(&Unit::Seconds), since)?;
        }
        if let Some(used) = cpu_seconds() {
            let used = ConstCounter::new(used);
            let help = "CPU time spent, user and system";
            let metric = encoder.encode_descriptor("process_cpu", help, Some(&Unit::Seconds), used.metric_type())?;
            used.encode(metric)?;
        }
        let kilobytes = |name| status_kilobytes(name).map(|kilobytes| kilobytes.saturating_mul(1024));
        if let Some(resident) = kilobytes("VmRSS:") {
            gauge(&mut encoder, "process_resident_memory", "Resident memory", Some(&Unit::Bytes), resident)?;
        }
        if let Some(open) = std::fs::read_dir("/proc/self/fd").ok().and_then(|open| i64::try_from(open.count()).ok()) {
            gauge(&mut encoder, "process_open_fds", "Open file descriptors", None, open)?;
        }
        if let Some(max) = max_open_files() {
            gauge(&mut encoder, "process_max_fds", "File descriptors that may be open", None, max)?;
        }
        Ok(())
    }
}

fn gauge<N>(encoder: &mut DescriptorEncoder, name: &str, help: &str, unit: Option<&Unit>, value: N) -> fmt::Result
where
    ConstGauge<N>: EncodeMetric,
{
    let gauge = ConstGauge::new(value);
    let metric = encoder.encode_descriptor(name, help, unit, gauge.metric_type())?;
    gauge.encode(metric)
}

/// Age of the process, to a hundredth of a second.
fn age() -> Option<Duration> {
    /// `starttime`, the 22nd field of `/proc/self/stat`.
    const STARTED: usize = 22;
    let up: f64 = read_to_string("/proc/uptime").ok()?.split(' ').next()?.parse().ok()?;
    Duration::try_from_secs_f64((up - stat::<f64>(STARTED)? / TICKS_PER_SECOND).max(0.0)).ok()
}

/// Computed once, because the clock may be adjusted later.
fn started_at() -> Option<f64> {
    static STARTED_AT: OnceLock<Option<f64>> = OnceLock::new();
    *STARTED_AT.get_or_init(|| Some((SystemTime::now() - age()?).duration_since(UNIX_EPOCH).ok()?.as_secs_f64()))
}

fn cpu_seconds() -> Option<f64> {
    /// `utime` and `stime`, the 14th and 15th fields.
    const USED: [usize; 2] = [14, 15];
    let [user, system] = USED.map(stat::<f64>);
    Some((user? + system?) / TICKS_PER_SECOND)
}

/// A field of `/proc/self/stat` from the third on, counted from 1 as in its manual. The second is the program's name in
/// parentheses, which may contain blanks.
fn stat<T: FromStr>(field: usize) -> Option<T> {
    let stat = read_to_string("/proc/self/stat").ok()?;
    let (_, behind_name) = stat.rsplit_once(") ")?;
    behind_name.split(' ').nth(field - 3)?.parse().ok()
}

fn status_kilobytes(name: &str) -> Option<i64> {
    let status = read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

fn max_open_files() -> Option<i64> {
    let limits = read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;

    #[test]
    fn the_process_metrics_have_their_usual_names() {
        let mut text = String::new();
        encode(&mut text, &standard_metrics()).unwrap();
        let value = |name: &str| -> f64 {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            value.unwrap_or_else(|| panic!("{name} is missing in\n{text}")).parse().unwrap()
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((now - value("process_start_time_seconds")).abs() < 3600.0);
        assert!(value("process_cpu_seconds_total") >= 0.0);
        assert!(value("process_resident_memory_bytes") > 1_000_000.0);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
    }
}
