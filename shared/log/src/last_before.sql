-- The last position that was recorded before $1. Recorded times never run backwards along the positions, so halving finds it:
-- one row by its primary key per step, 27 of them in a log of 100 million. An index over the times would answer as
-- fast, but every purchase would have to enter it.
--
-- All up to `low` is before the time, nothing above `high` is. A position that is missing counts as not before it: whoever
-- reads on from the answer finds the hole.
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
