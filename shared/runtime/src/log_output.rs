//! Where log lines go: through a bounded queue to standard output, written by a thread of its own. If the output fails or blocks, such as
//! a full disk or a pipe that no one reads, lines are lost and counted; nothing else happens.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, Write},
    panic::{self, PanicHookInfo},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError},
    },
    thread,
    time::{Duration, Instant},
};

use prometheus_client::metrics::counter::Counter;
use tracing::error;
use tracing_subscriber::fmt::MakeWriter;

use crate::log_events;

/// Lines that wait for the output. They cover a pause of some seconds, and take some megabytes.
const QUEUE_LINES: usize = 4096;
/// How long a line is waited for, so that the log has it before what follows, be it a response or a kill. Only while the output keeps up:
/// after one timeout, nothing waits until the output accepts lines again.
const LINE_TIMEOUT: Duration = Duration::from_millis(10);
/// How long the process waits for the output at its end.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
const POLL_INTERVAL: Duration = Duration::from_millis(1);

static LOST_LINES: LazyLock<Counter> = LazyLock::new(Counter::default);

/// How many lines of this process were lost.
pub fn lost_lines() -> Counter {
    LOST_LINES.clone()
}

/// A line, or nothing, and whom to tell that it has been written or lost, as have all lines before it.
struct Message {
    line: Vec<u8>,
    done: SyncSender<()>,
}

/// Takes lines.
#[derive(Clone, Debug)]
pub struct LogOutput {
    queue: SyncSender<Message>,
    is_stuck: Arc<AtomicBool>,
    lost: Counter,
}

/// Waits, bounded, at its end until the lines are written.
#[derive(Debug)]
#[must_use = "its end writes the last lines"]
pub struct FlushAtEnd(LogOutput);

impl LogOutput {
    /// Writes lines to `output`, and counts those that are lost.
    pub fn start(output: impl Write + Send + 'static, lost: Counter) -> (Self, FlushAtEnd) {
        let (queue, messages) = mpsc::sync_channel(QUEUE_LINES);
        let is_stuck = Arc::new(AtomicBool::new(false));
        let log = Self { queue, is_stuck: Arc::clone(&is_stuck), lost: lost.clone() };
        let write = move || write_messages(output, &messages, &is_stuck, &lost);
        // Without the thread, every line is lost and counted.
        let _ = thread::Builder::new().name("log".to_owned()).spawn(write);
        (log.clone(), FlushAtEnd(log))
    }

    fn flush(&self) {
        let deadline = Instant::now() + FLUSH_TIMEOUT;
        let (done, flushed) = mpsc::sync_channel(1);
        let mut message = Message { line: Vec::new(), done };
        while let Err(TrySendError::Full(unsent)) = self.queue.try_send(message) {
            if Instant::now() > deadline {
                return;
            }
            message = unsent;
            thread::sleep(POLL_INTERVAL);
        }
        let _ = flushed.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

impl Drop for FlushAtEnd {
    fn drop(&mut self) {
        self.0.flush();
    }
}

/// One call per line: the formatter writes whole ones.
impl Write for LogOutput {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let (done, written) = mpsc::sync_channel(1);
        if self.queue.try_send(Message { line: line.to_vec(), done }).is_err() {
            self.lost.inc();
        } else if !self.is_stuck.load(Ordering::Relaxed)
            && written.recv_timeout(LINE_TIMEOUT) == Err(RecvTimeoutError::Timeout)
        {
            self.is_stuck.store(true, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogOutput {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn write_messages(mut output: impl Write, messages: &Receiver<Message>, is_stuck: &AtomicBool, lost: &Counter) {
    for Message { line, done } in messages {
        if output.write_all(&line).and_then(|()| output.flush()).is_err() {
            lost.inc();
        }
        is_stuck.store(false, Ordering::Relaxed);
        // Fails after the timeout of the sender.
        let _ = done.send(());
    }
}

/// Logs panics. The standard library would write them to standard error, and wait for it.
pub fn log_panics() {
    panic::set_hook(Box::new(|panic: &PanicHookInfo<'_>| {
        let backtrace = Backtrace::capture();
        error!(
            event.name = log_events::PANICKED,
            reason = panic.payload_as_str().unwrap_or("not a text"),
            location = panic.location().map(display),
            backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| display(&backtrace)),
            "A thread panicked"
        );
    }));
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{Read, pipe},
    };

    use super::*;

    #[test]
    fn lines_are_written_in_order_before_the_end() {
        let (mut reader, writer) = pipe().unwrap();
        let (mut log, end) = LogOutput::start(writer, Counter::default());
        for number in 0..1000 {
            writeln!(log, "{number}").unwrap();
        }
        drop((log, end));
        let mut written = String::new();
        reader.read_to_string(&mut written).unwrap();
        assert!(written.lines().eq((0..1000).map(|number| number.to_string())), "{written}");
    }

    #[test]
    fn an_output_that_fails_costs_lines_and_nothing_else() {
        let lost = Counter::default();
        let (mut log, end) = LogOutput::start(File::options().write(true).open("/dev/full").unwrap(), lost.clone());
        for _ in 0..3 {
            log.write_all(b"a line\n").unwrap();
        }
        drop((log, end));
        assert_eq!(lost.get(), 3);
    }

    #[test]
    fn an_output_that_blocks_costs_lines_and_nothing_else() {
        let (_never_read, writer) = pipe().unwrap();
        let lost = Counter::default();
        let (mut log, end) = LogOutput::start(writer, lost.clone());
        // More than the pipe and the queue hold.
        for _ in 0..QUEUE_LINES + 1000 {
            log.write_all(&[b'x'; 4096]).unwrap();
        }
        assert!(lost.get() > 0);
        drop((log, end));
    }

    #[test]
    fn a_panic_is_logged_with_its_message_and_location() {
        let (mut reader, writer) = pipe().unwrap();
        let (log, end) = LogOutput::start(writer, Counter::default());
        let before = panic::take_hook();
        log_panics();
        tracing::subscriber::with_default(tracing_subscriber::fmt().with_writer(log).finish(), || {
            panic::catch_unwind(|| panic!("invariant {} is broken", 7)).unwrap_err();
        });
        panic::set_hook(before);
        drop(end);
        let mut line = String::new();
        reader.read_to_string(&mut line).unwrap();
        for part in ["ERROR", log_events::PANICKED, "invariant 7 is broken", file!()] {
            assert!(line.contains(part), "{part} is missing in {line}");
        }
    }
}
