//! Interrupted exports, and logs that grow meanwhile.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use event_log::transparency::signed_checkpoint::split_notes;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use testing::purchased;
use tokio::{task::block_in_place, time::sleep};

use crate::support::{SignedLog, audit, auditor, text};

fn start_export(source: &[&str], output: &Path) -> Child {
    let mut command = auditor();
    command.arg("export").args(source).arg("--output").arg(output);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn length(file: &Path) -> u64 {
    file.metadata().map_or(0, |metadata| metadata.len())
}

/// Kills an export once the file has grown by some bytes. False if it finished earlier.
async fn kill_after(export: &mut Child, file: &Path, bytes: u64) -> bool {
    let start = length(file);
    while length(file) < start + bytes {
        if export.try_wait().unwrap().is_some() {
            return false;
        }
        sleep(Duration::from_micros(200)).await;
    }
    export.kill().unwrap();
    export.wait().unwrap();
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_killed_repeatedly_during_purchases_equals_an_uninterrupted_one() {
    let log = SignedLog::create().await;
    let projector = log.projector().await;
    let key = log.public_key_file();
    for _ in 0..6 {
        log.grow(10_000).await;
    }
    let (event_store, read_model) = (log.databases.event_store_url("auditor"), log.databases.read_model_url("auditor"));
    let source = [event_store.as_str(), "--read-model", &read_model];
    let interrupted = log.file("interrupted.ndjson");
    let mut random = StdRng::seed_from_u64(7);
    let mut kills = 0;
    let verify = || audit(&["verify", interrupted.to_str().unwrap(), "--public-key", key.to_str().unwrap()]);
    let exporting = AtomicBool::new(true);
    let buying = async {
        while exporting.load(Ordering::SeqCst) {
            log.databases.append(&vec![purchased("pro", 19_900); 10]).await;
        }
    };
    let killing = async {
        for _ in 0..12 {
            let mut export = start_export(&source, &interrupted);
            let killed = kill_after(&mut export, &interrupted, random.random_range(1..3_000_000)).await;
            kills += u32::from(killed);
            let verified = block_in_place(verify);
            assert_ne!(verified.status.code(), Some(1), "{}", text(&verified));
        }
        exporting.store(false, Ordering::SeqCst);
    };
    tokio::join!(buying, killing);
    assert!(kills >= 5, "only {kills} exports were killed");
    let head = log.databases.head().await;
    log.signed(head).await;
    let export = |name: &str| {
        let output = log.file(name);
        let done = audit(&[&["export"], &source[..], &["--output", output.to_str().unwrap()]].concat());
        assert!(done.status.success(), "{}", text(&done));
        fs::read(output).unwrap()
    };
    let continued = export("interrupted.ndjson");
    let in_one_go = export("in-one-go.ndjson");
    assert_eq!(continued.len(), in_one_go.len());
    assert!(continued == in_one_go, "the files differ");
    assert_eq!(String::from_utf8(continued).unwrap().lines().count(), usize::try_from(head).unwrap());

    projector.kill();
    let verified = verify();
    assert!(verified.status.success(), "{}", text(&verified));
    assert!(text(&verified).contains(&format!("{head} events")), "{}", text(&verified));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_ends_within_a_line_after_all_checkpoints_is_unfinished_not_wrong() {
    let log = SignedLog::create().await;
    let projector = log.projector().await;
    log.grow(100).await;
    let (event_store, read_model) = (log.databases.event_store_url("auditor"), log.databases.read_model_url("auditor"));
    let (file, key) = (log.file("log.ndjson"), log.public_key_file());
    let path = file.to_str().unwrap();
    let source = ["export", &event_store, "--read-model", &read_model, "-o", path];
    assert!(audit(&source).status.success());
    log.grow(100).await;
    projector.kill();
    let checkpoints = fs::read(log.file("log.ndjson.checkpoints")).unwrap();
    assert!(audit(&source).status.success());
    // As if killed just before its end.
    fs::write(log.file("log.ndjson.checkpoints"), checkpoints).unwrap();
    let lines = fs::read(&file).unwrap();
    fs::write(&file, &lines[..lines.len() - 20]).unwrap();
    let verify = || audit(&["verify", path, "--public-key", key.to_str().unwrap()]);
    let unfinished = verify();
    assert_eq!(unfinished.status.code(), Some(2), "{}", text(&unfinished));
    assert!(text(&unfinished).contains("UNFINISHED at position 200"), "{}", text(&unfinished));
    assert!(audit(&source).status.success());
    let verified = verify();
    assert!(verified.status.success() && text(&verified).contains("2 agree"), "{}", text(&verified));
    assert_eq!(fs::read(&file).unwrap(), lines);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_does_not_fit_on_the_disk_leaves_no_partial_note() {
    let log = SignedLog::create().await;
    let _projector = log.projector().await;
    let (event_store, read_model) = (log.databases.event_store_url("auditor"), log.databases.read_model_url("auditor"));
    let (file, key) = (log.file("kept.txt"), log.public_key_file());
    let arguments = [
        "checkpoint",
        &event_store,
        "--read-model",
        &read_model,
        "--public-key",
        key.to_str().unwrap(),
        "--file",
        file.to_str().unwrap(),
    ];
    for _ in 0..2 {
        log.grow(1).await;
        assert!(audit(&arguments).status.success());
    }
    let whole = fs::read_to_string(&file).unwrap();
    log.grow(1).await;
    // No file of it may be larger than 512 bytes, which the third note would cross.
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$@\"", "sh"]).arg(env!("CARGO_BIN_EXE_auditor"));
    let full = limited.args(arguments).output().unwrap();
    assert_eq!(full.status.code(), Some(2), "{}", text(&full));
    assert!(text(&full).contains("kept.txt"), "{}", text(&full));
    assert_eq!(fs::read_to_string(&file).unwrap(), whole);
    assert!(audit(&arguments).status.success());
    assert_eq!(split_notes(&fs::read_to_string(&file).unwrap()).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_other_file_is_neither_continued_nor_changed() {
    let log = SignedLog::create().await;
    let (event_store, file) = (log.databases.event_store_url("auditor"), log.file("list.txt"));
    for content in ["milk", "milk\nbutter\n", "{\"milk\": 1}"] {
        fs::write(&file, content).unwrap();
        let refused = audit(&["export", &event_store, "-o", file.to_str().unwrap()]);
        assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
        assert!(text(&refused).contains("is not an export"), "{}", text(&refused));
        assert_eq!(fs::read_to_string(&file).unwrap(), content);
    }
}

#[test]
fn an_endless_line_is_not_kept_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log.ndjson");
    fs::write(&file, "x".repeat(3 << 20)).unwrap();
    let verified = audit(&["verify", file.to_str().unwrap()]);
    assert_eq!(verified.status.code(), Some(1), "{}", text(&verified));
    assert!(text(&verified).contains("its line is longer than that of any event"), "{}", text(&verified));
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_an_export_file_are_named_without_any_server() {
    let log = SignedLog::create().await;
    let projector = log.projector().await;
    for _ in 0..3 {
        log.grow(100).await;
    }
    let (event_store, read_model) = (log.databases.event_store_url("auditor"), log.databases.read_model_url("auditor"));
    let (file, key) = (log.file("log.ndjson"), log.public_key_file());
    let (path, key, kept) = (file.to_str().unwrap(), key.to_str().unwrap(), log.checkpoints_file());
    let kept = kept.to_str().unwrap();
    assert!(audit(&["export", &event_store, "--read-model", &read_model, "-o", path]).status.success());
    projector.kill();
    let honest = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = honest.lines().collect();
    let without = |gone: usize| [&lines[..gone], &lines[gone + 1..], &[""]].concat().join("\n");
    let mut swapped = lines.clone();
    swapped.swap(149, 150);
    let cases: [(&str, String, &str); 7] = [
        ("honest", honest.clone(), "no fault found"),
        ("a line is missing", without(41), "WRONG at position 42: it is missing"),
        ("the end is missing", without(299), "WRONG at position 300: they are missing"),
        ("two lines are swapped", swapped.join("\n") + "\n", "WRONG at position 150: it is missing"),
        (
            "a blank more",
            honest.replacen("\"data\":{", "\"data\": {", 1),
            "WRONG at position 1: its line is not encoded as",
        ),
        ("another price", honest.replacen("19900", "19901", 1), "WRONG within positions 1 to 100: one of these"),
        ("half a line", honest[..honest.len() - 20].to_owned(), "WRONG at position 300: the file ends in the middle"),
    ];
    for (what, content, verdict) in cases {
        fs::write(&file, content).unwrap();
        let verified = audit(&["verify", path, "--public-key", key, "--checkpoints", kept]);
        assert!(text(&verified).contains(verdict), "{what}: {}", text(&verified));
        assert_eq!(verified.status.success(), what == "honest", "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_signed_by_another_key_or_unsigned_is_not_trusted() {
    let log = SignedLog::create().await;
    let projector = log.projector().await;
    log.grow(10).await;
    projector.kill();
    let other = SignedLog::create().await;
    let (key, foreign) = (log.public_key_file(), other.public_key_file());
    let (event_store, read_model) = (log.databases.event_store_url("auditor"), log.databases.read_model_url("auditor"));
    let checkpoint = |key: &Path| {
        audit(&["checkpoint", &event_store, "--read-model", &read_model, "--public-key", key.to_str().unwrap()])
    };
    let trusted = checkpoint(&key);
    assert!(trusted.status.success(), "{}", text(&trusted));
    assert_eq!(String::from_utf8(trusted.stdout).unwrap(), log.notes().pop().unwrap());
    let distrusted = checkpoint(&foreign);
    assert_eq!(distrusted.status.code(), Some(2), "{}", text(&distrusted));
    assert!(text(&distrusted).contains("cannot be trusted"), "{}", text(&distrusted));
}
