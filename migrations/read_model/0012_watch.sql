-- The state of the watch, which compares the whole log with the Merkle tree and the signed checkpoints, again and again. A finding
-- must survive a restart; without it, the watch would need up to a whole round to find it again.
create table watch (
    position bigint not null default 0,
    completed_at timestamptz,
    difference text,
    difference_position bigint,
    only_row boolean not null default true,
    constraint watch_only_one_row primary key (only_row),
    constraint watch_only_row_is_true check (only_row)
);

comment on table watch is 'How far the watch has compared the log with the tree, and what it has found.';
comment on column watch.position is 'Log position that the current round had reached when it was last stored; a restart continues there.';
comment on column watch.completed_at is 'When the last round was completed; null before the first.';
comment on column watch.difference is 'The first difference of the last rounds; null if the last complete round found none.';
comment on column watch.difference_position is 'Log position of the difference; null if it has none, as one of the catalogue.';
comment on column watch.only_row is 'Always true: keeps the table at one row.';

insert into watch default values;

grant select, insert, update on watch to projector;
grant select on watch to query_api, auditor;
