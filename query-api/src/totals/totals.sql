-- The live totals and their position in one statement, so that they belong together. Age counts from when the totals were last known to
-- be complete: the time of the newest counted event, or of the projector's last poll that found no further events.
select
    generation,
    position,
    as_of,
    extract(epoch from clock_timestamp() - greatest(confirmed_at, case when position > 0 then as_of end))::float8 as age_seconds,
    license,
    sales_count,
    revenue_minor,
    currency
from projection left join license_total using (generation)
where live
