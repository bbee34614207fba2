-- One row per generation of the read model. Queries see the live one; a rebuild fills the next beside it.
create table projection (
    generation bigint generated always as identity,
    live boolean not null,
    position bigint not null default 0,
    as_of timestamptz not null default now(),
    confirmed_at timestamptz not null default to_timestamp(0),
    projection_version integer not null default 0,
    constraint projection_key primary key (generation),
    constraint projection_position_not_negative check (position >= 0)
);

-- At most one live generation, and at most one that is being built.
create unique index projection_one_of_each on projection (live);

comment on table projection is 'Checkpoint of each generation of the read model: how far into the event log it has come.';
comment on column projection.generation is 'Number of the generation; each rebuild makes the next one.';
comment on column projection.live is 'Whether queries are answered from this generation.';
comment on column projection.position is 'Checkpoint: the log position up to which every event is counted.';
comment on column projection.as_of is 'Time of the event at that position; of the creation while no event is counted.';
comment on column projection.confirmed_at is 'When the projector last found that the log had nothing beyond the checkpoint; the epoch before.';
comment on column projection.projection_version is 'By which rules a rebuild began to count it, so that only the same ones go on from there; 0 when no rebuild began it.';

grant select, insert, update, delete on projection to projector;
grant select on projection to query_api, auditor;
