-- Whatever is in the log stays there, and an event that no projector can count stops the totals for good. So append_events refuses
-- what the services never write: unknown types and versions, data or metadata in another shape, amounts out of bounds.
--
-- The names of licences are not checked: a new one needs no migration. A projector that does not know it halts until it is upgraded.
-- A new type or version comes with a migration that replaces this function, and migrations run before the services start.
--
-- Purchases are checked without regular expressions, which take ten times as long.
create function is_purchase(data text, license text, amount text) returns boolean
language sql
immutable
parallel safe
return data = '{"license":"' || license || '","price":{"amount_minor":' || amount || ',"currency":"EUR"}}'
    and length(license) between 1 and 40 and translate(license, 'abcdefghijklmnopqrstuvwxyz0123456789_', '') = ''
    -- At most ten digits: 900 million such purchases fit into a total.
    and length(amount) between 1 and 10 and translate(amount, '0123456789', '') = ''
    and (amount = '0' or not starts_with(amount, '0'));

-- EventVoided is the decision of an operator that an earlier event does not count. It has an effect only if no version can decode that
-- event, since it must not change the past. The services ensure this when they add up the log. This function refuses other decisions
-- beforehand, except those about a valid event whose text is not that of the services. In PL/pgSQL, since it and why_refused call each
-- other.
create function why_not_voided(data text) returns text
language plpgsql
stable
parallel safe
set search_path = public, pg_temp
as $$
declare
    shape constant text :=
        '^\{"position":[1-9][0-9]{0,17},"reason":"([^"\\\u0001-\u001f]|\\["\\bfnrt]|\\u00(0[1-9a-f]|1[0-9a-f]))+"\}$';
    voided event;
    why_broken text;
begin
    if data !~ shape or length(data) > 4096 then
        return 'its data is not a position and a reason';
    end if;
    select * into voided from event where position = substring(why_not_voided.data from '^\{"position":([0-9]+),')::bigint;
    if not found then
        return 'the log has no event at its position';
    end if;
    -- One decision does not take back another.
    if voided.event_type = 'EventVoided' and voided.schema_version = 1 then
        why_broken := case when voided.data::text !~ shape then 'it decides nothing' end;
    else
        why_broken := why_refused(voided.event_type, voided.schema_version, voided.data::text, split_part(voided.data::text, '"', 4),
            split_part(split_part(voided.data::text, ':', 4), ',', 1));
    end if;
    if why_broken is null then
        return 'the event at its position counts';
    end if;
    if why_broken = 'its type or version is unknown' then
        return 'a newer version may know the event at its position';
    end if;
    -- Programs that add up the log read all decisions.
    if exists (
        select from event as earlier
        where earlier.event_type = 'EventVoided' and earlier.position > voided.position
            and starts_with(earlier.data::text, '{"position":' || voided.position || ',')
    ) then
        return 'the log has a decision about its position already';
    end if;
    return null;
end
$$;

create function why_refused(event_type text, schema_version smallint, data text, license text, amount text) returns text
language sql
stable
parallel safe
return case
    when length(data) > 16384 then 'it is longer than 16384 characters'
    when event_type = 'LicensePurchased' and schema_version = 1 then
        case when not is_purchase(data, license, amount)
            then 'its data is not a licence and a price of 0 to 9999999999 minor units in EUR'
        end
    when event_type = 'SalesReset' and schema_version = 1 then
        case when data <> '{}' then 'its data is not empty' end
    when event_type = 'SalesReset' and schema_version = 2 then
        -- With the escapes of serde_json, and without U+0000, which no text of Postgres may contain.
        case when data !~ '^\{("reason":"([^"\\\u0001-\u001f]|\\["\\bfnrt]|\\u00(0[1-9a-f]|1[0-9a-f]))*")?\}$'
            then 'its data is not a reason'
        end
    when event_type = 'EventVoided' and schema_version = 1 then why_not_voided(data)
    else 'its type or version is unknown'
end;

-- The line of an event has the hash of the metadata in place of the metadata. The salt keeps the hash from revealing them: it is the
-- first member of the metadata, 32 hexadecimal digits. Events without it show the metadata in their lines.
create function is_metadata(metadata text, actor text, actor_role text, traceparent text, idempotency_key text)
    returns boolean
