-- The last snapshot of the live totals up to position $1; nulls if there is none.
select snapshot.position, snapshot.as_of, total.license, total.sales_count, total.revenue_minor, total.currency
from projection
left join lateral (
    select position, as_of
    from totals_snapshot
    where totals_snapshot.generation = projection.generation and position <= $1
    order by position desc
    limit 1
) as snapshot on true
left join totals_snapshot as total
    on total.generation = projection.generation and total.position = snapshot.position
where live
