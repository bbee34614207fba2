-- The totals as they were now and then, so that those of any position are found without adding up the whole log.
create table totals_snapshot (
    generation bigint not null,
    position bigint not null,
    as_of timestamptz not null,
    sales_count bigint not null,
    revenue_minor bigint not null,
    license text not null,
    currency text not null,
    constraint totals_snapshot_key primary key (generation, position, license),
    constraint totals_snapshot_generation_exists foreign key (generation) references projection on delete cascade,
    constraint totals_snapshot_count_not_negative check (sales_count >= 0),
    constraint totals_snapshot_currency_is_iso_4217 check (currency ~ '^[A-Z]{3}$')
);

comment on table totals_snapshot is 'Number of sales and revenue since the last reset as they were at a position, of every licence.';
comment on column totals_snapshot.generation is 'Generation of the read model to which the snapshot belongs.';
comment on column totals_snapshot.position is 'Log position: every event up to it is counted, and none after it.';
comment on column totals_snapshot.as_of is 'Time of the event at that position.';
comment on column totals_snapshot.sales_count is 'How many were sold.';
comment on column totals_snapshot.revenue_minor is 'For how much, in minor units of the currency (cents).';
comment on column totals_snapshot.license is 'The licence: basic, pro or enterprise.';
comment on column totals_snapshot.currency is 'ISO 4217 code of the currency.';

grant select, insert, update, delete on totals_snapshot to projector;
grant select on totals_snapshot to query_api, auditor;
