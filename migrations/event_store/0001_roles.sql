-- One role per service, each with only what it needs. Passwords are set by `command-api migrate`, never here.
-- Roles belong to the whole cluster, so another database of the same cluster may have made them already.
do $$
declare
    service text;
begin
    foreach service in array array['event_store_owner', 'command_api', 'projector', 'query_api', 'auditor'] loop
        begin
            execute format('create role %I nologin', service);
        exception when duplicate_object or unique_violation then
            null;
        end;
    end loop;
end
$$;

revoke create on schema public from public;
grant usage on schema public to command_api, projector, query_api, auditor;