language sql
immutable
parallel safe
return metadata = '{' || substr(
        case when starts_with(metadata, '{"salt":"') then ',"salt":"' || substr(metadata, 10, 32) || '"' else '' end
            || coalesce(',"actor":' || actor, '') || coalesce(',"actor_role":' || actor_role, '')
            || coalesce(',"traceparent":' || traceparent, '') || coalesce(',"idempotency_key":' || idempotency_key, ''),
        2) || '}'
    and (not starts_with(metadata, '{"salt":"') or substr(metadata, 10, 32) !~ '[^0-9a-f]')
    and coalesce(actor, actor_role, traceparent, idempotency_key) is not null and length(metadata) <= 16384
    and coalesce(starts_with(actor, '"'), true)
    and coalesce(actor_role in ('"customer"', '"sales"', '"auditor"', '"operator"'), true)
    and coalesce(starts_with(traceparent, '"'), true)
    and coalesce(starts_with(idempotency_key, '"'), true)
    and (strpos(metadata, '\') = 0 or metadata ~ '^([^\\]|\\["\\bfnrt]|\\u00[01][0-9a-f])*$');

comment on function is_purchase is 'Whether this is the JSON of a purchase of that licence for that amount.';
comment on function why_not_voided is 'Why an event must not enter the log as the decision that another one does not count; null if it may.';
comment on function why_refused is 'Why an event must not enter the log; null if it may.';
comment on function is_metadata is 'Whether the members, each as it is written, make up this JSON: nothing else is in it, and their order is that of the services.';

comment on column event.metadata is
    'Actor and cause: actor, actor_role, traceparent and idempotency_key where known, after a random salt; null when none is. The line of the event has the hash of this exact text.';

alter function is_purchase owner to event_store_owner;
alter function why_not_voided owner to event_store_owner;
alter function why_refused owner to event_store_owner;
alter function is_metadata owner to event_store_owner;
revoke execute on function is_purchase from public;
revoke execute on function why_not_voided from public;
revoke execute on function why_refused from public;
revoke execute on function is_metadata from public;

-- The time of an event never decreases, so one wrong clock would give its time to every later event. Two clocks have to agree: the
-- database's, which gives the time, and that of the service, in called_at. Where both are wrong, as on a single machine, the last
-- event is the measure. The log may have stood still for longer: then its time is confirmed by `update head set recorded_at = now()`,
-- which is for the superuser.
--
-- A log whose last event is in the future is continued at that time: earlier would contradict the order of the log, and to refuse
-- would close the shop until then.
drop function append_events;

create function append_events(
    event_ids uuid[],
    event_types text[],
    schema_versions smallint[],
    events_data text[],
    events_metadata text[],
    called_at timestamptz default null
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
    dimensions text := nullif('[1:' || cardinality(event_ids) || ']', '[1:0]');
    kind text;
    accepted text[] := '{}';
    refused text;
    has_metadata boolean := false;
    last_at timestamptz;
    last_position bigint;
    now_or_later timestamptz;
    appended bigint;
begin
    -- Otherwise the checks, by subscript, and the insert, by unnest, would read different elements.
    if dimensions is distinct from array_dims(event_ids) or dimensions is distinct from array_dims(event_types)
        or dimensions is distinct from array_dims(schema_versions) or dimensions is distinct from array_dims(events_data)
        or dimensions is distinct from array_dims(events_metadata)
    then
        raise exception 'a batch is refused, because its arrays are not lists of the same length' using errcode = 'check_violation';
    end if;

    -- Before the lock, so that no other writer waits for it. Most events of a batch are equal but for their ids.
    for nth in 1 .. cardinality(event_ids) loop
        kind := concat_ws(E'\n', event_types[nth], schema_versions[nth], events_data[nth]);
        if kind <> all (accepted) then
            refused := why_refused(event_types[nth], schema_versions[nth], events_data[nth], split_part(events_data[nth], '"', 4),
                split_part(split_part(events_data[nth], ':', 4), ',', 1));
            if refused is not null then
                raise exception 'an event % in version % is refused, because %: %',
                    event_types[nth], schema_versions[nth], refused, left(events_data[nth], 200)
                    using errcode = 'check_violation';
            end if;
            accepted := accepted || kind;
        end if;
        has_metadata := has_metadata or events_metadata[nth] is not null;
    end loop;
    if has_metadata then
        select metadata
            into refused
            from unnest(events_metadata) as batch (metadata)
            cross join lateral (
                select (metadata::json -> 'actor')::text, (metadata::json -> 'actor_role')::text,
                    (metadata::json -> 'traceparent')::text, (metadata::json -> 'idempotency_key')::text
                offset 0 -- each member once per event, and not once per use
            ) as member (actor, actor_role, traceparent, idempotency_key)
            where metadata is not null and not is_metadata(metadata, actor, actor_role, traceparent, idempotency_key)
            limit 1;
        if found then
            raise exception 'an event is refused, because its metadata is not what the services write: %', left(refused, 200)
                using errcode = 'check_violation';
        end if;
    end if;

    -- Taken first: in a function each later statement gets a new snapshot, so whatever the writer before us
    -- committed while we waited is visible to it.
    select position, recorded_at, greatest(recorded_at, clock_timestamp())
        into strict last_position, last_at, now_or_later
        from head for update;
    if now_or_later > last_at and now_or_later > called_at + interval '5 minutes' then
        raise exception 'the clock of the database, %, is ahead of that of the service, %', now_or_later, called_at
            using errcode = 'SC001';
    end if;
    if last_position > 0 and now_or_later > last_at + interval '366 days' then
        raise exception 'the clock of the database, %, is more than a year ahead of the last event, %', now_or_later, last_at
            using errcode = 'SC001';
    end if;

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
