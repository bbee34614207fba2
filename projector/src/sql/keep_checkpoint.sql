with last_of_the_same_minute as (
    delete from past_checkpoint
    where position = (select max(position) from past_checkpoint where position < $1)
        and date_trunc('minute', stored_at) = date_trunc('minute', now())
)
insert into past_checkpoint (position, checkpoint)
values ($1, $2)
on conflict (position) do nothing
