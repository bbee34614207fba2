-- The live history between the boundaries $2, in one statement so that it belongs together: the sales within each bucket, summed from
-- the stored buckets of $1 minutes, and at most $3 resets.
select generation, projection.position, as_of, entry.*
from projection
left join lateral (
    select
        width_bucket(begins_at, $2) as bucket, license,
        sum(sales_count)::bigint as sales_count, sum(revenue_minor)::bigint as revenue_minor, currency,
        null::bigint as reset_position, null::timestamptz as reset_at, null as reason
    from history_bucket
    where history_bucket.generation = projection.generation and minutes = $1
        and begins_at >= $2[1] and begins_at < $2[cardinality($2)]
    group by 1, license, currency
    union all
    (
        select width_bucket(reset_at, $2), null, null, null, null, history_reset.position, reset_at, reason
        from history_reset
        where history_reset.generation = projection.generation
            and reset_at >= $2[1] and reset_at < $2[cardinality($2)]
        order by history_reset.position
        limit $3
    )
) as entry on true
where live
