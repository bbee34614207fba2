//! What a witness starts with.

use std::fs;

use testing::{Command, Ended};

use crate::support::{Log, Witness, submit};

async fn started(witness: &Witness, log: &str) -> Ended {
    let file = witness.file("key");
    let arguments = ["serve", "--key-file", file.to_str().unwrap(), "--log", log, "--listen-address", "127.0.0.1:0"];
    Command::start("witness", &arguments, &[]).ended().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_refuses_to_start_with_a_damaged_memory_or_in_another_ones_folder() {
    let mut log = Log::new();
    log.grow(10, "event");
    let key = log.public_key();
    let witness = Witness::create(&key).await;
    let service = witness.start().await;
    submit(&service, log.submission(0)).await;
    let ended = started(&witness, &key).await;
    assert!(!ended.success && ended.log.contains("another witness uses"), "{}", ended.log);
    service.kill();

    let memory = fs::read_dir(witness.folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let memory: Vec<_> = memory.filter(|path| fs::read_to_string(path).unwrap() == log.note()).collect();
    let [memory] = &memory[..] else { panic!("{memory:?}") };
    for damaged in
        [String::new(), "\0".repeat(200), log.note().replace("\n10\n", "\n9\n"), Log::new().grow(9, "x").note()]
    {
        fs::write(memory, &damaged).unwrap();
        let ended = started(&witness, &key).await;
        assert!(!ended.success && ended.log.contains("is not the last cosigned checkpoint"), "{}", ended.log);
    }
    // A write that was interrupted left the memory as it was.
    fs::write(memory, log.note()).unwrap();
    fs::write(memory.with_extension("partial"), "sales.exa").unwrap();
    let service = witness.start().await;
    log.grow(12, "event");
    witness.cosignature(submit(&service, log.submission(10)).await, &log.note()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_are_named() {
    let log = Log::new();
    let witness = Witness::create(&log.public_key()).await;
    for (key, reason) in
        [("", "no public key of a log"), ("sales.example/log", "the public key"), ("a+0+b", "the public key")]
    {
        let ended = started(&witness, key).await;
        assert!(!ended.success && ended.log.contains(reason), "{key}: {}", ended.log);
    }
    // The key of a log is none of a witness, and a key file stays as it is.
    let file = witness.file("key");
    let again = ["key", "--origin", "witness.example/test", "--file", file.to_str().unwrap()];
    assert!(!Command::start("witness", &again, &[]).ended().await.success);
    assert!(Command::start("witness", &[&again[..], &["--if-missing"]].concat(), &[]).ended().await.success);
    fs::write(&file, log.public_key()).unwrap();
    let ended = started(&witness, &log.public_key()).await;
    assert!(!ended.success && ended.log.contains("not a key"), "{}", ended.log);
}
