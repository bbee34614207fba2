-- The transparency log: the Merkle tree over the event log, in tiles of 256 hashes. It belongs to no generation, as it says
-- what the log is, not what follows from it. Made anew from the log when it is lost, and then compared with the
-- checkpoints that were published.
create table tree_tile (
    index bigint not null,
    level smallint not null,
    hashes bytea not null,
    constraint tree_tile_key primary key (level, index),
    constraint tree_tile_level_not_negative check (level >= 0),
    constraint tree_tile_index_not_negative check (index >= 0),
    constraint tree_tile_holds_whole_hashes check (length(hashes) between 32 and 8192 and length(hashes) % 32 = 0)
);

-- Hashes cannot be compressed, so that is not tried.
alter table tree_tile alter column hashes set storage external;

comment on table tree_tile is 'Tiles of the Merkle tree (C2SP tlog-tiles): up to 256 hashes of 32 bytes, one behind the other.';
comment on column tree_tile.index is 'Place of the tile on its level, from 0.';
comment on column tree_tile.level is '0 for the hashes of the events, 1 for those of full tiles of level 0, and so on.';
comment on column tree_tile.hashes is 'The hashes; less than 256 only in the last tile of a level, which grows.';

create table tree_head (
    position bigint not null,
    checkpoint text,
    only_row boolean not null default true,
    constraint tree_head_only_one_row primary key (only_row),
    constraint tree_head_only_row_is_true check (only_row),
    constraint tree_head_position_not_negative check (position >= 0)
);

comment on table tree_head is 'How far the transparency log has come, and its newest signed checkpoint.';
comment on column tree_head.position is 'Log position of the last event in the tree; 0 while it is empty.';
comment on column tree_head.checkpoint is 'The signed note (C2SP tlog-checkpoint) for that position; null until one is signed.';
comment on column tree_head.only_row is 'Always true: keeps the table at one row.';

insert into tree_head (position) values (0);

grant select, insert, update on tree_tile to projector;
grant select, update on tree_head to projector;
grant select on tree_tile, tree_head to query_api, auditor;
