//! Keeps one server running: one that dies is named with the end of its log and started again.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::process::Process;
use crate::server::Server;
use crate::state::{Board, Entry};

/// How soon a death is noticed.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The pause before a restart doubles from the first to the last value with every death, so that a server that cannot
/// live does not keep the machine busy. One that lived for a while starts anew with the first.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const LIVED_FOR_A_WHILE: Duration = Duration::from_secs(30);

/// Stops its server when told, or when dropped.
#[derive(Debug)]
pub struct Keeper {
    role: &'static str,
    /// Hanging up tells the thread to stop the server and to end.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Takes over a server that has been started.
    pub fn new(role: &'static str, server: Server, process: Process, board: Arc<Board>) -> Result<Self> {
        record(&board, &server, &process)?;
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || keep(&server, process, &board, &stopped));
        Ok(Self { role, stop: Some(stop), thread: Some(thread) })
    }

    /// What all replicas of a server have in common.
    pub fn role(&self) -> &'static str {
        self.role
    }

    /// Tells the server to stop, without waiting.
    pub fn ask_to_stop(&mut self) {
        self.stop = None;
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.ask_to_stop();
        if let Some(thread) = self.thread.take() {
            // A panic there has already been reported.
            let _ = thread.join();
        }
    }
}

fn keep(server: &Server, mut process: Process, board: &Board, stop: &Receiver<()>) {
    let mut pause = FIRST_PAUSE;
    let mut started = Instant::now();
    while sleeps(stop, LOOK_AGAIN) {
        let Some(death) = death(&mut process) else {
            continue;
        };
        if started.elapsed() > LIVED_FOR_A_WHILE {
            pause = FIRST_PAUSE;
        }
        eprintln!("{death}\nstarting {} again in {pause:?}", server.program.name);
        if !sleeps(stop, pause) {
            return;
        }
        pause = LONGEST_PAUSE.min(pause * 2);
        started = Instant::now();
        match server.start() {
            Ok(again) => {
                process = again;
                if let Err(error) = record(board, server, &process) {
                    eprintln!("{error:#}");
                }
            }
            // The dead one stays in its place, and the next look tries again.
            Err(error) => eprintln!("{error:#}"),
        }
    }
    if let Err(error) = process.stop() {
        eprintln!("cannot stop {}: {error}", server.program.name);
    }
}

/// False when it is time to stop.
fn sleeps(stop: &Receiver<()>, time: Duration) -> bool {
    stop.recv_timeout(time) == Err(RecvTimeoutError::Timeout)
}

fn death(process: &mut Process) -> Option<String> {
    match process.ended() {
        Ok(None) => None,
        Ok(Some(status)) => Some(process.obituary(status)),
        Err(error) => Some(format!("cannot watch {}: {error}", process.program().name)),
    }
}

fn record(board: &Board, server: &Server, process: &Process) -> Result<()> {
    board.record(Entry {
        name: server.program.name.clone(),
        id: process.id(),
        address: server.address,
        probe: server.probe.clone(),
        log: server.program.log.clone(),
    })
}
