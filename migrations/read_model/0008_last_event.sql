-- A position alone does not tell whether the log still is the one that was counted: a log that was cut off and has grown past the
-- position again has another event there. Together with its time in as_of, the id tells.
--
-- Rows from before this migration have no id. Until the next event is counted, as_of alone identifies theirs.
alter table projection add column event_id uuid;
alter table projection add constraint projection_start_has_no_event check (position > 0 or event_id is null);

comment on column projection.event_id is 'Identity of the event at the position; null at position 0, and until an event is counted after this column was added.';
