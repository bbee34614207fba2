-- Checkpoints are signed up to four times per second, which would be 65 MB of notes a day. The last one of each minute is enough:
-- the holder of another one gets a proof that the newest extends it.
create table past_checkpoint (
    position bigint not null,
    stored_at timestamptz not null default now(),
    checkpoint text not null,
    constraint past_checkpoint_key primary key (position),
    constraint past_checkpoint_position_starts_at_one check (position >= 1)
);

comment on table past_checkpoint is 'Signed checkpoints of the transparency log: the newest, and the last one of each minute.';
comment on column past_checkpoint.position is 'Size of the tree, which is the log position of its last event.';
comment on column past_checkpoint.stored_at is 'When it was stored, by the clock of this database.';
comment on column past_checkpoint.checkpoint is 'The signed note (C2SP tlog-checkpoint).';

insert into past_checkpoint (position, checkpoint)
select position, checkpoint from tree_head where checkpoint is not null and position > 0;

grant select, insert, delete on past_checkpoint to projector;
grant select on past_checkpoint to query_api, auditor;
