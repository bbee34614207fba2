-- Entries of the history that only one of the generations $1 and $2 has: a bucket that differs is in either of them.
--
-- Without $3, what is over where the one that is behind stands: it does not change any more, as times do not run backwards.
-- With it, what was not over then, of two generations at the same position.
with settled as (
    select case when $3 is null then min(as_of) else 'infinity' end as until
    from projection where generation in ($1, $2)
),
entry as (
    select generation, begins_at as at, minutes, license, sales_count, revenue_minor, currency, null as reason
    from settled
    cross join (values (1::smallint, interval '1 minute'), (15::smallint, interval '15 minutes')) as width (minutes, span)
    join history_bucket using (minutes)
    where generation in ($1, $2) and begins_at > coalesce($3, '-infinity') - span and begins_at <= until - span
    union all
    select generation, reset_at, 0, null, position, null, null, reason
    from settled
    cross join history_reset
    where generation in ($1, $2) and reset_at >= coalesce($3, '-infinity') and reset_at < until
),
lonely as (
    select at from entry
    group by at, minutes, license, sales_count, revenue_minor, currency, reason
    having count(*) = 1
)
select (select until from settled) as until, count(*) as entries, min(at) as first_at from lonely
