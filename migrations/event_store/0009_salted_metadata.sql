-- The line of an event has the hash of the metadata in place of the metadata. The salt keeps the hash from revealing them: it is the
-- first member of the metadata, 32 hexadecimal digits. Events without it have the metadata in their lines. The previous version, which
-- may run during an upgrade, appends such events.
create or replace function is_metadata(metadata text, actor text, actor_role text, traceparent text, idempotency_key text)
    returns boolean
language sql
immutable
parallel safe
return metadata = case when starts_with(metadata, '{"salt":"') then '{"salt":"' || substr(metadata, 10, 32) || '",' else '{' end
        || concat_ws(',', '"actor":' || actor, '"actor_role":' || actor_role,
            '"traceparent":' || traceparent, '"idempotency_key":' || idempotency_key) || '}'
    and (not starts_with(metadata, '{"salt":"') or translate(substr(metadata, 10, 32), '0123456789abcdef', '') = '')
    and metadata <> '{}' and length(metadata) <= 16384
    and coalesce(starts_with(actor, '"'), true)
    and coalesce(actor_role in ('"customer"', '"sales"', '"auditor"', '"operator"'), true)
    and coalesce(starts_with(traceparent, '"'), true)
    and coalesce(starts_with(idempotency_key, '"'), true)
    and (strpos(metadata, '\') = 0 or metadata ~ '^([^\\]|\\["\\bfnrt]|\\u00[01][0-9a-f])*$');

comment on column event.metadata is
    'Who and why: actor, actor_role, traceparent and idempotency_key where known, after a random salt; null when none is. The line of the event has the hash of this exact text.';
