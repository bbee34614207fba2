//! Wherever the log of a service goes, purchases continue.

use std::{
    fs::File,
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use nix::{fcntl::OFlag, sys::stat::Mode, unistd::mkfifo};
use tempfile::TempDir;
use testing::{Databases, NO_NATS, Service, Until};

async fn command_api_logging_to(log: &Path, databases: &Databases) -> Service {
    let event_store = databases.event_store_url("command_api");
    let settings = [("EVENT_STORE_URL", event_store.as_str()), ("NATS_URL", NO_NATS)];
    Service::start_logging_to(log, "command-api", Until::Ready, &settings).await
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_the_lines_are_counted_and_purchases_continue() {
    let databases = Databases::create().await;
    let service = command_api_logging_to(Path::new("/dev/full"), &databases).await;
    service.buy("pro").await;
    assert!(service.metric("sales_log_lines_lost_total").await > 0.0);
    assert!(service.terminate().await.success());
    assert_eq!(databases.head().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_that_no_one_reads_blocks_neither_purchases_nor_the_end() {
    let (databases, folder) = (Databases::create().await, TempDir::new().unwrap());
    let pipe = folder.path().join("pipe");
    mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    let mut never_read =
        File::options().read(true).write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&pipe).unwrap();
    let full = loop {
        if let Err(error) = never_read.write_all(&[b'x'; 4096]) {
            break error;
        }
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    let service = command_api_logging_to(&pipe, &databases).await;
    service.buy("pro").await;
    assert!(service.terminate().await.success());
    assert_eq!(databases.head().await, 1);
}
