-- Nobody changes or removes what happened: not a service, not the owner of the tables.
create function refuse_change() returns trigger
language plpgsql
as $$
begin
    raise exception 'the event log is append-only: % on % refused', tg_op, tg_table_name
        using errcode = 'insufficient_privilege';
end
$$;

create trigger event_is_append_only
    before update or delete or truncate on event
    for each statement execute function refuse_change();

create trigger head_is_never_removed
    before delete or truncate on head
    for each statement execute function refuse_change();

create trigger head_never_moves_back
    before update on head
    for each row when (new.position < old.position or new.recorded_at < old.recorded_at)
    execute function refuse_change();

alter function refuse_change() owner to event_store_owner;
