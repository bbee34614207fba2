-- The live totals, their position and, in the first row, the newest purchases, in one statement, so that they belong together. Age counts
-- from when the totals were last known to be complete: the time of the newest counted event, or of the projector's last poll that found no
-- further events.
select
    total.generation,
    total.position,
    as_of,
    extract(epoch from clock_timestamp() - greatest(confirmed_at, case when total.position > 0 then as_of end))::float8 as age_seconds,
    license,
    sales_count,
    revenue_minor,
    currency,
    positions,
    purchased_at,
    licenses,
    amounts_minor,
    currencies
from (
    select *, row_number() over () as ordinal
    from projection left join license_total using (generation)
    where live
) as total
left join latest_purchases as latest on latest.generation = total.generation and ordinal = 1
order by ordinal
