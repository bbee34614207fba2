-- Entries of the history that only one of the generations $1 and $2 has: a bucket that differs is in both, as two entries.
--
-- Without $3, buckets that ended before the time of the older position: they no longer change, as times in the log do not
-- decrease. With it, the rest, of two generations at the same position.
with older as (
    select min(as_of) as as_of, case when $3 is null then min(as_of) else 'infinity' end as until
    from projection where generation in ($1, $2)
),
entry as (
    select generation, begins_at as at, minutes, license, sales_count, revenue_minor, currency, null as reason
    from older
    cross join (values (1::smallint, interval '1 minute'), (15::smallint, interval '15 minutes')) as width (minutes, span)
    join history_bucket using (minutes)
    where generation in ($1, $2) and begins_at > coalesce($3, '-infinity') - span and begins_at <= until - span
    union all
    select generation, reset_at, 0, null, position, null, null, reason
    from older
    cross join history_reset
    where generation in ($1, $2) and reset_at >= coalesce($3, '-infinity') and reset_at < until
),
unmatched as (
    select at from entry
    group by at, minutes, license, sales_count, revenue_minor, currency, reason
    having count(*) = 1
)
select (select as_of from older) as until, count(*) as entries, min(at) as first_at from unmatched
