-- All of the catalogue on which the guarantees of the log depend, one line per fact. Objects of other schemas are listed if the session of
-- a service would take them for those of the log: those of the system, and those of a schema with the name of the role.
with log as (
    select * from pg_class where relnamespace = 'public'::regnamespace and relname in ('event', 'head')
),
function as (
    select p.*, format('%s(%s)', proname, pg_get_function_identity_arguments(p.oid)) as signature
    from pg_proc p
    where pronamespace = 'public'::regnamespace
        and not exists (select from pg_depend where classid = 'pg_proc'::regclass and objid = p.oid and deptype = 'e')
),
service as (
    select * from pg_roles where rolname in ('event_store_owner', 'command_api', 'projector', 'query_api', 'auditor')
),
fact (fact) as (
    select format('table %s: kind %s, owner %s%s', relname, relkind, relowner::regrole,
        concat(case when relpersistence <> 'p' then ', persistence ' || relpersistence::text end, case when relrowsecurity or relforcerowsecurity then ', row security' end, case when relhasrules then ', rules' end,
            case when relhassubclass then ', children' end))
        from log
    union all
    select format('column %s.%s: %s%s%s', relname, attname, format_type(atttypid, atttypmod), case when attnotnull then ' not null' end,
            ' default ' || pg_get_expr(adbin, adrelid))
        from log join pg_attribute on attrelid = log.oid left join pg_attrdef on adrelid = log.oid and adnum = attnum
        where attnum > 0 and not attisdropped
    union all
    select format('constraint %s.%s: %s', relname, conname, pg_get_constraintdef(pg_constraint.oid))
        from log join pg_constraint on conrelid = log.oid where contype <> 'n'
    union all
    select format('index %s.%s: %s%s', relname, indexrelid::regclass, pg_get_indexdef(indexrelid),
            case when not (indisvalid and indisready and indislive) then ', invalid' end)
        from log join pg_index on indrelid = log.oid
    union all
    select format('trigger %s.%s: %s, enabled %s', relname, tgname, pg_get_triggerdef(pg_trigger.oid), tgenabled)
        from log join pg_trigger on tgrelid = log.oid where not tgisinternal
    union all
    select format('grant %s on %s to %s%s', privilege_type, relname, coalesce(nullif(grantee, 0)::regrole::text, 'public'),
            case when is_grantable then ' with grant option' end)
        from log, aclexplode(coalesce(relacl, acldefault('r', relowner))) where grantee <> relowner
    union all
    select format('grant %s on %s.%s to %s', privilege_type, relname, attname, coalesce(nullif(grantee, 0)::regrole::text, 'public'))
        from log join pg_attribute on attrelid = log.oid, aclexplode(attacl)
    union all
    select format('function %s: owner %s, language %s%s, settings %s, text %s', signature, proowner::regrole, lanname,
            case when prosecdef then ', with the rights of its owner' end, proconfig,
            encode(sha256(convert_to(coalesce(pg_get_function_sqlbody(function.oid), prosrc), 'UTF8')), 'hex'))
        from function join pg_language on pg_language.oid = prolang
    union all
    select format('grant %s on %s to %s', privilege_type, signature, coalesce(nullif(grantee, 0)::regrole::text, 'public'))
        from function, aclexplode(coalesce(proacl, acldefault('f', proowner))) where grantee <> proowner
    union all
    select format('role %s:%s', rolname,
            concat(case when rolsuper then ' superuser' end, case when rolcreaterole then ' createrole' end,
                case when rolcreatedb then ' createdb' end, case when rolreplication then ' replication' end,
                case when rolbypassrls then ' bypassrls' end,
                case when rolcanlogin and rolname = 'event_store_owner' then ' login' end))
        from service
    union all
    select format('role %s is a member of %s', member::regrole, roleid::regrole)
        from pg_auth_members
        where member in (select oid from service)
            or roleid = (select oid from service where rolname = 'event_store_owner')
                -- The owner of the database may have created the role.
                and member not in (select datdba from pg_database where datname = current_database())
            or roleid in (select oid from pg_roles where rolname in ('pg_write_all_data', 'pg_write_server_files', 'pg_execute_server_program'))
    union all
    select format('setting %s of %s', setting, coalesce(nullif(setrole, 0)::regrole::text, 'all roles'))
        from pg_db_role_setting, unnest(setconfig) as setting
        where setdatabase in (0, (select oid from pg_database where datname = current_database()))
            and (setrole = 0 or setrole in (select oid from service))
            and split_part(setting, '=', 1) in ('search_path', 'session_replication_role', 'role', 'row_security',
                'session_preload_libraries', 'local_preload_libraries')
    union all
    select format('%s is owned by %s', what, owner::regrole)
        from (
            select 'the schema public' as what, nspowner as owner from pg_namespace where nspname = 'public'
            union all
            select 'the database', datdba from pg_database where datname = current_database()
        ) as owned
        where owner in (select oid from service)
    union all
    select format('setting %s=%s of the server', name, setting)
        from pg_settings
        where name in ('search_path', 'session_replication_role', 'row_security', 'session_preload_libraries', 'local_preload_libraries')
            and source in ('configuration file', 'command line', 'environment variable', 'global')
    union all
    select format('grant CREATE on the schema public to %s', coalesce(nullif(grantee, 0)::regrole::text, 'public'))
        from pg_namespace, aclexplode(nspacl)
        where nspname = 'public' and privilege_type = 'CREATE' and grantee not in (nspowner, 'pg_database_owner'::regrole)
    union all
    select format('table %s.%s hides the one of the log', nspname, relname)
        from pg_class join pg_namespace on pg_namespace.oid = relnamespace
        where relname in ('event', 'head') and (nspname = 'pg_catalog' or nspname in (select rolname from service))
    union all
    select format('function %s.%s hides the one of the log', nspname, proname)
        from pg_proc join pg_namespace on pg_namespace.oid = pronamespace
        where proname in (select proname from function) and (nspname = 'pg_catalog' or nspname in (select rolname from service))
)
select fact from fact order by fact collate "C"
