-- EventVoided is the decision of an operator that an earlier event does not count. It has an effect only if no version can decode that
-- event, since it must not change the past. The services ensure this when they add up the log. This function refuses other decisions
-- beforehand, except those about a valid event whose text is not that of the services. Its body is a string, as it and why_refused call
-- each other.
create function why_not_voided(data text) returns text
language sql
stable
parallel safe
set search_path = public, pg_temp
as $$
    select case
        when decision.data !~ shape or length(decision.data) > 4096 then 'its data is not a position and a reason'
        when voided.event_type is null then 'the log has no event at its position'
        when why is null then 'the event at its position counts'
        when why = 'its type or version is unknown' then 'a newer version may know the event at its position'
        -- Programs that add up the log read all decisions.
        when exists (
            select from event as earlier
            where earlier.event_type = 'EventVoided' and earlier.position > decision.position
                and starts_with(earlier.data::text, '{"position":' || decision.position || ',')
        ) then 'the log has a decision about its position already'
    end
    from (
        select why_not_voided.data, substring(why_not_voided.data from '^\{"position":([0-9]{1,18}),')::bigint as position,
            '^\{"position":[1-9][0-9]{0,17},"reason":"([^"\\\u0001-\u001f]|\\["\\bfnrt]|\\u00(0[1-9a-f]|1[0-9a-f]))+"\}$' as shape
    ) as decision
    left join event as voided using (position)
    cross join lateral (
        select case
            -- One decision does not take back another.
            when voided.event_type = 'EventVoided' and voided.schema_version = 1 then
                case when voided.data::text !~ shape then 'it decides nothing' end
            else why_refused(voided.event_type, voided.schema_version, voided.data::text, split_part(voided.data::text, '"', 4),
                split_part(split_part(voided.data::text, ':', 4), ',', 1))
        end
    ) as reason (why)
$$;

create or replace function why_refused(event_type text, schema_version smallint, data text, license text, amount text) returns text
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

comment on function why_not_voided is 'Why an event must not enter the log as the decision that another one does not count; null if it may.';

alter function why_not_voided owner to event_store_owner;
revoke execute on function why_not_voided from public;
