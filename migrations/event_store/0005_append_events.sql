-- The only way into the log. Appends a batch in one statement.
--
-- When the whole batch is new, which is the usual case, it returns one row: the position of the first event, with nulls
-- in place of a stored event. The others follow it.
--
-- An event id that is in the log already, or twice in the batch, is stored once. Then it returns, for every event handed
-- in and in the same order, the event that is stored under its id, so that the caller can tell a retry from a key used for
-- something else.
create function append_events(
    event_ids uuid[],
    event_types text[],
    schema_versions smallint[],
    events_data text[],
    events_metadata text[]
)
returns table (
    stored_position bigint,
    stored_at timestamptz,
    stored_type text,
    stored_version smallint,
    stored_data text
)
language plpgsql
security definer
set search_path = public, pg_temp
as $$
declare
    last_position bigint;
    now_or_later timestamptz;
    appended bigint;
begin
    -- Taken first: in a function each later statement gets a new snapshot, so whatever the writer before us
    -- committed while we waited is visible to it.
    select position, greatest(recorded_at, clock_timestamp())
        into strict last_position, now_or_later
        from head for update;

    begin
        insert into event (position, recorded_at, event_id, schema_version, event_type, data, metadata)
        select last_position + ordinal, now_or_later, id, version, type, data::json, metadata::json
        from unnest(event_ids, schema_versions, event_types, events_data, events_metadata)
            with ordinality as batch (id, version, type, data, metadata, ordinal);
        get diagnostics appended = row_count;

        update head set position = last_position + appended, recorded_at = now_or_later;
        return query select last_position + 1, now_or_later, null::text, null::smallint, null::text;
        return;
    exception when unique_violation then
        null; -- some are stored already: the insert is undone, and only the new ones are appended below
    end;

    insert into event (position, recorded_at, event_id, schema_version, event_type, data, metadata)
    select last_position + row_number() over (order by ordinal),
        now_or_later, id, version, type, data::json, metadata::json
    from (
        select distinct on (id) *
        from unnest(event_ids, schema_versions, event_types, events_data, events_metadata)
            with ordinality as batch (id, version, type, data, metadata, ordinal)
        order by id, ordinal
    ) as first_mention
    where not exists (select from event as stored where stored.event_id = first_mention.id);
    get diagnostics appended = row_count;

    if appended > 0 then
        update head set position = last_position + appended, recorded_at = now_or_later;
    end if;
    return query
        select event.position, event.recorded_at, event.event_type, event.schema_version, event.data::text
        from unnest(event_ids) with ordinality as batch (id, ordinal)
        join event on event.event_id = batch.id
        order by batch.ordinal;
end
$$;

comment on function append_events is 'Appends events at the end of the log; the only writer of event and head.';

alter function append_events owner to event_store_owner;
revoke execute on function append_events from public;
grant execute on function append_events to command_api;
