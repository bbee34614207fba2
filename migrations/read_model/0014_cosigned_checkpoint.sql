-- The newest checkpoint that a quorum of witnesses has cosigned. It is a copy: what it proves, its signatures prove.
create table cosigned_checkpoint (
    position bigint not null,
    note text not null,
    submitted_at timestamptz not null,
    only_row boolean not null default true,
    constraint cosigned_checkpoint_only_one_row primary key (only_row),
    constraint cosigned_checkpoint_only_row_is_true check (only_row),
    constraint cosigned_checkpoint_position_not_negative check (position >= 0)
);

comment on table cosigned_checkpoint is 'The newest checkpoint that a quorum of witnesses has cosigned; no row before the first.';
comment on column cosigned_checkpoint.position is 'Log position of the last event that it covers.';
comment on column cosigned_checkpoint.note is 'The signed note with all cosignatures (C2SP tlog-cosignature).';
comment on column cosigned_checkpoint.submitted_at is 'When it was submitted to the witnesses.';
comment on column cosigned_checkpoint.only_row is 'Always true: keeps the table at one row.';

grant select, insert, update on cosigned_checkpoint to projector;
grant select on cosigned_checkpoint to query_api, auditor;
