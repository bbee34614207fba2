-- The last position recorded before $1. Recorded times never decrease along the positions, so a binary search finds it:
-- one primary key look-up per step, 27 steps in a log of 100 million. An index over the times would be as fast, but every
-- purchase would have to maintain it.
--
-- Every position up to `low` is before the time, none above `high` is. A missing position counts as not before it: the
-- reader that continues from the answer finds the gap.
with recursive search (low, high) as (
    select 0::bigint, position from head
    union all
    select case when is_before then middle else low end, case when is_before then high else middle - 1 end
    from search
    cross join lateral (select (low + high + 1) / 2 as middle) as halved
    left join lateral (
        -- The limit keeps the planner from turning the look-up into a join with the whole table.
        select recorded_at < $1 as is_before from event where position = middle limit 1
    ) as looked_up on true
    where low < high
)
select low from search where low = high
