-- First and last position, number of heads, position of the head. And whether the time of the head is wrong: the next event gets it, and
-- an operator may set it to the present (see OPERATIONS.md), but not back or ahead.
select
    (select min(position) from event),
    (select max(position) from event),
    count(*),
    max(head.position),
    bool_or(head.recorded_at < last.recorded_at or head.recorded_at > greatest(last.recorded_at, now() + interval '5 minutes'))
from head
left join event as last on last.position = head.position
