-- Moves the projection from position $3 to $4 together with the totals, their snapshots, the history and the newest purchases, or changes
-- nothing: another projector may have advanced it first, another rebuild may have resumed it, or another generation may be live. Listeners
-- are notified in the same transaction.
with advanced as (
    update projection
    set position = $4, as_of = $5, event_id = $30, history_position = $4, purchase_count = purchase_count + $24
    where generation = $1 and live = $2 and position = $3 and attempt = $31
    returning generation, live, position, purchase_count
),
counted as (
    insert into license_total (generation, license, sales_count, revenue_minor, currency)
    select generation, total.license, total.sales_count, total.revenue_minor, total.currency
    from advanced
    cross join unnest($6::text[], $7::bigint[], $8::bigint[], $9::text[])
        as total (license, sales_count, revenue_minor, currency)
    on conflict (generation, license) do update
    set sales_count = excluded.sales_count, revenue_minor = excluded.revenue_minor, currency = excluded.currency
),
kept as (
    insert into totals_snapshot (generation, position, as_of, license, sales_count, revenue_minor, currency)
    select generation, snapshot.position, snapshot.as_of, snapshot.license, snapshot.sales_count,
        snapshot.revenue_minor, snapshot.currency
    from advanced
    cross join unnest($18::bigint[], $19::timestamptz[], $20::text[], $21::bigint[], $22::bigint[], $23::text[])
        as snapshot (position, as_of, license, sales_count, revenue_minor, currency)
),
-- A purchase counts in its minute and in its quarter of an hour.
sold as (
    insert into history_bucket (generation, minutes, begins_at, license, sales_count, revenue_minor, currency)
    select
        generation, width.minutes, date_bin(width.span, sold.begins_at, 'epoch'), sold.license,
        sum(sold.sales_count)::bigint, sum(sold.revenue_minor)::bigint, sold.currency
    from advanced
    cross join unnest($10::timestamptz[], $11::text[], $12::bigint[], $13::bigint[], $14::text[])
        as sold (begins_at, license, sales_count, revenue_minor, currency)
    cross join (values (1::smallint, interval '1 minute'), (15::smallint, interval '15 minutes')) as width (minutes, span)
    group by 1, 2, 3, 4, 7
    on conflict (generation, minutes, begins_at, license) do update
    set sales_count = history_bucket.sales_count + excluded.sales_count,
        revenue_minor = history_bucket.revenue_minor + excluded.revenue_minor
),
marked as (
    insert into history_reset (generation, position, reset_at, reason)
    select generation, reset.position, reset.reset_at, reset.reason
    from advanced
    cross join unnest($15::bigint[], $16::timestamptz[], $17::text[]) as reset (position, reset_at, reason)
),
-- The newest of the $24 purchases, at most 100, come before those of the list. A list that does not end where they begin was not continued by
-- a projector of the release before: it is replaced, and `projector rebuild` builds the whole one.
latest as (
    insert into latest_purchases (generation, purchase_count, positions, purchased_at, licenses, amounts_minor, currencies)
    select
        advanced.generation, advanced.purchase_count, ($25::bigint[] || former.positions)[:100],
        ($26::timestamptz[] || former.purchased_at)[:100], ($27::text[] || former.licenses)[:100],
        ($28::bigint[] || former.amounts_minor)[:100], ($29::text[] || former.currencies)[:100]
    from advanced
    left join latest_purchases as former
        on former.generation = advanced.generation and former.purchase_count = advanced.purchase_count - $24
    where $24 > 0
    on conflict (generation) do update
    set purchase_count = excluded.purchase_count, positions = excluded.positions, purchased_at = excluded.purchased_at,
        licenses = excluded.licenses, amounts_minor = excluded.amounts_minor, currencies = excluded.currencies
)
select (select pg_notify('totals_changed', position::text) is null from advanced where live) as notified,
    exists (select from advanced) as advanced
