//! Interrupted exports, and logs that grow meanwhile.

use std::{
    fs,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use event_log::transparency::signed_checkpoint::split_notes;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use testing::purchased;
use tokio::{task::block_in_place, time::sleep};

use crate::support::{SignedLog, audit, audited, auditor, text};

fn start_export(log: &SignedLog, output: &str) -> Child {
    let mut command = auditor();
    command.arg("export").args(log.both()).args(["--output", output]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn length(file: &str) -> u64 {
    fs::metadata(file).map_or(0, |metadata| metadata.len())
}

/// Kills an export once the file has grown by some bytes. False if it finished earlier.
async fn kill_after(export: &mut Child, file: &str, bytes: u64) -> bool {
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

/// Exports to a file, or continues its export.
fn export(log: &SignedLog, output: &str) {
    let [event_store, read_model, address] = &log.both();
    audited(0, &["export", event_store, read_model, address, "--output", output]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_killed_repeatedly_during_purchases_equals_an_uninterrupted_one() {
    let log = SignedLog::create().await;
    let projector = log.projector().await;
    let key = log.public_key_file();
    for _ in 0..6 {
        log.grow(10_000).await;
    }
    let interrupted = log.file("interrupted.ndjson");
    let mut random = StdRng::seed_from_u64(7);
    let mut kills = 0;
    let verify = || audit(&["verify", &interrupted, "--public-key", &key]);
    let exporting = AtomicBool::new(true);
    let buying = async {
        while exporting.load(Ordering::SeqCst) {
            log.databases.append(&vec![purchased("pro", 19_900); 10]).await;
        }
    };
    let killing = async {
        for _ in 0..12 {
            let mut export = start_export(&log, &interrupted);
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
    let exported = |name: &str| {
        let output = log.file(name);
        export(&log, &output);
        fs::read(output).unwrap()
    };
    let continued = exported("interrupted.ndjson");
    let in_one_go = exported("in-one-go.ndjson");
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
    let (file, key) = (log.file("log.ndjson"), log.public_key_file());
    export(&log, &file);
    log.grow(100).await;
    projector.kill();
    let checkpoints = fs::read(log.file("log.ndjson.checkpoints")).unwrap();
    export(&log, &file);
    // As if killed just before its end.
    fs::write(log.file("log.ndjson.checkpoints"), checkpoints).unwrap();
    let lines = fs::read(&file).unwrap();
    fs::write(&file, &lines[..lines.len() - 20]).unwrap();
    let unfinished = audited(2, &["verify", &file, "--public-key", &key]);
    assert!(unfinished.contains("UNFINISHED at position 200"), "{unfinished}");
    export(&log, &file);
    let verified = audited(0, &["verify", &file, "--public-key", &key]);
    assert!(verified.contains("2 agree"), "{verified}");
    assert_eq!(fs::read(&file).unwrap(), lines);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_does_not_fit_on_the_disk_leaves_no_partial_note() {
    let log = SignedLog::create().await;
    let _projector = log.projector().await;
    let (file, key) = (log.file("kept.txt"), log.public_key_file());
    let [event_store, read_model, address] = &log.both();
    let arguments = ["checkpoint", event_store, read_model, address, "--public-key", &key, "--file", &file];
    for _ in 0..2 {
        log.grow(1).await;
        audited(0, &arguments);
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
    audited(0, &arguments);
    assert_eq!(split_notes(&fs::read_to_string(&file).unwrap()).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_other_file_is_neither_continued_nor_changed() {
    let log = SignedLog::create().await;
    let file = log.file("list.txt");
    for content in ["milk", "milk\nbutter\n", "{\"milk\": 1}"] {
        fs::write(&file, content).unwrap();
        let refused = audited(2, &["export", &log.event_store(), "-o", &file]);
        assert!(refused.contains("is not an export"), "{refused}");
        assert_eq!(fs::read_to_string(&file).unwrap(), content);
    }
}

#[test]
fn an_endless_line_is_not_kept_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log.ndjson");
    fs::write(&file, "x".repeat(3 << 20)).unwrap();
    let verified = audited(1, &["verify", file.to_str().unwrap()]);
    assert!(verified.contains("its line is longer than that of any event"), "{verified}");
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_an_export_file_are_named_without_any_server() {
    let log = SignedLog::create().await;
    let projector = log.projector().await;
    for _ in 0..3 {
        log.grow(100).await;
    }
    let (file, key, kept) = (log.file("log.ndjson"), log.public_key_file(), log.checkpoints_file());
    export(&log, &file);
    projector.kill();
    let honest = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = honest.lines().collect();
    let without = |gone: usize| [&lines[..gone], &lines[gone + 1..], &[""]].concat().join("\n");
    let mut swapped = lines.clone();
    swapped.swap(149, 150);
    let cases: [(&str, String, &str); 7] = [
        ("honest", honest.clone(), "no fault found"),
        ("a line is missing", without(41), "WRONG at position 42: it is missing"),
        ("the end is missing", without(299), "WRONG within positions 201 to 300: 1 event is missing"),
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
        let verified = audit(&["verify", &file, "--public-key", &key, "--checkpoints", &kept]);
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
    let [event_store, read_model, address] = &log.both();
    let trusted = audit(&["checkpoint", event_store, read_model, address, "--public-key", &key]);
    assert!(trusted.status.success(), "{}", text(&trusted));
    assert_eq!(String::from_utf8(trusted.stdout).unwrap(), log.notes().pop().unwrap());
    let distrusted = audited(2, &["checkpoint", event_store, read_model, address, "--public-key", &foreign]);
    assert!(distrusted.contains("cannot be trusted"), "{distrusted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_a_log_that_was_cut_off_or_rewritten_is_not_continued() {
    let log = SignedLog::create().await;
    let projector = log.projector().await;
    log.grow(100).await;
    let (file, key) = (log.file("log.ndjson"), log.public_key_file());
    export(&log, &file);
    let (lines, checkpoints) = (fs::read(&file).unwrap(), fs::read(log.file("log.ndjson.checkpoints")).unwrap());
    log.grow(50).await;
    projector.kill();
    let query_api = log.databases.query_api().await;
    let [event_store, read_model, address] = &log.both();
    let sources = [&[event_store, read_model, address][..], &[&query_api.url()], &[event_store]];
    log.databases.change_event_store("create table honest as table event").await;
    let price = "update event set data = '{\"license\":\"pro\",\"price\":{\"amount_minor\":1,\"currency\":\"EUR\"}}'";
    let regrown = "delete from event where position > 70; update head set position = 70;
        insert into event select position, recorded_at, gen_random_uuid(), schema_version, event_type, data, metadata
            from honest where position > 70; update head set position = 150";
    for (statements, expected, without_tree) in [
        (
            "delete from event where position > 70; update head set position = 70",
            "within positions 71 to 100: they are missing",
            true,
        ),
        (
            "delete from event where position > 120; update head set position = 120",
            "within positions 121 to 150: they are missing",
            false,
        ),
        ("delete from event where position = 130", "at position 130: it is missing", true),
        (regrown, "at position 71: the log has another event than the file", true),
        (&format!("{price} where position = 100"), "at position 100: the log has another event than the file", true),
        (&format!("{price} where position = 120"), "at position 120: it is not the event that was signed", false),
    ] {
        log.databases.tamper(statements).await;
        for source in &sources[..if without_tree { 3 } else { 2 }] {
            // query-api ends an export at a gap, and sends no line of that chunk.
            if statements.contains("position = 130") && source == &sources[1] {
                continue;
            }
            let source = source.iter().map(|argument| argument.as_str());
            let arguments: Vec<_> =
                ["export"].into_iter().chain(source).chain(["--output", &file, "--public-key", &key]).collect();
            let refused = audited(1, &arguments);
            assert!(refused.contains(expected) && refused.contains("nothing was appended"), "{refused}");
            assert!(fs::read(&file).unwrap() == lines, "the file was changed");
            assert!(
                fs::read(log.file("log.ndjson.checkpoints")).unwrap() == checkpoints,
                "the checkpoints were changed"
            );
        }
        log.databases
            .tamper("delete from event; insert into event select * from honest; update head set position = 150")
            .await;
    }
    // A file that was changed itself is not continued either.
    let text = String::from_utf8(lines.clone()).unwrap();
    fs::write(&file, text.replacen("19900", "19901", 1)).unwrap();
    let refused = audited(1, &["export", event_store, read_model, address, "--output", &file]);
    assert!(refused.contains("the file is not what was exported, at position 1"), "{refused}");
    fs::write(&file, &lines).unwrap();
    for until in ["120", "150"] {
        audited(0, &["export", event_store, read_model, address, "--output", &file, "--until", until]);
    }
    let verified = audited(0, &["verify", &file, "--public-key", &key]);
    assert!(verified.contains("150 events") && verified.contains("2 agree"), "{verified}");
}
