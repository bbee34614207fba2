//! Kinds of tampering × states of the system: each case raises an alarm at its place, in the first round after it.

use std::{fs, ops::RangeInclusive};

use futures::future::join_all;
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use testing::cases;

use crate::watch::Watched;

/// Events that are signed before the tampering: a full tile and a partial one. A checkpoint covers the first half.
const EVENTS: i64 = 300;
/// In a tile that is full.
const IN_FULL_TILE: RangeInclusive<i64> = 1..=256;
/// Events that are sold after the tampering, in some states.
const SOLD: usize = 20;

/// What the attacker changes.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// One field of one event.
    Change(&'static str),
    Delete,
    Swap,
    /// An event between two others; the later ones get the next positions.
    Insert,
    /// An event is removed, and the later ones get the positions before.
    Remove,
    Cut,
    InsertFarAhead,
    /// One event and its hash in the tree.
    ChangeWithLeaf,
    /// One event and all hashes above it.
    ChangeWithTree,
    Leaf,
    Parent,
    MissingTile,
    ShortTile,
    Trigger,
    Constraint,
}

use Kind::{
    Change, ChangeWithLeaf, ChangeWithTree, Constraint, Cut, Delete, Insert, InsertFarAhead, Leaf, MissingTile, Parent,
    Remove, ShortTile, Swap, Trigger,
};

const AMOUNT: &str = r#"data = '{"license":"pro","price":{"amount_minor":19901,"currency":"EUR"}}'"#;

