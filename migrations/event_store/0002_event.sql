-- The log: the one truth of the system. Fixed-width columns come first, so that no row carries padding.
create table event (
    position bigint not null,
    recorded_at timestamptz not null,
    event_id uuid not null,
    schema_version smallint not null,
    event_type text not null,
    data json not null,
    metadata json,
    constraint event_position_key primary key (position),
    constraint event_id_key unique (event_id),
    constraint event_position_starts_at_one check (position >= 1),
    constraint event_schema_version_starts_at_one check (schema_version >= 1)
);

comment on table event is 'The append-only log of everything that happened, in the order in which it was committed.';
comment on column event.position is 'Place in the log: 1, 2, 3 … without a hole, in commit order.';
comment on column event.recorded_at is 'When the batch with this event was appended, by the clock of this database; never earlier than the position before.';
comment on column event.event_id is 'Identity of the event, and the idempotency key of the command that caused it.';
comment on column event.schema_version is 'Version of the shape of data for this event type, from 1.';
comment on column event.event_type is 'What happened, for example LicensePurchased.';
comment on column event.data is 'The event itself, as the exact JSON text that was appended.';
comment on column event.metadata is 'Who and why: actor, traceparent and idempotency_key where known; null when none is.';

alter table event owner to event_store_owner;
grant select on event to command_api, projector, query_api, auditor;
