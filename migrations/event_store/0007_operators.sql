-- Who looks after the server and never at what is in its tables: `monitor` exports its metrics, `barman` backs it up. Their passwords
-- are set where there is such a program; without one they cannot log in.
do $$
declare
    operator text;
begin
    foreach operator in array array['monitor', 'barman'] loop
        begin
            execute format('create role %I nologin', operator);
        exception when duplicate_object or unique_violation then
            null;
        end;
    end loop;
end
$$;

grant pg_monitor to monitor;

alter role barman replication;
grant pg_read_all_settings, pg_read_all_stats, pg_checkpoint to barman;
grant execute on function pg_backup_start(text, boolean) to barman;
grant execute on function pg_backup_stop(boolean) to barman;
grant execute on function pg_switch_wal() to barman;
grant execute on function pg_create_restore_point(text) to barman;
