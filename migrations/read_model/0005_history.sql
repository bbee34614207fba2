-- What was sold when. It is counted together with the totals, in the same transaction, and like them once per generation.
alter table projection add column history_position bigint;

-- A generation that has counted nothing yet has a history: an empty one. Every other one was begun before there were any,
-- and is replaced by a rebuild.
update projection set history_position = 0 where position = 0;

-- A projector that knows of no history cannot move the checkpoint of a generation that has one.
alter table projection add constraint projection_history_is_complete check (history_position = position);

comment on column projection.history_position is 'The checkpoint once more when the generation has a complete history; null when it has none.';

create table history_bucket (
    generation bigint not null,
    begins_at timestamptz not null,
    sales_count bigint not null,
    revenue_minor bigint not null,
    minutes smallint not null,
    license text not null,
    currency text not null,
    constraint history_bucket_key primary key (generation, minutes, begins_at, license),
    constraint history_bucket_width_is_known check (minutes in (1, 15)),
    constraint history_bucket_count_is_positive check (sales_count > 0),
    constraint history_bucket_currency_is_iso_4217 check (currency ~ '^[A-Z]{3}$')
) with (fillfactor = 80);

comment on table history_bucket is 'What was sold of a licence within a minute, and within a quarter of an hour, whatever was reset since. Hours and days of any time zone are whole quarters. Bound to no generation by a key, since so many rows are removed behind a switch and not within it.';
comment on column history_bucket.generation is 'Generation of the read model to which the bucket belongs.';
comment on column history_bucket.begins_at is 'When the bucket begins: at a whole minute or quarter of an hour.';
comment on column history_bucket.sales_count is 'How many were sold within it.';
comment on column history_bucket.revenue_minor is 'For how much, in minor units of the currency (cents).';
comment on column history_bucket.minutes is 'How long it lasts: 1 or 15 minutes.';
comment on column history_bucket.license is 'The licence: basic, pro or enterprise.';
comment on column history_bucket.currency is 'ISO 4217 code of the currency.';

create table history_reset (
    generation bigint not null,
    position bigint not null,
    reset_at timestamptz not null,
    reason text,
    constraint history_reset_key primary key (generation, position)
);

comment on table history_reset is 'When the totals were reset.';
comment on column history_reset.generation is 'Generation of the read model to which the mark belongs.';
comment on column history_reset.position is 'Log position of the reset.';
comment on column history_reset.reset_at is 'When it happened.';
comment on column history_reset.reason is 'Why, in the words of the one who did it; null when nobody said.';

grant select, insert, update, delete on history_bucket, history_reset to projector;
grant select on history_bucket, history_reset to query_api, auditor;
