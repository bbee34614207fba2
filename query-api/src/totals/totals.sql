-- The live totals in one statement, so that they belong together. Age is counted from the last moment of which it is
-- known that nothing was missing: the newest counted event, or the projector's last look at the end of the log.
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
