-- The end of the log in a single row. Its row lock is what puts concurrent batches in order.
create table head (
    position bigint not null,
    recorded_at timestamptz not null,
    only_row boolean not null default true,
    constraint head_only_one_row primary key (only_row),
    constraint head_only_row_is_true check (only_row)
) with (fillfactor = 10);

comment on table head is 'The end of the log: the position and time of its last event.';
comment on column head.position is 'Position of the last event; 0 while the log is empty.';
comment on column head.recorded_at is 'Time of the last event; the epoch while the log is empty.';
comment on column head.only_row is 'Always true: keeps the table at one row.';

insert into head (position, recorded_at) values (0, to_timestamp(0));

alter table head owner to event_store_owner;
grant select on head to command_api, projector, query_api, auditor;
