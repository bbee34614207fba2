-- Moves the checkpoint from $3 to $4 together with the totals, or changes nothing: another projector may have been
-- here first, or another generation may have gone live. The listeners are told in the same transaction.
with advanced as (
    update projection
    set position = $4, as_of = $5
    where generation = $1 and live = $2 and position = $3
    returning generation, live, position
),
counted as (
    insert into license_total (generation, license, sales_count, revenue_minor, currency)
    select generation, total.license, total.sales_count, total.revenue_minor, total.currency
    from advanced
    cross join unnest($6::text[], $7::bigint[], $8::bigint[], $9::text[])
        as total (license, sales_count, revenue_minor, currency)
    on conflict (generation, license) do update
    set sales_count = excluded.sales_count, revenue_minor = excluded.revenue_minor, currency = excluded.currency
)
select (select pg_notify('totals_changed', position::text) is null from advanced where live) as told,
    exists (select from advanced) as advanced
