-- The read model may stand in another cluster than the event store, so it brings its own roles.
-- Passwords are set by `projector migrate`, never here.
do $$
declare
    service text;
begin
    foreach service in array array['projector', 'query_api', 'auditor'] loop
        begin
            execute format('create role %I nologin', service);
        exception when duplicate_object or unique_violation then
            null;
        end;
    end loop;
end
$$;

revoke create on schema public from public;
grant usage on schema public to projector, query_api, auditor;