const KINDS: [Kind; 24] = [
    Change("recorded_at = recorded_at + interval '1 microsecond'"),
    Change("recorded_at = recorded_at - interval '1 year'"),
    Change("event_id = gen_random_uuid()"),
    Change("schema_version = schema_version + 1"),
    Change("event_type = case event_type when 'SalesReset' then 'LicensePurchased' else 'SalesReset' end"),
    Change(AMOUNT),
    Change(r#"data = '{"license":"pro","price":{"amount_minor":19900,"currency":"USD"}}'"#),
    Change("data = (data::text || ' ')::json"),
    Change(r#"metadata = '{"salt":"8f14e45fceea467fa7d1b8c9e3a20b64","actor":"nobody"}'"#),
    Change("metadata = '{}'"),
    Delete,
    Swap,
    Insert,
    Remove,
    Cut,
    InsertFarAhead,
    ChangeWithLeaf,
    ChangeWithTree,
    Leaf,
    Parent,
    MissingTile,
    ShortTile,
    Trigger,
    Constraint,
];

/// What happens until the round that has to find it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Idle,
    UnderSale,
    /// The projector is restarted after the alarm, which has to stay.
    Restarted,
    /// The projector starts after the tampering and some sales.
    Down,
    WithoutFile,
    WithoutNote,
    WithoutFileAndNote,
}

const STATES: [State; 7] = [
    State::Idle,
    State::UnderSale,
    State::Restarted,
    State::Down,
    State::WithoutFile,
    State::WithoutNote,
    State::WithoutFileAndNote,
];

/// A tampering as SQL, and the positions at which the alarm may place it: none for the catalogue.
struct Case {
    log: String,
    tree: String,
    place: Option<RangeInclusive<i64>>,
    undo: &'static str,
}

fn case(kind: Kind, random: &mut StdRng) -> Case {
    let p = random.random_range(1..EVENTS);
    let log = |log: String, place| Case { log, tree: String::new(), place: Some(place), undo: "" };
    let tree = |tree: String, place| Case { log: String::new(), tree, place: Some(place), undo: "" };
    let catalogue = |log: &str, undo| Case { log: log.to_owned(), tree: String::new(), place: None, undo };
    let change = |change: &str| format!("update event set {change} where position = {p}");
    let copy = |to: i64| {
        format!(
            "insert into event select {to}, recorded_at, gen_random_uuid(), schema_version, event_type, data, metadata
             from honest_event where position = {p}"
        )
    };
    let overwrite = |level: i32, place: i64| {
        let at = (place - 1) * 32 + 1;
        format!(
            "update tree_tile set hashes = overlay(hashes placing sha256(hashes) from {at} for 32) where (level, index) = ({level}, 0)"
        )
    };
    match kind {
        Change(what) => log(change(what), p..=p),
        // A hash above, or a checkpoint, covers many events.
        ChangeWithLeaf => {
            let p = random.random_range(IN_FULL_TILE);
            log(format!("update event set {AMOUNT} where position = {p}"), 1..=p)
        }
        ChangeWithTree => log(change(AMOUNT), 1..=p),
        Delete => log(format!("delete from event where position = {p}"), p..=p),
        Swap => {
            let q = random.random_range(p + 1..=EVENTS);
            let swap = format!(
                "update event set position = 1000000 where position = {p};
                 update event set position = {p} where position = {q};
                 update event set position = {q} where position = 1000000"
            );
            log(swap, p..=p)
        }
        Insert => {
            let shift = format!(
                "update event set position = position + 1000000 where position >= {p};
                 update event set position = position - 999999 where position > 1000000;
                 {}; update head set position = position + 1",
                copy(p)
            );
            log(shift, p..=p)
        }
        Remove => {
            let shift = format!(
                "delete from event where position = {p};
                 update event set position = position + 1000000 where position > {p};
                 update event set position = position - 1000001 where position > 1000000;
                 update head set position = position - 1"
            );
            log(shift, p..=p)
        }
        Cut => log(format!("delete from event where position >= {p}; update head set position = {p} - 1"), p..=p),
        InsertFarAhead => log(copy(random.random_range(EVENTS * 2..i64::MAX)), EVENTS + 1..=EVENTS * 2),
        Leaf => {
            let p = random.random_range(IN_FULL_TILE);
            tree(overwrite(0, p), p..=p)
        }
        Parent => tree(overwrite(1, 1), 1..=1),
        MissingTile => tree("delete from tree_tile where (level, index) = (0, 0)".to_owned(), 1..=1),
        ShortTile => {
            let p = random.random_range(2..=*IN_FULL_TILE.end());
            let cut = format!(
                "update tree_tile set hashes = substr(hashes, 1, {}) where (level, index) = (0, 0)",
                (p - 1) * 32
            );
            tree(cut, p..=p)
        }
        Trigger => catalogue(
            "alter table event disable trigger event_is_append_only",
            "alter table event enable trigger event_is_append_only",
        ),
        Constraint => catalogue(
            "alter table event drop constraint event_position_starts_at_one",
            "alter table event add constraint event_position_starts_at_one check (position >= 1)",
        ),
    }
}

/// Whether the sale after the tampering makes the tree whole again, or nothing shows what was changed.
fn is_out_of_question(kind: Kind, state: State) -> bool {
    match kind {
        // The partial tile of the parents is written again.
        Parent => matches!(state, State::UnderSale | State::Down),
        // The task that signs has to refuse here: it finds no checkpoint that it remembers.
        ChangeWithTree => state == State::WithoutFileAndNote,
        _ => false,
    }
}

/// Whether the task that signs still does, since it does not read what was changed.
fn is_signed(kind: Kind) -> bool {
    !matches!(kind, Insert | Remove | Cut)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tampering_raises_an_alarm_at_its_place_in_one_round() {
    // They wait for commits most of the time.
    const CONCURRENT: usize = 4;
    let number = u64::from(5 * cases("TEST_TAMPERINGS", 60));
    let seeds = |first| (0..number).skip(first).step_by(CONCURRENT);
    join_all((0..CONCURRENT).map(|first| run_cases(seeds(first)))).await;
}

async fn run_cases(seeds: impl Iterator<Item = u64>) {
    let watched = Watched::create(usize::try_from(EVENTS / 2).unwrap()).await;
    let file = fs::read(watched.file()).unwrap();
    let projector = watched.projector().await;
    watched.grow(SOLD).await;
    projector.kill();
    watched.back_up("grown").await;
    watched.restore().await;
    fs::write(watched.file(), &file).unwrap();
    let mut watch = watched.watch();
    assert_eq!(watched.round(&mut watch).await, None, "an honest log");
    for seed in seeds {
        let random = &mut StdRng::seed_from_u64(seed);
        let (kind, state) = (*KINDS.choose(random).unwrap(), *STATES.choose(random).unwrap());
        if is_out_of_question(kind, state) {
            continue;
        }
        let case = case(kind, random);
        let what = format!("case {seed}, {kind:?}, {state:?}: {} {}", case.log, case.tree);
        watched.databases.tamper(&case.log).await;
        watched.databases.change_read_model(&case.tree).await;
        match kind {
            ChangeWithLeaf => watched.forge_tree(true).await,
            ChangeWithTree => watched.forge_tree(false).await,
            _ => (),
        }
        if matches!(state, State::WithoutFile | State::WithoutFileAndNote) {
            fs::write(watched.file(), "").unwrap();
        }
        if matches!(state, State::WithoutNote | State::WithoutFileAndNote) {
            watched.databases.change_read_model("update tree_head set checkpoint = null, signed = null").await;
        }
        if matches!(state, State::UnderSale | State::Down) {
            watched.sell("grown", is_signed(kind)).await;
        }
        if state == State::Down {
            watch = watched.watch();
        }
        let found = watched.round(&mut watch).await;
        assert_placed(found.as_ref(), case.place.as_ref(), &what);
        if state == State::Restarted {
            watch = watched.watch();
            assert_eq!(watched.round(&mut watch).await, found, "{what}, after a restart");
        }
        watched.databases.change_event_store(case.undo).await;
        watched.restore().await;
        fs::write(watched.file(), &file).unwrap();
        assert_eq!(watched.round(&mut watch).await, None, "{what}, undone");
    }
}

#[track_caller]
fn assert_placed(found: Option<&(Option<i64>, String)>, place: Option<&RangeInclusive<i64>>, what: &str) {
    let Some((position, text)) = found else { panic!("{what} is not found") };
    let is_placed = match place {
        Some(place) => position.is_some_and(|position| place.contains(&position)),
        None => position.is_none(),
    };
    assert!(is_placed, "{what} is placed at {position:?}: {text}");
}
