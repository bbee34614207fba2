-- The read model as one more witness of what was signed. The note in `tree_head.checkpoint` is lost with a tree that is discarded, and no
-- longer is: `signed` keeps it. The projector compares it with the notes in its file and on NATS.
alter table tree_head add column signed text;
comment on column tree_head.signed is 'The newest signed note, also while the tree is built again; null until one is signed.';
update tree_head set signed = checkpoint;

-- Decisions of operators on the log, as signed notes (see TRANSPARENCY.md). `projector sign` and `projector restored` add them; a row that
-- the key of the checkpoints has not signed has no effect.
create table checkpoint_statement (
    note text not null,
    constraint checkpoint_statement_key primary key (note)
);
comment on table checkpoint_statement is 'Signed statements of operators on the log: that it is signed without a comparison, or was restored.';
comment on column checkpoint_statement.note is 'The signed note.';

grant select, insert on checkpoint_statement to projector;
grant select on checkpoint_statement to query_api, auditor;
